// Package postgrestest gives each test a real PostgreSQL database of its own, with
// all schemas migrated.
//
// There is one template database a server, migrated once and cloned for each test,
// which takes some tens of milliseconds. The server is the one that
// AIAAS_TEST_DATABASE_URL names (by a user who may create databases and roles), so
// that one `go test ./...` shares it; else each test binary starts an embedded one
// in a folder for temporary files. Such a folder is used again by the next run,
// which also stops a server that a killed test left behind.
package postgrestest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/adapters/postgres/embedded"
	"github.com/aiaas/aiaas/adapters/postgres/migrations"
)

// Setting names the environment variable with the address of a running server.
const Setting = "AIAAS_TEST_DATABASE_URL"

const (
	templatePrefix = "aiaas_template_"
	testPrefix     = "aiaas_test_"
	lockKey        = 4711_0815 // of the advisory lock under which the template is made
	patience       = 2 * time.Minute
)

// server is the one of this process.
type server struct {
	main     bool // Main runs, and stops what is started
	once     sync.Once
	url      string
	template string
	err      error
	embedded *embedded.Server
}

var shared server

// Main runs the tests of a package that calls [New], and stops what was started
// for them:
//
//	func TestMain(m *testing.M) { postgrestest.Main(m) }
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run is Main for a package that has more to clean up: it returns the exit code.
func Run(m *testing.M) (code int) {
	shared.main = true
	code = m.Run()
	if shared.embedded != nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := shared.embedded.Stop(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "postgrestest:", err)
			code = 1
		}
	}
	return code
}

// New returns the URL of a fresh database with all schemas. Its user may do
// anything. The database is dropped when the test ends.
func New(tb testing.TB) string {
	tb.Helper()
	return create(tb, " TEMPLATE "+quote(start(tb).template))
}

// Empty returns the URL of a fresh database without any schema.
func Empty(tb testing.TB) string {
	tb.Helper()
	start(tb)
	return create(tb, "")
}

func create(tb testing.TB, how string) string {
	tb.Helper()
	name := testPrefix + strings.ToLower(rand.Text())
	admin(tb, "CREATE DATABASE "+quote(name)+how)
	tb.Cleanup(func() { admin(tb, "DROP DATABASE "+quote(name)+" WITH (FORCE)") })
	return named(shared.url, name)
}

// Exec runs statements in a database, as its user.
func Exec(tb testing.TB, databaseURL, sql string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), patience)
	defer cancel()
	if err := run(ctx, databaseURL, sql); err != nil {
		tb.Fatal(err)
	}
}

// Scalar returns the one value, a text, that a query finds.
func Scalar(tb testing.TB, databaseURL, sql string) (text string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		tb.Fatalf("connect: %v", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if err := conn.QueryRow(ctx, sql).Scan(&text); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	return text
}

func admin(tb testing.TB, sql string) {
	tb.Helper()
	Exec(tb, shared.url, sql)
}

func start(tb testing.TB) *server {
	tb.Helper()
	if !shared.main {
		tb.Fatal("this package's tests need func TestMain(m *testing.M) { postgrestest.Main(m) }")
	}
	shared.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), patience)
		defer cancel()
		shared.err = shared.start(ctx)
	})
	if shared.err != nil {
		tb.Fatalf("start PostgreSQL for tests: %v", shared.err)
	}
	return &shared
}

func (s *server) start(ctx context.Context) error {
	if s.url = os.Getenv(Setting); s.url == "" {
		if err := s.embed(ctx); err != nil {
			return err
		}
	}
	return s.makeTemplate(ctx)
}

// embed starts a server in the first folder that no other process uses.
func (s *server) embed(ctx context.Context) error {
	const most = 64
	for i := range most {
		dir := filepath.Join(os.TempDir(), "aiaas-postgrestest-"+strconv.Itoa(os.Getuid()), strconv.Itoa(i))
		e, err := embedded.Start(ctx, embedded.Config{DataDir: dir, Settings: map[string]string{
			"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "300",
		}})
		switch {
		case errors.Is(err, embedded.ErrInUse):
			continue
		case err != nil:
			return err
		}
		s.embedded, s.url = e, e.URL()
		return dropLeftovers(ctx, s.url)
	}
	return fmt.Errorf("%d servers run already", most)
}

// dropLeftovers drops the databases of tests that were killed. The server is this
// process's own, so nobody uses them.
func dropLeftovers(ctx context.Context, serverURL string) error {
	conn, err := pgx.Connect(ctx, serverURL)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	rows, err := conn.Query(ctx, `SELECT datname FROM pg_database WHERE starts_with(datname, $1)`, testPrefix)
	if err != nil {
		return fmt.Errorf("list databases: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("list databases: %w", err)
	}
	for _, n := range names {
		if _, err := conn.Exec(ctx, "DROP DATABASE "+quote(n)+" WITH (FORCE)"); err != nil {
			return fmt.Errorf("drop %s: %w", n, err)
		}
	}
	return nil
}

// makeTemplate migrates the template database unless the server has it. Under its
// final name it is complete: it is made under another one and renamed.
func (s *server) makeTemplate(ctx context.Context) error {
	fingerprint, err := migrations.Fingerprint()
	if err != nil {
		return err
	}
	s.template = templatePrefix + fingerprint
	conn, err := pgx.Connect(ctx, s.url)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }() // frees the lock
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", lockKey); err != nil {
		return fmt.Errorf("lock template: %w", err)
	}
	var known bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", s.template).Scan(&known); err != nil || known {
		return err
	}
	draft := s.template + "_draft"
	for _, sql := range []string{"DROP DATABASE IF EXISTS " + quote(draft) + " WITH (FORCE)", "CREATE DATABASE " + quote(draft)} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("make template: %w", err)
		}
	}
	if err := migrate(ctx, named(s.url, draft)); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "ALTER DATABASE "+quote(draft)+" RENAME TO "+quote(s.template)); err != nil {
		return fmt.Errorf("name template: %w", err)
	}
	return nil
}

func migrate(ctx context.Context, databaseURL string) error {
	for _, svc := range migrations.Services() {
		if _, err := migrations.Run(ctx, databaseURL, svc); err != nil {
			return err
		}
	}
	return nil
}

func run(ctx context.Context, databaseURL, sql string) error {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, sql); err != nil {
		return fmt.Errorf("run %.60s: %w", sql, err)
	}
	return nil
}

// named is a server's URL with another database.
func named(serverURL, database string) string {
	u, err := url.Parse(serverURL)
	if err != nil { // not a URL but keywords, which pgx reads from left to right
		return serverURL + " dbname=" + database
	}
	u.Path = "/" + database
	return u.String()
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// Refuse makes a database of [New] unreachable: its connections are ended and no
// new one is let in.
func Refuse(tb testing.TB, databaseURL string) {
	tb.Helper()
	name := Scalar(tb, databaseURL, "SELECT current_database()::text")
	admin(tb, "ALTER DATABASE "+quote(name)+" ALLOW_CONNECTIONS false")
	admin(tb, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+name+"'")
}

// Admit makes a database reachable again after [Refuse].
func Admit(tb testing.TB, databaseURL string) {
	tb.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		tb.Fatalf("read database URL: %v", err)
	}
	admin(tb, "ALTER DATABASE "+quote(strings.TrimPrefix(u.Path, "/"))+" ALLOW_CONNECTIONS true")
}
