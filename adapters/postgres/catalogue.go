package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/model"
	"github.com/aiaas/aiaas/shared/pricing"
)

// Catalogue keeps models, backends and prices in the schema router. All of it
// works under [RoleRouter]; ReadCatalogue works under [RoleGateway] too. The
// catalogue is the platform's; only the audit records belong to an organisation,
// the administrator's own.
type Catalogue struct{ db *DB }

// NewCatalogue makes the store of the catalogue.
func NewCatalogue(db *DB) *Catalogue { return &Catalogue{db: db} }

const (
	selectModels   = `SELECT model_id, owned_by, max_output_tokens, created_at, disabled_at, restricted FROM router.models`
	backendColumns = `backend_id, model_id, protocol, base_url, upstream_model, credential, weight, created_at, disabled_at`
)

const selectPrices = `
	SELECT p.price_id, p.book_id, p.model_id, b.currency, p.effective_from, p.created_at, p.input_pico, p.cached_pico, p.output_pico
	  FROM router.prices p JOIN router.price_books b ON b.book_id = p.book_id`

// ReadCatalogue implements [model.Reader]: what is not disabled, in one round
// trip. A backend or price that became visible after its model was read is left
// out: the next snapshot has all of it.
func (c *Catalogue) ReadCatalogue(ctx context.Context) (*model.Snapshot, error) {
	var batch pgx.Batch
	var list []*model.Model
	byID := map[string]*model.Model{}
	batch.Queue(selectModels + ` WHERE disabled_at IS NULL`).
		Query(func(rows pgx.Rows) (err error) {
			list, err = pgx.CollectRows(rows, scanModel)
			for _, m := range list {
				byID[m.ID] = m
			}
			return err //nolint:wrapcheck // wrapped where the batch is closed
		})
	batch.Queue(`SELECT ` + backendColumns + ` FROM router.backends WHERE disabled_at IS NULL ORDER BY backend_id`).
		Query(func(rows pgx.Rows) error {
			return each(rows, scanBackend, func(b model.Backend) {
				if m, ok := byID[b.ModelID]; ok {
					m.Backends = append(m.Backends, b)
				}
			})
		})
	batch.Queue(selectPrices + ` ORDER BY p.effective_from, p.created_at, p.price_id`).
		Query(func(rows pgx.Rows) error {
			return each(rows, scanPrice, func(p pricing.Price) {
				if m, ok := byID[p.Model]; ok {
					m.Prices[p.Book] = append(m.Prices[p.Book], p)
				}
			})
		})
	if err := c.db.pool.SendBatch(ctx, &batch).Close(); err != nil {
		return nil, fmt.Errorf("read catalogue: %w", translate(err))
	}
	return model.NewSnapshot(list), nil
}

// each scans all rows and hands them to f.
func each[T any](rows pgx.Rows, scan pgx.RowToFunc[T], f func(T)) error {
	list, err := pgx.CollectRows(rows, scan)
	for _, v := range list {
		f(v)
	}
	return err //nolint:wrapcheck // wrapped by the caller
}

func scanModel(row pgx.CollectableRow) (*model.Model, error) {
	m := model.Model{Prices: map[string][]pricing.Price{}}
	var disabled *time.Time
	if err := row.Scan(&m.ID, &m.OwnedBy, &m.MaxOutputTokens, &m.CreatedAt, &disabled, &m.Restricted); err != nil {
		return nil, fmt.Errorf("scan model: %w", err)
	}
	m.CreatedAt, m.DisabledAt = m.CreatedAt.UTC(), utcOrZero(disabled)
	return &m, nil
}

func scanBackend(row pgx.CollectableRow) (model.Backend, error) {
	var b model.Backend
	var credential string // not its own type: that one prints as what it is, not as its value
	var disabled *time.Time
	err := row.Scan(&b.ID, &b.ModelID, &b.Protocol, &b.BaseURL, &b.UpstreamModel, &credential, &b.Weight, &b.CreatedAt, &disabled)
	if err != nil {
		return model.Backend{}, fmt.Errorf("scan backend: %w", err)
	}
	b.Credential, b.CreatedAt, b.DisabledAt = model.Credential(credential), b.CreatedAt.UTC(), utcOrZero(disabled)
	return b, nil
}

func scanPrice(row pgx.CollectableRow) (pricing.Price, error) {
	var p pricing.Price
	err := row.Scan(&p.ID, &p.Book, &p.Model, &p.Currency, &p.EffectiveFrom, &p.CreatedAt, &p.Input, &p.CachedInput, &p.Output)
	if err != nil {
		return pricing.Price{}, fmt.Errorf("scan price: %w", err)
	}
	p.EffectiveFrom, p.CreatedAt = p.EffectiveFrom.UTC(), p.CreatedAt.UTC()
	return p, nil
}

// CreateModel implements [model.Store].
func (c *Catalogue) CreateModel(ctx context.Context, m model.Model, rec audit.Record) error {
	return c.db.InOrg(ctx, rec.OrgID, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO router.models (model_id, owned_by, max_output_tokens, created_at, restricted) VALUES ($1, $2, $3, $4, $5)`,
			m.ID, m.OwnedBy, m.MaxOutputTokens, m.CreatedAt, m.Restricted)
		switch {
		case sqlState(err) == stateUnique:
			return fault.New(fault.Conflict, "there is a model with this id already").At("id")
		case err != nil:
			return fmt.Errorf("insert model: %w", err)
		}
		return writeAudit(ctx, tx, "router", rec)
	})
}

// CreateBackend implements [model.Store].
func (c *Catalogue) CreateBackend(ctx context.Context, b model.Backend, rec audit.Record) error {
	return c.db.InOrg(ctx, rec.OrgID, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO router.backends (backend_id, model_id, protocol, base_url, upstream_model, credential, weight, created_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			b.ID, b.ModelID, b.Protocol, b.BaseURL, b.UpstreamModel, stored(b.Credential), b.Weight, b.CreatedAt)
		switch {
		case sqlState(err) == stateForeignKey:
			return fault.New(fault.NotFound, "there is no such model")
		case err != nil:
			return fmt.Errorf("insert backend: %w", err)
		}
		return writeAudit(ctx, tx, "router", rec)
	})
}

// stored is the credential's value: as a [fmt.Stringer] it would be stored as
// the text that hides it.
func stored(c model.Credential) string { return string(c) }

// PublishPrice implements [model.Store]. The lock on the model's row orders the
// publications of its prices.
func (c *Catalogue) PublishPrice(ctx context.Context, p pricing.Price, rec audit.Record) (pricing.Price, error) {
	p.CreatedAt = p.CreatedAt.UTC().Truncate(time.Microsecond) // what the database keeps
	err := c.db.InOrg(ctx, rec.OrgID, func(tx pgx.Tx) error {
		if _, err := locked(ctx, tx, `SELECT model_id FROM router.models WHERE model_id = $1 FOR UPDATE`, p.Model); err != nil {
			return missing(err, "lock model", fault.New(fault.NotFound, "there is no such model").At("model"))
		}
		var err error
		if p.Currency, err = locked(ctx, tx, `SELECT currency FROM router.price_books WHERE book_id = $1`, p.Book); err != nil {
			return missing(err, "read price book", fault.New(fault.NotFound, "there is no such price book"))
		}
		existing, err := readPrices(ctx, tx, p.Book, p.Model)
		if err != nil {
			return err
		}
		p.EffectiveFrom = pricing.Effective(existing, p.EffectiveFrom, p.CreatedAt).UTC().Truncate(time.Microsecond)
		_, err = tx.Exec(ctx, `
			INSERT INTO router.prices (price_id, book_id, model_id, effective_from, input_pico, cached_pico, output_pico, created_by, created_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			p.ID, p.Book, p.Model, p.EffectiveFrom, p.Input, p.CachedInput, p.Output, rec.Actor, p.CreatedAt)
		if err != nil {
			return fmt.Errorf("insert price: %w", err)
		}
		return writeAudit(ctx, tx, "router", rec)
	})
	return p, err
}

// locked runs a query of one text column.
func locked(ctx context.Context, tx pgx.Tx, query, arg string) (text string, err error) {
	err = tx.QueryRow(ctx, query, arg).Scan(&text)
	return text, err //nolint:wrapcheck // wrapped by missing
}

// missing is none where the query found no row, else err with what was attempted.
func missing(err error, attempted string, none *fault.Error) error {
	if fault.Is(translate(err), fault.NotFound) {
		return none
	}
	return fmt.Errorf("%s: %w", attempted, err)
}
