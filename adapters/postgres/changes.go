package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// changesChannel carries "<process> <scope>": who changed the configuration of whom.
const changesChannel = "aiaas_changes"

const (
	changesPatience = 5 * time.Second
	changesPause    = time.Second
)

// Changes tells the processes of a deployment that configuration changed, so that
// they need not find out. What is not heard, because a connection was down or went
// through a pooler by transaction, is found out within a second all the same.
type Changes struct {
	db      *DB
	config  *pgx.ConnConfig
	process string // its own word is not news to a process
	log     *slog.Logger
}

// NewChanges makes the way to tell and to hear. It does no I/O.
func NewChanges(db *DB, process string, log *slog.Logger) *Changes {
	config := db.pool.Config().ConnConfig.Copy()
	config.ConnectTimeout = changesPatience
	config.RuntimeParams["application_name"] = "aiaas_changes"
	return &Changes{db: db, config: config, process: process, log: log}
}

// Tell tells the others that the configuration of a scope, mostly an organisation,
// changed.
func (c *Changes) Tell(ctx context.Context, scope string) error {
	if _, err := c.db.pool.Exec(ctx, `SELECT pg_notify($1, $2)`, changesChannel, c.process+" "+scope); err != nil {
		return translate(fmt.Errorf("tell of a change: %w", err))
	}
	return nil
}

// Listen calls heard for each change that another process tells of, until ctx ends.
func (c *Changes) Listen(ctx context.Context, heard func(scope string)) {
	said := false
	for ctx.Err() == nil {
		err := c.session(ctx, heard)
		if ctx.Err() == nil && !said {
			c.log.WarnContext(ctx, "listen for changes", "error", err)
		}
		said = true
		pause(ctx, changesPause)
	}
}

func (c *Changes) session(ctx context.Context, heard func(string)) error {
	conn, err := pgx.ConnectConfig(ctx, c.config)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), changesPatience)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+changesChannel); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return fmt.Errorf("wait: %w", err)
		}
		if process, scope, ok := strings.Cut(n.Payload, " "); ok && process != c.process {
			heard(scope)
		}
	}
}
