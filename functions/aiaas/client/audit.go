package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aiaas/aiaas/shared/audit"
)

func auditGroup() group {
	whose := flag{name: "organization", to: "query:organization_id", doc: "another organization's, or platform for what belongs to none; with --use-key platform"}
	return group{name: "audit", short: "Read, verify and export the audit", commands: []command{
		{
			use: "list", short: "List audit records, the newest first", role: roleAdmin,
			example: "  aiaas audit list --action key. --start 24h --limit 50\n  aiaas audit list --outcome denied",
			method:  http.MethodGet, path: "/v1/audit", list: true, paged: true, columns: auditColumns(), prepare: between,
			flags: []flag{
				{name: "actor", to: "query:actor", doc: "only by one key, person or job"},
				{name: "action", to: "query:action", doc: "only one action; with a dot at its end all that begin with it: key."},
				{name: "target", to: "query:target", doc: "only on one thing"},
				{name: "outcome", to: "query:outcome", doc: "only with an outcome", values: []string{"success", "denied", "failure"}},
				{name: "address", to: "query:source_address", doc: "only from an address"},
				{name: "request", to: "query:request_id", doc: "only of one request"},
				{name: "start", doc: "from then on: a date, a time, or a span such as 24h"},
				{name: "end", doc: "up to then"},
				whose,
			},
		},
		{
			use: "get RECORD", short: "Show an audit record with its place in the chain", role: roleAdmin, args: []source{{path: "/v1/audit", about: "action"}},
			method: http.MethodGet, path: "/v1/audit/{0}", flags: []flag{whose},
		},
		{
			use: "verify", short: "Verify that no audit record was changed, removed or slipped in", role: roleAdmin,
			long: "verify has the platform read the whole chain with its records and signed heads, and names the first record that is not\n" +
				"as it was sealed. With --database the command reads databases and file store by itself, as their operator. With --file it\n" +
				"checks an export without the platform, by a public key that you have kept: aiaas audit keys lists them. It ends with 1\n" +
				"where anything is wrong.",
			example: "  aiaas audit verify\n  aiaas audit verify --file audit.ndjson --key \"$AUDIT_KEY\"",
			method:  http.MethodGet, path: "/v1/audit/verify", finish: verified, alone: verifyAlone,
			flags: []flag{
				{name: "file", doc: "an export to check instead (- is standard input)"},
				{name: "database", doc: "read the databases and the file store of the settings instead of asking the platform", kind: yes},
				{name: "key", doc: "with these: the public keys in base64 that may have signed", kind: texts},
				whose,
			},
		},
		{
			use: "export", short: "Write all audit records, signed, as newline-delimited JSON", role: roleAdmin,
			example: "  aiaas audit export > audit.ndjson",
			method:  http.MethodGet, path: "/v1/audit/export", accept: audit.NDJSON + ", application/problem+json", streamed: true,
			flags: []flag{{name: "after", to: "query:after_seq", doc: "only what follows on this place of the chain"}, whose},
		},
		{
			use: "keys", short: "List the public keys that signatures are checked by", role: roleAdmin,
			method: http.MethodGet, path: "/v1/audit/keys", list: true,
			columns: []column{{title: "ID", path: "id"}, {title: "ALGORITHM", path: "algorithm"}, {title: "CURRENT", path: "current"}, {title: "PUBLIC KEY", path: "public_key"}},
		},
	}}
}

func auditColumns() []column {
	return []column{
		{title: "AT", path: "at"}, {title: "ID", path: "id"}, {title: "ACTOR", path: "actor"}, {title: "ACTION", path: "action"},
		{title: "TARGET", path: "target"}, {title: "OUTCOME", path: "outcome"}, {title: "ADDRESS", path: "source_address"},
	}
}

// verification is what is shown of one, by the platform or of a file.
type verification struct {
	Valid    bool     `json:"valid"`
	Checked  int64    `json:"checked"`
	From     int64    `json:"from_seq"`
	To       int64    `json:"to_seq"`
	FirstBad *finding `json:"first_bad"`
	Pending  int64    `json:"pending"`
	Late     int64    `json:"late"`
}

type finding struct {
	Seq     *int64  `json:"seq"`
	AuditID *string `json:"audit_id"`
	Reason  string  `json:"reason"`
	Detail  string  `json:"detail"`
}

// verified shows what the platform has found.
func verified(k *call, a *answer) error {
	var v verification
	if err := json.Unmarshal(a.body, &v); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	out := k.cmd.OutOrStdout()
	if k.opts.output != Table {
		if err := k.print(&answer{body: a.body}); err != nil {
			return err
		}
		return v.flaw()
	}
	return v.tell(out)
}

// tell says it in words.
func (v *verification) tell(out io.Writer) error {
	if err := v.flaw(); err != nil {
		return err
	}
	text := fmt.Sprintf("Valid: %d records, %d to %d.", v.Checked, v.From, v.To)
	if v.Checked == 0 {
		text = "Nothing is sealed yet: there are no records to verify."
	}
	if v.Pending > 0 {
		text += fmt.Sprintf(" %d wait to be sealed.", v.Pending)
	}
	if v.Late > 0 {
		text += fmt.Sprintf(" Of these, %d were sealed more than ten minutes after the time that they name.", v.Late)
	}
	return say(out, text)
}

// flaw is the error that ends the command where something is wrong.
func (v *verification) flaw() error {
	f := v.FirstBad
	if v.Valid || f == nil {
		if !v.Valid {
			return errors.New("the audit is not valid")
		}
		return nil
	}
	var about []string
	if f.Seq != nil {
		about = append(about, fmt.Sprintf("seq %d", *f.Seq))
	}
	if f.AuditID != nil {
		about = append(about, printable(*f.AuditID))
	}
	about = append(about, printable(f.Reason))
	return fmt.Errorf("the audit is not valid after %d records: %s (%s)", v.Checked, printable(f.Detail), strings.Join(about, ", "))
}

// verifyAlone verifies without the platform: an export, or the databases themselves.
func verifyAlone(cmd *cobra.Command, env Env, o *options, values map[string]*flagValue) (done bool, err error) {
	file, database := values["file"], values["database"]
	ring, err := ringOf(values["key"])
	switch {
	case err != nil:
		return true, err
	case file.given() && database.yes:
		return true, Usage("--file or --database, not both")
	case database.yes:
		report, err := env.VerifyAudit(cmd.Context(), values["organization"].text, ring)
		if err != nil {
			return true, wrapped("verify the databases", err)
		}
		return true, show(cmd, o, &report)
	case !file.given() && ring != nil:
		return true, Usage("--key is for --file and --database")
	case !file.given():
		return false, nil
	case ring == nil || file.text == "":
		return true, Usage("--file needs --key: a public key that you have kept")
	}
	in := cmd.InOrStdin()
	if file.text != "-" {
		f, err := os.Open(file.text)
		if err != nil {
			return true, UsageError{Err: fmt.Errorf("read export: %w", err)}
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		in = f
	}
	report, _, err := audit.VerifyExport(in, ring)
	if err != nil {
		return true, wrapped("verify export", err)
	}
	return true, show(cmd, o, &report)
}

// ringOf is the keys that were given; nil for none.
func ringOf(keys *flagValue) (audit.Ring, error) {
	if !keys.given() {
		return nil, nil
	}
	var list []audit.PublicKey
	for _, text := range keys.list {
		k, err := audit.ParsePublicKey(text)
		if err != nil {
			return nil, UsageError{Err: err}
		}
		list = append(list, k)
	}
	return audit.NewRing(list...), nil
}

// show prints a report, and is the error that it ends with.
func show(cmd *cobra.Command, o *options, report *audit.Report) error {
	v := verification{Valid: report.Valid(), Checked: report.Checked, From: report.From, To: report.To, Pending: report.Pending, Late: report.Late}
	if f := report.FirstBad; f != nil {
		v.FirstBad = &finding{Reason: string(f.Reason), Detail: f.Detail}
		if f.Seq > 0 {
			v.FirstBad.Seq = &f.Seq
		}
		if f.AuditID != "" {
			v.FirstBad.AuditID = &f.AuditID
		}
	}
	if o.output == Table {
		return v.tell(cmd.OutOrStdout())
	}
	return errors.Join(Print(cmd.OutOrStdout(), o.output, v), v.flaw())
}
