package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/model"
	"github.com/aiaas/aiaas/shared/organization"
	"github.com/aiaas/aiaas/shared/pricing"
)

var _ organization.Catalogue = (*Catalogue)(nil)

func utcOrZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

// ReadModels implements [model.Shelf].
func (c *Catalogue) ReadModels(ctx context.Context, q model.Query) (list []*model.Model, err error) {
	err = c.db.Do(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, selectModels+`
			 WHERE ($1 = '' AND model_id COLLATE "C" > $2) OR model_id = nullif($1, '') ORDER BY model_id COLLATE "C" LIMIT $3`, q.ID, q.After, q.Limit)
		if err != nil {
			return fmt.Errorf("query models: %w", err)
		}
		if list, err = pgx.CollectRows(rows, scanModel); err != nil {
			return fmt.Errorf("read models: %w", err)
		}
		return furnish(ctx, tx, list)
	})
	return list, err
}

// furnish reads the backends and prices of models.
func furnish(ctx context.Context, tx pgx.Tx, list []*model.Model) error {
	ids, byID := make([]string, len(list)), make(map[string]*model.Model, len(list))
	for i, m := range list {
		ids[i], byID[m.ID] = m.ID, m
	}
	rows, err := tx.Query(ctx, `SELECT `+backendColumns+` FROM router.backends WHERE model_id = ANY ($1) ORDER BY backend_id`, ids)
	if err != nil {
		return fmt.Errorf("query backends: %w", err)
	}
	err = each(rows, scanBackend, func(b model.Backend) { byID[b.ModelID].Backends = append(byID[b.ModelID].Backends, b) })
	if err != nil {
		return fmt.Errorf("read backends: %w", err)
	}
	rows, err = tx.Query(ctx, selectPrices+` WHERE p.model_id = ANY ($1) ORDER BY p.effective_from, p.created_at, p.price_id`, ids)
	if err != nil {
		return fmt.Errorf("query prices: %w", err)
	}
	err = each(rows, scanPrice, func(p pricing.Price) {
		byID[p.Model].Prices[p.Book] = append(byID[p.Model].Prices[p.Book], p)
	})
	if err != nil {
		return fmt.Errorf("read prices: %w", err)
	}
	return nil
}

// KnownModels implements [organization.Catalogue], under [RoleGateway] too.
func (c *Catalogue) KnownModels(ctx context.Context, ids []string) ([]string, error) {
	rows, err := c.db.pool.Query(ctx, `SELECT model_id FROM router.models WHERE model_id = ANY ($1)`, ids)
	if err != nil {
		return nil, translate(err)
	}
	known, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return known, translate(err)
}

// UpdateModel implements [model.Changes].
func (c *Catalogue) UpdateModel(ctx context.Context, id string, change model.Change, rec audit.Record) error {
	return c.db.InOrg(ctx, rec.OrgID, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			UPDATE router.models SET disabled_at = CASE $2::boolean WHEN true THEN coalesce(disabled_at, $3) WHEN false THEN NULL ELSE disabled_at END,
			       restricted = coalesce($4, restricted)
			 WHERE model_id = $1`, id, change.Disabled, rec.At, change.Restricted)
		switch {
		case err != nil:
			return fmt.Errorf("update model: %w", err)
		case tag.RowsAffected() == 0:
			return fault.New(fault.NotFound, "there is no such model")
		}
		return writeAudit(ctx, tx, "router", rec)
	})
}

// UpdateBackend implements [model.Changes].
func (c *Catalogue) UpdateBackend(ctx context.Context, id string, change model.BackendChange, rec audit.Record) (b model.Backend, err error) {
	err = c.db.InOrg(ctx, rec.OrgID, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			UPDATE router.backends SET weight = coalesce($4, weight),
			       disabled_at = CASE $2::boolean WHEN true THEN coalesce(disabled_at, $3) WHEN false THEN NULL ELSE disabled_at END
			 WHERE backend_id = $1 RETURNING `+backendColumns, id, change.Disabled, rec.At, change.Weight)
		if err != nil {
			return fmt.Errorf("update backend: %w", err)
		}
		if b, err = pgx.CollectExactlyOneRow(rows, scanBackend); err != nil {
			return missing(err, "update backend", fault.New(fault.NotFound, "there is no such backend"))
		}
		return writeAudit(ctx, tx, "router", rec)
	})
	return b, err
}

// ReadPriceBooks implements [model.Shelf].
func (c *Catalogue) ReadPriceBooks(ctx context.Context) (books []model.PriceBook, err error) {
	err = c.db.Do(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT book_id, currency, created_at FROM router.price_books ORDER BY book_id`)
		if err != nil {
			return fmt.Errorf("query price books: %w", err)
		}
		books, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (b model.PriceBook, err error) {
			err = row.Scan(&b.ID, &b.Currency, &b.CreatedAt)
			b.CreatedAt = b.CreatedAt.UTC()
			return b, err //nolint:wrapcheck // wrapped below
		})
		if err != nil {
			return fmt.Errorf("read price books: %w", err)
		}
		return nil
	})
	return books, err
}

// ReadPrices implements [model.Shelf].
func (c *Catalogue) ReadPrices(ctx context.Context, book, modelID string) ([]pricing.Price, error) {
	var prices []pricing.Price
	err := c.db.Do(ctx, func(tx pgx.Tx) (err error) {
		prices, err = readPrices(ctx, tx, book, modelID)
		return err
	})
	return prices, err
}

func readPrices(ctx context.Context, tx pgx.Tx, book, modelID string) ([]pricing.Price, error) {
	rows, err := tx.Query(ctx, selectPrices+`
		 WHERE p.book_id = $1 AND ($2 = '' OR p.model_id = $2)
		 ORDER BY p.model_id COLLATE "C", p.effective_from, p.created_at, p.price_id`, book, modelID)
	if err != nil {
		return nil, fmt.Errorf("query prices: %w", err)
	}
	return pgx.CollectRows(rows, scanPrice) //nolint:wrapcheck // translated by the transaction
}
