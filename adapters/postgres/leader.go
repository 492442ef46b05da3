package postgres

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	leaderLock     = 4711_0816       // the advisory lock that the leader holds
	leaderEvery    = time.Second     // between two looks at the lock, and two signs of life
	leaderPatience = 3 * time.Second // for the server to answer
	// leaderSilence is how long the server hears nothing from a leader before it ends
	// his session and so frees the lock: the process is frozen, or cut off.
	leaderSilence = 6 * time.Second
)

// ErrNotLeading is why work that belongs to the leader is stopped.
var ErrNotLeading = errors.New("this process no longer leads")

// Leader makes one process among those of a database the leader. The leader holds
// an advisory lock in a session of its own. The lock is free as soon as that
// session ends: at once when the process ends or is killed, after seconds when it
// is frozen or can't be reached. The session must reach the server itself, not
// through a pooler that lends server sessions by transaction.
//
// For a moment two may believe to lead, the old one until it hears that its
// session has ended: what the leader does must bear that.
type Leader struct {
	config *pgx.ConnConfig
	lock   int64
	log    *slog.Logger
}

// NewLeader makes a candidate for the lead in a database, among the processes of one
// group: those that do the same work. It does no I/O.
func NewLeader(databaseURL string, role Role, group string, log *slog.Logger) (*Leader, error) {
	config, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("read database URL: %w", redact(err))
	}
	config.ConnectTimeout = leaderPatience
	config.RuntimeParams["role"] = string(role)
	config.RuntimeParams["application_name"] = "aiaas_leader"
	// A dead peer is noticed in seconds; ignored where the connection is no TCP.
	config.RuntimeParams["tcp_keepalives_idle"] = "3"
	config.RuntimeParams["tcp_keepalives_interval"] = "1"
	config.RuntimeParams["tcp_keepalives_count"] = "3"
	return &Leader{config: config, lock: leaderLock + groupOffset(group), log: log}, nil
}

// groupOffset keeps the locks of groups apart; the group of all has none.
func groupOffset(group string) int64 {
	if group == "" {
		return 0
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(group))
	return int64(h.Sum32()) << 32
}

// Lead calls work each time that this process becomes the leader, until ctx ends.
// work's context ends when ctx does, and with [ErrNotLeading] as its cause as soon
// as the process does not lead any more; the lead is given up when work returns.
// Lead returns when ctx has ended and work has returned.
func (l *Leader) Lead(ctx context.Context, work func(context.Context)) {
	said := false
	for ctx.Err() == nil {
		err := l.session(ctx, work)
		if ctx.Err() == nil && err != nil && !said {
			l.log.WarnContext(ctx, "stand for the lead", "error", err)
		}
		said = err != nil
		pause(ctx, leaderEvery)
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// session is one connection's life: it waits for the lock and leads while it has
// it. It returns nil when it has led.
func (l *Leader) session(ctx context.Context, work func(context.Context)) error {
	conn, err := pgx.ConnectConfig(ctx, l.config)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaderPatience)
		defer cancel()
		_ = conn.Close(ctx) // frees the lock; where it can't be told, the server finds out
	}()
	if err := l.watchful(ctx, conn); err != nil {
		return err
	}
	for {
		var leads bool
		err := ask(ctx, conn, "SELECT pg_try_advisory_lock($1)", &leads, l.lock)
		if err != nil {
			return fmt.Errorf("ask for the lead: %w", err)
		}
		if leads {
			l.lead(ctx, conn, work)
			return nil
		}
		if pause(ctx, leaderEvery); ctx.Err() != nil {
			return nil
		}
	}
}

// watchful makes the server end the session of a leader that it does not hear.
// Versions before 14 can't; there the system's keepalives must do.
func (l *Leader) watchful(ctx context.Context, conn *pgx.Conn) error {
	var n int
	err := ask(ctx, conn, `SELECT count(set_config(name, $1, false)) FROM pg_settings WHERE name = 'idle_session_timeout'`,
		&n, fmt.Sprintf("%dms", leaderSilence.Milliseconds()))
	if err != nil {
		return fmt.Errorf("limit silence: %w", err)
	}
	return nil
}

// ask runs a query of one value, within the time that the server has to answer.
func ask[T any](ctx context.Context, conn *pgx.Conn, query string, to *T, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, leaderPatience)
	defer cancel()
	return conn.QueryRow(ctx, query, args...).Scan(to) //nolint:wrapcheck // wrapped by the callers
}

// lead runs work while the session lives.
func (l *Leader) lead(ctx context.Context, conn *pgx.Conn, work func(context.Context)) {
	leading, lose := context.WithCancelCause(ctx)
	defer lose(nil)
	l.log.InfoContext(ctx, "leads")
	done := make(chan struct{})
	go func() { defer close(done); work(leading) }()
	tick := time.NewTicker(leaderEvery)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		var alive bool
		// Not with ctx, which ends before work does: until then the lead is kept.
		if err := ask(context.WithoutCancel(ctx), conn, "SELECT true", &alive); err != nil {
			l.log.WarnContext(ctx, "leads no longer", "error", err)
			lose(fmt.Errorf("%w: %w", ErrNotLeading, err))
			<-done
			return
		}
	}
}
