package hostile_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/aiaas/aiaas/tests/harness"
)

// tells are the tables that tell of refused requests as well, or of what jobs do.
var tells = regexp.MustCompile(`^(router\.access_log|accounts\.jobs|accounts\.job_runs|accounts\.audit_chains|accounts\.throttles|analytics\.epoch|.*\.goose_.*)$`)

// refusals are the actions of records that tell of a refused request.
const refusals = "('access.deny', 'auth.fail')"

// counts says which rows of a table count: all, but records of refusals and their
// places in the chains, and what the gateway holds ready of a budget before it knows
// how much a request may cost.
func counts(table string) string {
	schema, name, _ := strings.Cut(table, ".")
	refusal := func(schema string) string {
		return "EXISTS (SELECT FROM " + schema + ".audit_records r WHERE r.org_id = t.org_id AND r.audit_id = t.audit_id AND r.action IN " + refusals + ")"
	}
	switch {
	case name == "audit_records":
		return "t.action NOT IN " + refusals
	case name == "audit_pending":
		return "NOT " + refusal(schema)
	case name == "audit_chain":
		return "NOT (" + refusal("accounts") + " OR " + refusal("router") + " OR " + refusal("analytics") + ")"
	case table == "analytics.budget_windows":
		return "t.spent <> 0"
	}
	return "true"
}

// figures are the columns of a table that count: all, but when and from where a key
// was last used.
func figures(table string) string {
	if table == "accounts.api_keys" {
		return "to_jsonb(t) - '{last_used_at,last_used_from}'::text[]"
	}
	return "to_jsonb(t)"
}

// stored is a digest of what the database has, row by row, so that a row that was
// changed is found as well as one that came or went.
func (p *platform) stored() map[string]string {
	p.t.Helper()
	p.quiet()
	var each []string
	for table := range strings.SplitSeq(p.scalar(`SELECT string_agg(n.nspname || '.' || c.relname, ' ' ORDER BY 1) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname IN ('accounts', 'router', 'analytics') AND c.relkind IN ('r', 'p') AND NOT c.relispartition`), " ") {
		if !tells.MatchString(table) {
			each = append(each, fmt.Sprintf(`SELECT '%[1]s ' || count(*) || ' ' || coalesce(sum(hashtextextended((%[2]s)::text, 0)::numeric), 0) AS line FROM %[1]s t WHERE %[3]s`,
				table, figures(table), counts(table)))
		}
	}
	out := map[string]string{}
	for line := range strings.SplitSeq(p.scalar("%s", "SELECT string_agg(line, '|') FROM ("+strings.Join(each, " UNION ALL ")+") l"), "|") {
		table, digest, _ := strings.Cut(line, " ")
		out[table] = digest
	}
	return out
}

// quiet waits until jobs have done all that follows from what was done before:
// records are sealed, events told, mails sent.
func (p *platform) quiet() {
	p.t.Helper()
	harness.Eventually(p.t, "jobs to be done", func() (bool, string) {
		left := p.scalar(`SELECT concat_ws(' ', %s)`, strings.Join([]string{
			count("accounts.audit_pending"), count("router.audit_pending"), count("analytics.audit_pending"),
			count("accounts.outbox"), count("router.outbox"), count("analytics.outbox"),
			count("accounts.mails WHERE status = 'queued'"), count("accounts.reset_requests"), count("accounts.webhook_deliveries WHERE status = 'pending'"),
			count("analytics.usage_deltas"),
		}, ", "))
		return strings.Trim(left, "0 ") == "", "what waits: " + left
	})
}

func count(from string) string { return "(SELECT count(*) FROM " + from + ")" }

// changes are the tables in which a digest differs.
func changes(before, after map[string]string) []string {
	var out []string
	for table, digest := range after {
		if before[table] != digest {
			out = append(out, fmt.Sprintf("%s: rows and digest %s, before %s", table, digest, before[table]))
		}
	}
	return out
}

// TestWhatIsStoredIsSeen holds these tests to account: what a refused request must
// not do is found where one does it, however small, and what tells of the refusal
// itself is not taken for it.
func TestWhatIsStoredIsSeen(t *testing.T) {
	p := start(t)
	before := p.stored()
	refused(t, p.do("DELETE", "/v1/webhooks/"+p.webhook, p.one.reader, ""), 403)
	refused(t, p.do("GET", "/v1/api-keys", p.one.revoked, ""), 401)
	refused(t, p.do("POST", "/v1/models", p.one.admin, `{"id":"mine"}`), 403)
	harness.Eventually(t, "records of the refusals", func() (bool, string) {
		n := p.scalar(`SELECT count(*) FILTER (WHERE action = 'access.deny') || ' ' || count(*) FILTER (WHERE action = 'auth.fail') FROM
			(SELECT action FROM accounts.audit_records UNION ALL SELECT action FROM router.audit_records UNION ALL SELECT action FROM analytics.audit_records) r`)
		return n == "2 1", n
	})
	if list := changes(before, p.stored()); len(list) > 0 {
		t.Errorf("a refusal counts as something that was stored: %v", list)
	}
	for table, change := range map[string]string{
		"accounts.projects":      `UPDATE accounts.projects SET name = name || ' ' WHERE project_id = '` + project + `'`,
		"accounts.webhooks":      `UPDATE accounts.webhooks SET failures = failures + 1`,
		"accounts.audit_records": `INSERT INTO accounts.audit_records (org_id, audit_id, at, actor, action, target, detail) VALUES ('o', 'aud_x', now(), 'a', 'key.create', 't', '{}')`,
		"accounts.events":        `INSERT INTO accounts.events VALUES ('o', 'evt_x', 'key.created', now(), 'k', '{}')`,
		"analytics.budgets":      `UPDATE analytics.budgets SET amount = amount + 1`,
		"router.models":          `UPDATE router.models SET owned_by = 'x'`,
	} {
		before := p.stored()
		p.exec("%s", change)
		if len(changes(before, p.stored())) == 0 {
			t.Errorf("a change of %s is not seen", table)
		}
	}
}
