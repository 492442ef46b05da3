package isolation_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/shared/authz"
)

// trap stands between our code and the database's own set_config, by which a
// transaction names its organisation: where it is set, every transaction is bound to
// the organisation that it names, whatever our code asks for. Our filters then look
// for the second organisation's rows, as if there were none, and row-level security
// is all that keeps them.
const trap = `
CREATE SCHEMA trap;
CREATE TABLE trap.bound (org_id text);
CREATE FUNCTION trap.set_config(name text, value text, local boolean) RETURNS text
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS $$
  SELECT pg_catalog.set_config(name, coalesce((SELECT b.org_id FROM trap.bound b LIMIT 1), value), local)
$$;
GRANT USAGE ON SCHEMA trap TO PUBLIC;
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = trap, pg_catalog', current_database()); END $$;
`

func (p *platform) bind(o *org) {
	p.t.Helper()
	p.exec(`INSERT INTO trap.bound VALUES ('%s')`, o.id)
}

func (p *platform) unbind() {
	p.t.Helper()
	p.exec(`TRUNCATE trap.bound`)
}

// TestRowLevelSecurityIsEnough has the second organisation's owner ask every route for
// his own things while the database is bound to the first: they are not there, and
// nothing changes. Without the binding the same request is served.
func TestRowLevelSecurityIsEnough(t *testing.T) {
	p := startWith(t, trap)
	owner := p.two.keys[authz.Owner]
	asked := 0
	for _, r := range routes(t) {
		if r.want(authz.Owner, false) == http.StatusForbidden || r.DataPlane {
			continue // a platform's, or one that asks the database through functions only
		}
		asked++
		target, body := p.fill(r.path, p.two), p.fill(r.body, p.two)
		before := p.rowsOf(p.two)
		p.bind(p.one)
		bound := p.do(r.Method, target, owner, body)
		p.unbind()
		if r.about() && bound.Code < http.StatusBadRequest {
			t.Errorf("%s %s is served by what the database should hide: %d %.300s", r.Method, r.path, bound.Code, bound.Body)
		}
		text := strings.ReplaceAll(bound.Body.String(), target, "")
		for _, mark := range []string{"of two", "of-two", "of_two", "named two", "slug-two", "@two.example", "771771771", p.two.home, p.two.other} {
			if strings.Contains(text, mark) && r.OperationID != "getMe" { // who asks is known by his key
				t.Errorf("%s %s gives away %q: %.300s", r.Method, r.path, mark, text)
				break
			}
		}
		if after := p.rowsOf(p.two); after != before {
			t.Errorf("%s %s changed rows of another organisation:\n%s\n%s", r.Method, r.path, before, after)
		}
		if w := p.do(r.Method, target, owner, body); w.Code != r.want(authz.Owner, false) {
			t.Errorf("%s %s without the binding: %d; want %d: %.300s", r.Method, r.path, w.Code, r.want(authz.Owner, false), w.Body)
		}
	}
	t.Logf("%d questions", asked)
}

// rowsOf sums up what an organisation has in tables that requests change.
func (p *platform) rowsOf(o *org) string {
	p.t.Helper()
	tables := strings.Fields(postgrestest.Scalar(p.t, p.url, `SELECT string_agg(c.oid::regclass::text, ' ' ORDER BY c.oid::regclass::text) FROM pg_class c
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'org_id' AND NOT a.attisdropped
		WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace::regnamespace::text IN ('accounts', 'router', 'analytics')
		AND c.relname !~ '^(audit_|outbox|access_log)'`)) // what is refused is recorded, too
	parts := make([]string, len(tables))
	for i, table := range tables {
		rows := `to_jsonb(r)`
		if table == "accounts.api_keys" {
			rows = `to_jsonb(r) - 'last_used_at' - 'last_used_from'`
		}
		parts[i] = `SELECT '` + table + `=' || count(*) || ':' || coalesce(md5(string_agg((` + rows + `)::text, '' ORDER BY (` + rows + `)::text)), '') AS s FROM ` + table + ` r WHERE org_id = '` + o.id + `'`
	}
	return postgrestest.Scalar(p.t, p.url, `SELECT string_agg(s, E'\n') FROM (`+strings.Join(parts, " UNION ALL ")+`) x`)
}
