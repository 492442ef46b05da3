package client_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/aiaas/aiaas/functions/aiaas/client"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
)

func TestAuditCommandsMakeTheseRequests(t *testing.T) {
	for line, want := range map[string]string{
		"audit list --action key. --outcome denied --address 192.0.2.1 --start 90m --limit 5": `GET /v1/audit action=key.&limit=5&outcome=denied&source_address=192.0.2.1&start=2026-10-12T08:00:00Z`,
		"audit list --actor a --target b --request c --organization platform --limit 1":       `GET /v1/audit actor=a&limit=1&organization_id=platform&request_id=c&target=b`,
		"audit get aud_1":               `GET /v1/audit/aud_1`,
		"audit keys":                    `GET /v1/audit/keys`,
		"audit export --after 12":       `GET /v1/audit/export after_seq=12`,
		"audit verify --organization x": `GET /v1/audit/verify organization_id=x`,
	} {
		address, asked := server(t, 200, `{"valid":true,"data":[],"next_cursor":null}`)
		if _, _, err := (&terminal{url: address}).run(line); err != nil || len(*asked) != 1 || (*asked)[0] != want {
			t.Errorf("%s: %v, %v; want %s", line, *asked, err, want)
		}
	}
}

func TestAVerificationEndsWithItsResult(t *testing.T) {
	const (
		good = `{"valid":true,"checked":7,"from_seq":3,"to_seq":9,"first_bad":null,"pending":2,"head":null}`
		none = `{"valid":true,"checked":0,"from_seq":0,"to_seq":0,"first_bad":null,"pending":1,"head":null}`
		late = `{"valid":true,"checked":7,"from_seq":3,"to_seq":9,"first_bad":null,"pending":0,"late":2,"head":null}`
		bad  = `{"valid":false,"checked":3,"from_seq":1,"to_seq":3,"first_bad":{"seq":4,"audit_id":"aud_4","reason":"record_changed","detail":"record 4 is not what was sealed"},"pending":0,"head":null}`
	)
	for _, c := range []struct {
		line, answer string
		status, code int
		says         []string
	}{
		{"audit verify", none, 200, 0, []string{"Nothing is sealed yet", "1 wait"}},
		{"audit verify", late, 200, 0, []string{"Valid", "2 were sealed more than ten minutes after"}},
		{"audit verify", `{"code":"not_found","detail":"there is no organization"}`, 404, 1, []string{"no organization"}},
		{"audit verify", good, 200, 0, []string{"Valid", "7 records", "3 to 9", "2 wait"}},
		{"audit verify -o json", good, 200, 0, []string{`"to_seq": 9`}},
		{"audit verify", bad, 200, 1, []string{"after 3 records", "seq 4", "aud_4", "record_changed", "record 4 is not what was sealed"}},
		{"audit verify -o json", bad, 200, 1, []string{`"valid": false`, `"aud_4"`}},
		{"audit verify", `{"code":"forbidden","detail":"no"}`, 403, 1, []string{"no"}},
		{"audit verify", `{}`, 503, 3, nil},
		{"audit verify", `{}`, 200, 1, []string{"not valid"}},
	} {
		address, _ := server(t, c.status, c.answer)
		out, _, err := (&terminal{url: address}).run(c.line)
		if client.ExitCode(err) != c.code {
			t.Errorf("%s of %s: exit code %d", c.line, c.answer, client.ExitCode(err))
		}
		if err != nil {
			out += err.Error()
		}
		if c.answer == none && strings.Contains(strings.ToLower(out), "valid") {
			t.Errorf("of nothing it says %q", out)
		}
		for _, s := range c.says {
			if !strings.Contains(out, s) {
				t.Errorf("%s of %s: it says %q; want %q in it", c.line, c.answer, out, s)
			}
		}
	}
}

// empty is a chain without records.
type empty struct{ audit.ChainReader }

func (empty) State(context.Context, string) (audit.State, error) { return audit.State{}, nil }

// exported is a real export, of nothing, and the key that checks it.
func exported(t *testing.T) (text []byte, key string) {
	t.Helper()
	signer, err := audit.NewSigner(bytes.Repeat([]byte{7}, audit.SeedSize))
	if err != nil {
		t.Fatal(err)
	}
	s := &audit.Service{Verifier: &audit.Verifier{Chain: empty{}}, Signer: signer, Now: time.Now}
	p := authz.Principal{OrgID: "org_1", KeyID: "key_1", OwnerID: "user_1", Role: authz.Owner, Scopes: authz.Scopes(), Method: authz.ByKey}
	x, err := s.Export(t.Context(), p, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := x.Write(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), signer.Public().String()
}

func TestAFileIsVerifiedWithoutThePlatform(t *testing.T) {
	text, key := exported(t)
	name := filepath.Join(t.TempDir(), "audit.ndjson")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	other := strings.Repeat("A", 43) + "="
	for _, c := range []struct {
		line, types string
		code        int
		says        string
	}{
		{"audit verify --file " + name + " --key " + key, "", 0, "Nothing is sealed yet"},
		{"audit verify --file " + name + " --key " + other + "," + key, "", 0, "Nothing is sealed yet"},
		{"audit verify --file - --key " + key, string(text), 0, "Nothing is sealed yet"},
		{"audit verify --file - -o json --key " + key, string(text), 0, `"valid"`},
		{"audit verify --file " + name + " --key " + other, "", 1, "not signed by this key"},
		{"audit verify --file - --key " + key, "", 1, "export_cut"},
		{"audit verify --file " + name, "", 2, "--key"},
		{"audit verify --key " + key, "", 2, "--file"},
		{"audit verify --file " + name + " --key short", "", 2, "public key"},
		{"audit verify --file " + name + ".not --key " + key, "", 2, "read export"},
	} {
		// Nobody answers at this address: none must be asked.
		out, _, err := (&terminal{url: "http://127.0.0.1:1", types: c.types}).run(c.line)
		if err != nil {
			out += err.Error()
		}
		if client.ExitCode(err) != c.code || !strings.Contains(out, c.says) {
			t.Errorf("%s: exit code %d, %q; want %d and %q", c.line, client.ExitCode(err), out, c.code, c.says)
		}
	}
}

// TestAnExportIsPassedOnWhileItComes: the whole of it stands nowhere.
func TestAnExportIsPassedOnWhileItComes(t *testing.T) {
	cut := false
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", audit.NDJSON)
		for range 300 { // more than one timeout would take, if pieces did not count
			_, _ = w.Write([]byte("{}\n"))
			_ = http.NewResponseController(w).Flush()
			time.Sleep(time.Millisecond)
		}
		if cut {
			panic(http.ErrAbortHandler)
		}
	}))
	defer s.Close()
	out, _, err := (&terminal{url: s.URL}).run("audit export --timeout 200ms")
	if err != nil || strings.Count(out, "{}\n") != 300 {
		t.Errorf("%d lines, %v", strings.Count(out, "{}\n"), err)
	}
	cut = true
	if _, _, err := (&terminal{url: s.URL}).run("audit export"); !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("one that breaks off: %v", err)
	}
}

func TestTheDatabasesAreVerifiedByTheirOperator(t *testing.T) {
	_, key := exported(t)
	for _, c := range []struct {
		line string
		bad  *audit.Finding
		code int
		says string
	}{
		{"audit verify --database --organization org_1", nil, 0, "12 records"},
		{"audit verify --database --key " + key, &audit.Finding{Seq: 13, AuditID: "aud_13", Reason: audit.RecordMissing, Detail: "record 13 is gone"}, 1, "aud_13"},
		{"audit verify --database --file x --key " + key, nil, 2, "not both"},
	} {
		org, ring := "", audit.Ring(nil)
		root := &cobra.Command{Use: "aiaas", SilenceErrors: true, SilenceUsage: true}
		root.AddCommand(client.Commands(client.Env{
			Getenv: func(string) string { return "" }, Now: at, Asks: func() bool { return false },
			VerifyAudit: func(_ context.Context, of string, keys audit.Ring) (audit.Report, error) {
				org, ring = of, keys
				return audit.Report{Checked: 12, From: 1, To: 12, FirstBad: c.bad}, nil
			},
		})...)
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetArgs(strings.Fields(c.line))
		err := root.Execute()
		text := out.String()
		if err != nil {
			text += err.Error()
		}
		if client.ExitCode(err) != c.code || !strings.Contains(text, c.says) {
			t.Errorf("%s: exit code %d, %q", c.line, client.ExitCode(err), text)
		}
		if strings.Contains(c.line, "org_1") != (org == "org_1") || (strings.Contains(c.line, "--key") && c.code < 2) != (len(ring) == 1) {
			t.Errorf("%s: asked for %q with %v", c.line, org, ring)
		}
	}
}
