// Package postgres keeps the platform's state in PostgreSQL: keys, catalogue,
// budgets, the inbox of usage events and the ledger.
//
// Each service has a schema and run-time roles with the least rights; a [DB] works
// under one of them. Within an organisation a transaction names it in
// app.org_id, which the row-level security policies compare; a query that forgot
// its WHERE still sees no foreign row.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/fault"
)

// Role is a database role that a pool works under.
type Role string

// The run-time roles. None owns a table.
const (
	RoleGateway   Role = "aiaas_gateway"   // the data plane: look-ups and recording, by functions
	RoleRouter    Role = "aiaas_router"    // models, backends, prices
	RoleAccounts  Role = "aiaas_accounts"  // one organisation's people, projects, keys
	RoleTenants   Role = "aiaas_tenants"   // the platform's administration of organisations
	RoleAnalytics Role = "aiaas_analytics" // one organisation's budgets and usage
	RoleMetering  Role = "aiaas_metering"  // events into the ledger, across organisations
	RoleBilling   Role = "aiaas_billing"   // closes months and issues invoices, across organisations
	RoleAuditor   Role = "aiaas_auditor"   // seals, verifies and reads the audit; across organisations where none is named
	RoleIdentity  Role = "aiaas_identity"  // signs people in: one person, one organisation, or the two together
	RoleMailer    Role = "aiaas_mailer"    // sends mails and reminds of keys, across organisations
	RoleNotifier  Role = "aiaas_notifier"  // events from the outboxes to the webhooks, across organisations
)

// DB is a connection pool under one role. It connects on first use.
type DB struct {
	pool *pgxpool.Pool
}

// Open makes a pool of at most maxConns connections. It does no I/O, and the pool
// outlives ctx.
func Open(ctx context.Context, databaseURL string, role Role, maxConns int32) (*DB, error) {
	cfg, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("read database URL: %w", redact(err))
	}
	cfg.MaxConns = maxConns
	cfg.MinConns = 0
	cfg.MaxConnIdleTime = 5 * time.Minute
	// A start-up parameter, not SET: it is what RESET ALL goes back to, and it
	// can't leak into another client's session.
	cfg.ConnConfig.RuntimeParams["role"] = string(role)
	cfg.ConnConfig.RuntimeParams["application_name"] = string(role)
	cfg.ConnConfig.RuntimeParams["timezone"] = "UTC"
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), cfg)
	if err != nil {
		return nil, fmt.Errorf("make connection pool: %w", redact(err))
	}
	return &DB{pool: pool}, nil
}

// redact keeps a URL with its password out of an error's text.
func redact(err error) error {
	if _, ok := errors.AsType[*pgconn.ParseConfigError](err); ok {
		return errors.New("it can't be parsed") //nolint:err113 // the parser's own text quotes the URL
	}
	return err
}

// Close waits for running queries and closes the pool.
func (db *DB) Close() { db.pool.Close() }

// Ping reports whether the database answers.
func (db *DB) Ping(ctx context.Context) error {
	if err := db.pool.Ping(ctx); err != nil {
		return unavailable("ping database", err)
	}
	return nil
}

// Do runs f in a transaction: committed when f returns nil, else rolled back.
func (db *DB) Do(ctx context.Context, f func(pgx.Tx) error) error {
	err := pgx.BeginFunc(ctx, db.pool, f)
	return translate(err)
}

// InOrg runs f in a transaction that sees one organisation.
func (db *DB) InOrg(ctx context.Context, org string, f func(pgx.Tx) error) error {
	if org == "" {
		return fault.New(fault.Internal, "no organisation is named")
	}
	return db.Do(ctx, func(tx pgx.Tx) error {
		if err := nameOrg(ctx, tx, org); err != nil {
			return err
		}
		return f(tx)
	})
}

// nameOrg says which organisation a transaction sees from now on.
func nameOrg(ctx context.Context, tx pgx.Tx, org string) error {
	if _, err := tx.Exec(ctx, "SELECT set_config('app.org_id', $1, true)", org); err != nil {
		return fmt.Errorf("name organisation: %w", err)
	}
	return nil
}

// nameUser says whose own a transaction sees from now on.
func nameUser(ctx context.Context, tx pgx.Tx, userID string) error {
	if _, err := tx.Exec(ctx, "SELECT set_config('app.user_id', $1, true)", userID); err != nil {
		return fmt.Errorf("name person: %w", err)
	}
	return nil
}

// AsUser runs f in a transaction that sees what is a person's own.
func (db *DB) AsUser(ctx context.Context, userID string, f func(pgx.Tx) error) error {
	if userID == "" {
		return fault.New(fault.Internal, "no person is named")
	}
	return db.Do(ctx, func(tx pgx.Tx) error {
		if err := nameUser(ctx, tx, userID); err != nil {
			return err
		}
		return f(tx)
	})
}

// AsUserIn runs f in a transaction that sees what is a person's own, and one
// organisation.
func (db *DB) AsUserIn(ctx context.Context, org, userID string, f func(pgx.Tx) error) error {
	return db.InOrg(ctx, org, func(tx pgx.Tx) error {
		if err := nameUser(ctx, tx, userID); err != nil {
			return err
		}
		return f(tx)
	})
}

// writeAudit adds a record to the schema's own table, in the transaction of the
// change that it records, and the event that it is to the schema's outbox.
func writeAudit(ctx context.Context, tx pgx.Tx, schema string, r audit.Record) error {
	r = r.Masked()
	_, err := tx.Exec(ctx, `INSERT INTO `+pgx.Identifier{schema, "audit_records"}.Sanitize()+`
		(org_id, audit_id, at, actor, action, target, detail, request_id, source_address, outcome) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		r.OrgID, r.ID, r.At, r.Actor, r.Action, r.Target, r.Detail, r.RequestID, r.Address, r.Kept())
	if err != nil {
		return fmt.Errorf("write audit record: %w", err)
	}
	return writeEvent(ctx, tx, schema, r)
}

// auditIn writes a record of the schema accounts into its organisation, from a
// transaction that is a person's, or goes through several: it sees that one from then on.
func auditIn(ctx context.Context, tx pgx.Tx, r audit.Record) error {
	if err := nameOrg(ctx, tx, r.OrgID); err != nil {
		return err
	}
	return writeAudit(ctx, tx, "accounts", r)
}

// SQLSTATEs that mean something to a caller.
const (
	stateUnique     = "23505"
	stateForeignKey = "23503"
	stateFenced     = "AI001" // analytics.record and grant_budgets: another process has taken over
)

// sqlState is the SQLSTATE of a server's error, or "".
func sqlState(err error) string {
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pe.Code
	}
	return ""
}

// translate gives database errors the codes that callers branch on. Errors that
// have a code keep it.
func translate(err error) error {
	var f *fault.Error
	switch {
	case err == nil || errors.As(err, &f):
		return err
	case errors.Is(err, pgx.ErrNoRows):
		return fault.Wrap(fault.NotFound, "query", err)
	case lost(err):
		return unavailable("query database", err)
	}
	return err
}

// lost reports whether err says that the database can't be reached or is going
// down, rather than that it refused a statement.
func lost(err error) bool {
	var connect *pgconn.ConnectError
	var netErr net.Error
	if errors.As(err, &connect) || errors.As(err, &netErr) || errors.Is(err, context.DeadlineExceeded) || pgconn.SafeToRetry(err) {
		return true
	}
	switch state := sqlState(err); {
	case state == "57P01", state == "57P02", state == "57P03", state == "53300": // shut down, crashed, starting, too many
		return true
	case len(state) == 5 && state[:2] == "08":
		return true
	case state == "":
		return !errors.Is(err, context.Canceled)
	}
	return false
}

func unavailable(attempted string, err error) error {
	return fault.Wrap(fault.Unavailable, attempted, err).After(time.Second)
}
