package postgres_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// noon is when the stores' tests happen.
func noon() time.Time { return time.Date(2026, 10, 12, 12, 0, 0, 0, time.UTC) }

// fixture is a database with the organisations org_1 (zone Europe/Berlin, project
// proj_1) and org_2 (UTC, proj_2).
type fixture struct {
	t   *testing.T
	url string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, url: postgrestest.New(t)}
	f.exec(`
		INSERT INTO accounts.organizations (org_id, name, created_at, time_zone, key_requests_per_minute, key_concurrent_requests, tokens_per_minute)
			VALUES ('org_1', 'one', now(), 'Europe/Berlin', 100, 10, 5000), ('org_2', 'two', now(), 'UTC', 0, 0, 0);
		INSERT INTO accounts.projects (org_id, project_id, name, concurrent_requests, created_at) VALUES ('org_1', 'proj_1', 'p', 7, now()), ('org_2', 'proj_2', 'p', 0, now())`)
	return f
}

func (f *fixture) exec(sql string, args ...any) {
	f.t.Helper()
	postgrestest.Exec(f.t, f.url, fmt.Sprintf(sql, args...))
}

func (f *fixture) scalar(sql string) string {
	f.t.Helper()
	return postgrestest.Scalar(f.t, f.url, sql)
}

func (f *fixture) open(role postgres.Role) *postgres.DB {
	f.t.Helper()
	db, err := postgres.Open(f.t.Context(), f.url, role, 8)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(db.Close)
	return db
}

func record(ctx context.Context, org, action string) audit.Record {
	return audit.New(ctx, authz.Principal{OrgID: org, KeyID: "key_admin"}, noon(), action, "target").With(map[string]any{"a": 1})
}
