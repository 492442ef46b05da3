package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/aiaas/aiaas/tests/chaos"
	"github.com/aiaas/aiaas/tests/harness"
)

// What an older process says to the database, and what a newer one does.
const (
	recordSQL   = `SELECT analytics.record($1, ARRAY['org_fence'], ARRAY[$2], ARRAY['late'::bytea])`
	grantSQL    = `SELECT * FROM analytics.grant_budgets($1, $2, ARRAY[]::text[], ARRAY[]::timestamptz[], ARRAY[]::timestamptz[], ARRAY[]::bigint[])`
	takeOverSQL = `UPDATE analytics.epoch SET epoch = epoch + 1`
)

// TestFence holds the fence alone, in both orders: what an older process began to
// commit before the newer one came is waited for, and what it begins after is
// refused.
func TestFence(t *testing.T) {
	t.Parallel()
	server := harness.StartServer(t)
	g := harness.Start(t, harness.Options{Env: map[string]string{"DATABASE_URL": server.URL()}})
	g.Stop(t) // the schemas are there, and nobody else works on them
	db := g.Database()
	for _, write := range []struct{ name, sql string }{{"record", recordSQL}, {"grant", grantSQL}} {
		t.Run(write.name+" before the takeover", func(t *testing.T) {
			epoch := db.Int(t, `SELECT epoch FROM analytics.epoch`)
			older, newer := db.Conn(t), db.Conn(t)
			event := "req_before_" + write.name
			exec(t, older, "BEGIN")
			exec(t, older, write.sql, epoch, event)
			taken := background(t, newer, takeOverSQL)
			blocked(t, db, newer)
			exec(t, older, "COMMIT")
			harness.Must(t, <-taken)
			if now := db.Int(t, `SELECT epoch FROM analytics.epoch`); now != epoch+1 {
				t.Errorf("epoch %d after %d", now, epoch)
			}
			if n := db.Int(t, `SELECT count(*) FROM analytics.inbox WHERE event_id = $1`, event); write.name == "record" && n != 1 {
				t.Errorf("the takeover went on without the event that was being recorded")
			}
		})
		t.Run(write.name+" after the takeover began", func(t *testing.T) {
			epoch := db.Int(t, `SELECT epoch FROM analytics.epoch`)
			older, newer := db.Conn(t), db.Conn(t)
			exec(t, newer, "BEGIN")
			exec(t, newer, takeOverSQL)
			late := background(t, older, write.sql, epoch, "req_after_"+write.name)
			blocked(t, db, older)
			exec(t, newer, "COMMIT")
			fenced(t, <-late)
			_, err := older.Exec(t.Context(), write.sql, epoch, "req_after_"+write.name)
			fenced(t, err)
			if n := db.Int(t, `SELECT count(*) FROM analytics.inbox WHERE event_id = $1`, "req_after_"+write.name); n != 0 {
				t.Error("a fenced event was recorded")
			}
			exec(t, newer, write.sql, epoch+1, "req_newer_"+write.name) // the newer one works
		})
		t.Run(write.name+" when the takeover fails", func(t *testing.T) {
			epoch := db.Int(t, `SELECT epoch FROM analytics.epoch`)
			older, newer := db.Conn(t), db.Conn(t)
			exec(t, newer, "BEGIN")
			exec(t, newer, takeOverSQL)
			written := background(t, older, write.sql, epoch, "req_rolled_"+write.name)
			blocked(t, db, older)
			exec(t, newer, "ROLLBACK")
			harness.Must(t, <-written)
		})
	}
}

func exec(t *testing.T, c *pgx.Conn, sql string, args ...any) {
	t.Helper()
	_, err := c.Exec(t.Context(), sql, args...)
	harness.Must(t, err)
}

func background(t *testing.T, c *pgx.Conn, sql string, args ...any) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := c.Exec(t.Context(), sql, args...)
		done <- err
	}()
	return done
}

// blocked waits until the connection waits for another one's lock.
func blocked(t *testing.T, db harness.Database, c *pgx.Conn) {
	t.Helper()
	harness.Eventually(t, "wait for a lock", func() (bool, string) {
		n := db.Int(t, `SELECT cardinality(pg_blocking_pids($1))`, int32(c.PgConn().PID()))
		return n > 0, fmt.Sprintf("%d block it", n)
	})
}

func fenced(t *testing.T, err error) {
	t.Helper()
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != "AI001" {
		t.Errorf("want AI001 (another process has taken over), got %v", err)
	}
}

// TestOldProcessWakesAfterTakeover stops a process in the middle of its streams,
// lets a second one take over the database, and wakes the first. It must not end
// a single answer, and end itself.
func TestOldProcessWakesAfterTakeover(t *testing.T) {
	t.Parallel()
	server := harness.StartServer(t)
	env := map[string]string{"DATABASE_URL": server.URL(), "AIAAS_SHUTDOWN_GRACE": "10s"}
	older := start(t, harness.Options{Env: env})
	heldID, held, budget := older.budgeted(t, "money", "10")
	var first []harness.Answer
	for range 5 {
		first = append(first, older.chat(t.Context(), held, ""))
	}

	// Streams and whole answers that are under way for a while.
	const running = 12
	answers := make(chan harness.Answer, running)
	for i := range running {
		more := `,"stream":true,"demo":{"tokens":20,"interval_ms":100}`
		if i%3 == 0 {
			more = `,"demo":{"delay_ms":2000}`
		}
		key := []string{older.APIKey, held}[i%2]
		go func() { answers <- older.chat(context.WithoutCancel(t.Context()), key, more) }()
	}
	harness.Eventually(t, "requests under way", func() (bool, string) {
		n := older.upstream.Stats().Active
		return n == running, fmt.Sprintf("%d are", n)
	})
	older.WaitSettled(t)
	freeze(t, older.Gateway)

	newer := &platform{Gateway: harness.Start(t, harness.Options{Env: env, Credentials: &older.Credentials}), upstream: older.upstream}
	newer.Balanced(t, map[string]string{budget: heldID})
	second := newer.chat(t.Context(), held, "")
	older.Signal(t, syscall.SIGCONT)

	for range running {
		if a := <-answers; a.Done() {
			t.Errorf("a fenced process has finished an answer: %s", a)
		}
	}
	if code := older.Wait(t); code != 1 {
		t.Errorf("the fenced process ends with exit code %d", code)
	}
	if !strings.Contains(older.Stderr(), "aiaas: another process has taken over the database") {
		t.Errorf("it does not say why: %s", older.Stderr())
	}
	third := newer.chat(t.Context(), held, `,"stream":true`)
	newer.WaitSettled(t)
	newer.WaitNoHolds(t)
	ledger := newer.Agrees(t)
	for _, a := range append(first, second, third) {
		if _, ok := ledger[a.RequestID]; !ok || !a.Done() {
			t.Errorf("not booked, or not served: %s", a)
		}
	}
	if len(ledger) != len(first)+2 {
		t.Errorf("%d lines in the ledger for %d answers", len(ledger), len(first)+2)
	}
	newer.Stop(t)
	newer.Restart(t)
	newer.Balanced(t, map[string]string{budget: heldID})
}

// freeze stops a process at a moment when it is in no transaction: one that holds
// a lock for ever stops everybody, which is the database's business (and ends
// with the connection).
func freeze(t *testing.T, g *harness.Gateway) {
	t.Helper()
	harness.Eventually(t, "a moment without a transaction", func() (bool, string) {
		g.Signal(t, syscall.SIGSTOP)
		time.Sleep(20 * time.Millisecond) // what was sent is answered
		n := g.Database().Int(t, `SELECT count(*) FROM pg_stat_activity
			WHERE datname = 'aiaas' AND pid <> pg_backend_pid() AND xact_start IS NOT NULL`)
		if n > 0 {
			g.Signal(t, syscall.SIGCONT)
		}
		return n == 0, fmt.Sprintf("%d transactions", n)
	})
}

// TestSecondProcessOnOneDatabase starts a second process beside a healthy first
// one: the first gives way, and clients are told in time.
func TestSecondProcessOnOneDatabase(t *testing.T) {
	t.Parallel()
	server := harness.StartServer(t)
	env := map[string]string{"DATABASE_URL": server.URL(), "AIAAS_SHUTDOWN_GRACE": "10s"}
	older := start(t, harness.Options{Env: env})
	heldID, held, budget := older.budgeted(t, "tokens", "1000000")
	load := chaos.StartLoad(t.Context(), older.Gateway, chaos.Traffic{Clients: 8, Seed: 3, Keys: []string{older.APIKey, held}})
	load.WaitComplete(t, 50)
	newer := &platform{Gateway: harness.Start(t, harness.Options{Env: env, Credentials: &older.Credentials}), upstream: older.upstream}
	if code := older.Wait(t); code != 1 || !strings.Contains(older.Stderr(), "another process has taken over the database") {
		t.Errorf("the older process ends with %d: %s", code, older.Stderr())
	}
	ends, complete := map[chaos.End]int{}, map[string]bool{}
	for _, c := range load.Stop() {
		if ends[c.End]++; c.End == chaos.Complete {
			complete[c.ID] = true
		}
	}
	newer.WaitSettled(t)
	newer.Balanced(t, map[string]string{budget: heldID})
	ledger := newer.Agrees(t)
	for id := range complete {
		if e := ledger[id]; e.Outcome != "complete" {
			t.Errorf("%s was received completely, but booked is %+v", id, e)
		}
	}
	newer.sameCounts(t, complete, ledger)
	if a := newer.chat(t.Context(), held, ""); a.Status != http.StatusOK {
		t.Errorf("the newer process does not serve: %s", a)
	}
	t.Logf("%v; %d booked", ends, len(ledger))
}
