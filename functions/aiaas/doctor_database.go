package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/adapters/postgres/embedded"
	"github.com/aiaas/aiaas/adapters/postgres/migrations"
	"github.com/aiaas/aiaas/shared/function"
)

// oldestServer is the oldest PostgreSQL that is supported, as its version number.
const oldestServer = 150000

// checkDatabases looks at each database once, for all services that it holds.
func (e *exam) checkDatabases(ctx context.Context) {
	var urls []string
	services := map[string][]function.Service{}
	for _, service := range migrations.Services() {
		u, err := e.settings.URL(service)
		if err != nil {
			if u = runningDatabase(e.settings.DataDir); u == "" {
				e.warn("database", "aiaas serve starts it; or set DATABASE_URL", "the embedded one does not run, and no other is set")
				return
			}
		}
		if !slices.Contains(urls, u) {
			urls = append(urls, u)
		}
		services[u] = append(services[u], service)
	}
	for _, u := range urls {
		e.checkDatabase(ctx, u, services[u])
	}
}

// runningDatabase is the address of the embedded database of a data folder; ""
// where none runs. It is in the file that PostgreSQL itself keeps: its fifth line
// is the folder of its socket.
func runningDatabase(dataDir string) string {
	place := dataDir
	if text, err := os.ReadFile(filepath.Join(dataDir, "postgres.location")); err == nil {
		place = strings.TrimSpace(string(text))
	}
	text, err := os.ReadFile(filepath.Join(place, "postgres", "postmaster.pid"))
	lines := strings.Split(string(text), "\n")
	if err != nil || len(lines) < 5 || lines[4] == "" {
		return ""
	}
	q := url.Values{"host": {lines[4]}, "port": {lines[3]}, "user": {embedded.Database}, "sslmode": {"disable"}}
	return "postgres:///" + embedded.Database + "?" + q.Encode()
}

func (e *exam) checkDatabase(ctx context.Context, u string, services []function.Service) {
	ctx, cancel := context.WithTimeout(ctx, 2*e.timeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, u)
	if err != nil {
		e.fail("database", "start it, or correct DATABASE_URL; its user must be allowed to sign in from here", "%s", connectError(err))
		return
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // nothing was written
	var version int
	var text string
	var now time.Time
	var standby bool
	err = conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_version'), clock_timestamp(), pg_is_in_recovery()`).
		Scan(&version, &text, &now, &standby)
	switch {
	case err != nil:
		e.fail("database", "", "it can't be asked: %v", err)
		return
	case version < oldestServer:
		e.fail("database", "upgrade it", "PostgreSQL %s is too old; 15 is the oldest that is supported", text)
	case standby:
		e.fail("database", "set DATABASE_URL to the primary", "it is a read-only standby")
	default:
		e.ok("database", "PostgreSQL %s", text)
	}
	e.skew("database's clock", now, 0)
	e.checkRoles(ctx, conn)
	for _, s := range services {
		current := e.checkMigrations(ctx, conn, s)
		if current {
			e.checkAudit(ctx, conn, s)
		}
		if s == function.Analytics && current {
			e.checkInbox(ctx, conn)
		}
	}
}

// connectError keeps the address, which may hold a password, out of the text.
func connectError(err error) string {
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		return fmt.Sprintf("it refuses the connection: %s (%s)", pe.Message, pe.Code)
	}
	if _, ok := errors.AsType[*pgconn.ParseConfigError](err); ok {
		return "its address can't be read"
	}
	return fmt.Sprintf("it can't be reached: %v", errors.Unwrap(err))
}

// checkRoles looks whether the platform's roles are there and can be taken.
func (e *exam) checkRoles(ctx context.Context, conn *pgx.Conn) {
	roles := []string{
		string(postgres.RoleGateway), string(postgres.RoleRouter), string(postgres.RoleAccounts), string(postgres.RoleAnalytics), string(postgres.RoleMetering),
		string(postgres.RoleBilling), string(postgres.RoleMailer), string(postgres.RoleAuditor),
	}
	rows, err := conn.Query(ctx, `
		SELECT r FROM unnest($1::text[]) r LEFT JOIN pg_roles p ON p.rolname = r
		 WHERE p.rolname IS NULL OR NOT pg_has_role(current_user, p.oid, 'MEMBER') ORDER BY r`, roles)
	if err != nil {
		e.fail("database roles", "", "%v", err)
		return
	}
	missing, err := pgx.CollectRows(rows, pgx.RowTo[string])
	switch {
	case err != nil:
		e.fail("database roles", "", "%v", err)
	case len(missing) > 0:
		e.fail("database roles", "run aiaas migrate as a user that may create roles, or have them made and granted to this user", "missing, or not granted: %s", strings.Join(missing, ", "))
	default:
		e.ok("database roles", "%d can be taken", len(roles))
	}
}

func (e *exam) checkMigrations(ctx context.Context, conn *pgx.Conn, s function.Service) (current bool) {
	check := "schema " + string(s)
	missing, unknown, err := migrations.Pending(ctx, conn, s)
	switch {
	case err != nil:
		e.fail(check, "", "%v", err)
	case missing > 0:
		e.fail(check, "run aiaas migrate", "%d migrations are pending", missing)
	case unknown > 0:
		e.warn(check, "use the newer aiaas", "%d migrations come from a newer version", unknown)
	default:
		e.ok(check, "up to date")
	}
	return err == nil && missing == 0
}

// oldInbox is how long an event may wait for its booking before somebody should
// look.
const oldInbox = time.Minute

// checkInbox looks at what waits for the ledger, and at what it can't take.
func (e *exam) checkInbox(ctx context.Context, conn *pgx.Conn) {
	if _, err := conn.Exec(ctx, `SET ROLE `+pgx.Identifier{string(postgres.RoleMetering)}.Sanitize()); err != nil {
		return // the check of the roles has said why
	}
	var waiting, dead int64
	var age time.Duration
	var seconds float64
	err := conn.QueryRow(ctx, `
		SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(recorded_at)), 0)::float8, (SELECT count(*) FROM analytics.dead_letters) FROM analytics.inbox`).
		Scan(&waiting, &seconds, &dead)
	age = time.Duration(seconds * float64(time.Second)).Round(time.Second)
	switch {
	case err != nil:
		e.warn("inbox", "", "it can't be read: %v", err)
		return
	case age > oldInbox:
		e.fail("inbox", "see why metering does not book: aiaas job list, and the log", "%d events wait, the oldest for %s", waiting, age)
	default:
		e.ok("inbox", "%d events wait", waiting)
	}
	if dead > 0 {
		e.fail("dead letters", "their error says why: SELECT event_id, error FROM analytics.dead_letters", "%d events could not be booked", dead)
		return
	}
	e.ok("dead letters", "none")
}
