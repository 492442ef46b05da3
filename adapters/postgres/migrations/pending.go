package migrations

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"

	"github.com/aiaas/aiaas/shared/function"
)

// Pending tells how many migrations of a service a database lacks, and how many it
// has that this build does not know, without changing anything.
func Pending(ctx context.Context, conn *pgx.Conn, service function.Service) (missing, unknown int, err error) {
	known, err := versions(service)
	if err != nil {
		return 0, 0, err
	}
	table := pgx.Identifier{string(service), "schema_version"}.Sanitize()
	var exists bool
	if err := conn.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, table).Scan(&exists); err != nil {
		return 0, 0, fmt.Errorf("look for the migrations of %s: %w", service, err)
	}
	if !exists {
		return len(known), 0, nil
	}
	rows, err := conn.Query(ctx, `SELECT version_id FROM `+table+` WHERE is_applied AND version_id > 0`)
	if err != nil {
		return 0, 0, fmt.Errorf("read the migrations of %s: %w", service, err)
	}
	applied, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return 0, 0, fmt.Errorf("read the migrations of %s: %w", service, err)
	}
	for _, v := range applied {
		if !known[v] {
			unknown++
		}
		delete(known, v)
	}
	return len(known), unknown, nil
}

// versions are the numbers of the migrations that this build has.
func versions(service function.Service) (map[int64]bool, error) {
	names, err := fs.Glob(files, string(service)+"/*.sql")
	if err != nil {
		return nil, fmt.Errorf("list migrations of %s: %w", service, err)
	}
	out := make(map[int64]bool, len(names))
	for _, name := range names {
		v, err := goose.NumericComponent(name)
		if err != nil {
			return nil, fmt.Errorf("read number of %s: %w", name, err)
		}
		out[v] = true
	}
	return out, nil
}
