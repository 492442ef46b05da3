package migrations_test

import (
	"context"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/postgres/embedded"
	"github.com/aiaas/aiaas/adapters/postgres/migrations"
	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
)

// TestAnOrdinaryOwnerMakesTheClustersRoles has a cluster without any of the roles:
// from PostgreSQL 16 on, who makes a role may not act as it of himself. The owner
// has two databases in the cluster, and then acts under each role, as the command
// does at run time.
func TestAnOrdinaryOwnerMakesTheClustersRoles(t *testing.T) {
	t.Parallel()
	admin := freshCluster(t)
	postgrestest.Exec(t, admin, `CREATE ROLE app LOGIN CREATEROLE`)
	for _, database := range []string{"first", "second"} {
		postgrestest.Exec(t, admin, `CREATE DATABASE `+database+` OWNER app`)
		u, err := url.Parse(admin)
		if err != nil {
			t.Fatal(err)
		}
		u.Path = "/" + database
		as := withRole(t, u.String(), "app")
		for _, svc := range migrations.Services() {
			if _, err := migrations.Run(t.Context(), as, svc); err != nil {
				t.Fatalf("migrate %s of the %s database: %v", svc, database, err)
			}
		}
		db := connect(t, u.String())
		if found := list(t, db, unguarded); len(found) > 0 {
			t.Errorf("not guarded: %v", found)
		}
		// The user of the session counts for SET ROLE.
		if _, err := db.Exec(t.Context(), `SET SESSION AUTHORIZATION app`); err != nil {
			t.Fatal(err)
		}
		for _, role := range roles() {
			if got := asRole(t, db, role, "", `SELECT current_user::text`); got != role {
				t.Errorf("as %s the owner is %s", role, got)
			}
		}
		if got := list(t, db, `SELECT r FROM unnest($1::text[]) r WHERE NOT pg_has_role(r, 'USAGE')`, roles()); len(got) > 0 {
			t.Errorf("the owner does not have the rights of %v", got)
		}
		if err := db.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// freshCluster starts a server of the test's own and returns its superuser's URL.
func freshCluster(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "aiaas-m-") //nolint:usetesting // t.TempDir's are closed to the server's own user, and long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	s, err := embedded.Start(t.Context(), embedded.Config{DataDir: dir + "/d", Settings: map[string]string{"fsync": "off"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return s.URL()
}
