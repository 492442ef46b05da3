// Package migrations owns the database schemas: one folder of goose migrations a
// service, applied in order, each schema with a version table of its own.
//
// It stands apart from the adapter that queries the schemas, so that no function
// links the migration tool.
package migrations

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // database/sql driver "pgx", which goose works on
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/aiaas/aiaas/shared/function"
)

//go:embed router/*.sql accounts/*.sql analytics/*.sql
var files embed.FS

// Services lists the schemas in the order in which they are migrated.
func Services() []function.Service {
	return []function.Service{function.Accounts, function.Router, function.Analytics}
}

// Fingerprint names the state that the migrations lead to: it changes whenever one
// of them does.
func Fingerprint() (string, error) {
	h := sha256.New()
	err := fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := files.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		_, _ = fmt.Fprintf(h, "%s %d\n%s", path, len(text), text) // a hash takes everything
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("read migrations: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

// Run brings the schema of one service up to date and returns how many
// migrations it applied. Processes that run it at once wait for each other. The
// URL's user owns the schema; it must be allowed to create roles.
func Run(ctx context.Context, databaseURL string, service function.Service) (applied int, err error) {
	db, err := sql.Open("pgx", databaseURL)
	if err != nil {
		return 0, fmt.Errorf("open database: %w", err)
	}
	defer func() { _ = db.Close() }()
	if err := createSchema(ctx, db, service); err != nil {
		return 0, fmt.Errorf("create schema %s: %w", service, err)
	}
	sub, err := fs.Sub(files, string(service))
	if err != nil {
		return 0, fmt.Errorf("read migrations of %s: %w", service, err)
	}
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return 0, fmt.Errorf("make migration lock: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, sub,
		goose.WithTableName(string(service)+".schema_version"), goose.WithSessionLocker(locker))
	if err != nil {
		return 0, fmt.Errorf("read migrations of %s: %w", service, err)
	}
	results, err := provider.Up(ctx)
	if err != nil {
		return len(results), fmt.Errorf("migrate %s: %w", service, err)
	}
	return len(results), nil
}

// schemaLock makes processes create schemas one after the other: IF NOT EXISTS
// alone looks and creates in two steps, and the slower of two fails.
const schemaLock = 0x61696161730003

func createSchema(ctx context.Context, db *sql.DB, service function.Service) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // nothing to undo after a commit
	if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", int64(schemaLock)); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	if _, err := tx.ExecContext(ctx, "CREATE SCHEMA IF NOT EXISTS "+pgx.Identifier{string(service)}.Sanitize()); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}
