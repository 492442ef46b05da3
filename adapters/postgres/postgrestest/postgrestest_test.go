package postgrestest_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

func TestEachTestHasAMigratedDatabaseOfItsOwn(t *testing.T) {
	t.Parallel()
	a, b := postgrestest.New(t), postgrestest.New(t)
	postgrestest.Exec(t, a, "INSERT INTO router.models VALUES ('m', 'o', 1, now())")
	if n := count(t, a, "router.models"); n != 1 {
		t.Errorf("the first database has %d models; want 1", n)
	}
	if n := count(t, b, "router.models"); n != 0 {
		t.Errorf("the second database has %d models; want none", n)
	}
}

func TestAnEmptyDatabaseHasNoSchema(t *testing.T) {
	t.Parallel()
	if n := count(t, postgrestest.Empty(t), "pg_namespace WHERE nspname IN ('accounts', 'router', 'analytics')"); n != 0 {
		t.Errorf("%d schemas; want none", n)
	}
}

func TestTheDatabaseIsDroppedAfterItsTest(t *testing.T) {
	var url string
	t.Run("inner", func(t *testing.T) { url = postgrestest.New(t) })
	if conn, err := pgx.Connect(t.Context(), url); err == nil {
		_ = conn.Close(t.Context())
		t.Error("the database is still there")
	}
}

func count(t *testing.T, url, from string) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM "+from).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
