package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/admission"
	"github.com/aiaas/aiaas/shared/budget"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/usage"
)

// Ledger books usage events. It works under RoleMetering.
type Ledger struct {
	db *DB
	// epoch is the one that TakeOver began here; 0 where limits are shared. The
	// holds of what a process admitted are in its memory, so only the process in
	// force may book: an older one would take the newer one's events out of the
	// inbox and leave their holds standing.
	epoch atomic.Int64
}

var _ usage.Ledger = (*Ledger)(nil)

// NewLedger returns the ledger in db.
func NewLedger(db *DB) *Ledger { return &Ledger{db: db} }

// Pending returns events that wait in the inbox, the oldest first.
func (l *Ledger) Pending(ctx context.Context, most int) ([]usage.Recorded, error) {
	rows, err := l.db.pool.Query(ctx, `SELECT org_id, event_id, body FROM analytics.inbox ORDER BY recorded_at LIMIT $1`, most)
	if err != nil {
		return nil, translate(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByPos[usage.Recorded])
	return out, translate(err)
}

// Book books a batch in one transaction. ErrFenced: another process has taken
// over, and nothing was booked.
func (l *Ledger) Book(ctx context.Context, events []*usage.Event) (usage.Booking, error) {
	var out usage.Booking
	err := l.db.Do(ctx, func(tx pgx.Tx) error {
		if err := l.inForce(ctx, tx); err != nil {
			return err
		}
		fresh, budgets, err := book(ctx, tx, events)
		if err != nil {
			return err
		}
		out.Fresh = len(fresh)
		var alerts alertColumns
		out.Windows, alerts, err = settle(ctx, tx, charges(events, fresh, budgets), budgets)
		if err != nil {
			return err
		}
		return alerts.insert(ctx, tx)
	})
	return out, notPoison(err)
}

// notPoison keeps good events out of the dead letters: only what an event's own
// data can cause is left without a code. A deadlock, a full disk or a missing
// right passes, and so does the wait for it.
func notPoison(err error) error {
	if state := sqlState(err); state == "" || state[:2] == classData || state[:2] == classConstraint {
		return err
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	return unavailable("book usage", err)
}

// Classes of SQLSTATE that the values of a statement cause.
const (
	classData       = "22"
	classConstraint = "23"
)

// inForce keeps the ledger's epoch in force until the transaction ends.
func (l *Ledger) inForce(ctx context.Context, tx pgx.Tx) error {
	epoch := l.epoch.Load()
	if epoch == 0 {
		return nil
	}
	tag, err := tx.Exec(ctx, `SELECT 1 FROM analytics.epoch WHERE epoch = $1 FOR SHARE`, epoch)
	if err != nil {
		return fmt.Errorf("read epoch: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return fault.Wrap(fault.Conflict, "book usage", usage.ErrFenced)
	}
	return nil
}

// book takes the events out of the inbox, writes usage, ledger and roll-up
// deltas, and returns which events were not booked before, and the budgets of
// their organisations. Locking the accounting rows keeps periods from
// closing, and budgets from being seeded, under our hands.
func book(ctx context.Context, tx pgx.Tx, events []*usage.Event) (map[eventKey]bool, []budget.Budget, error) {
	cols := columns(events)
	fresh := map[eventKey]bool{}
	var budgets []budget.Budget
	b := &pgx.Batch{}
	b.Queue(`INSERT INTO analytics.accounting (org_id) SELECT DISTINCT unnest($1::text[]) ORDER BY 1 ON CONFLICT DO NOTHING`, cols.orgs)
	b.Queue(`SELECT 1 FROM analytics.accounting WHERE org_id = ANY($1) ORDER BY org_id FOR SHARE`, cols.orgs)
	b.Queue(`DELETE FROM analytics.inbox i USING unnest($1::text[], $2::text[]) AS e(org_id, event_id)
		WHERE i.org_id = e.org_id AND i.event_id = e.event_id`, cols.orgs, cols.ids)
	b.Queue(bookSQL, cols.args()...).Query(func(rows pgx.Rows) error {
		var k eventKey
		_, err := pgx.ForEachRow(rows, []any{&k.org, &k.id}, func() error { fresh[k] = true; return nil })
		return err //nolint:wrapcheck // wrapped below
	})
	b.Queue(`SELECT budget_id, org_id, coalesce(project_id, ''), coalesce(api_key_id, ''), coalesce(model, ''), unit, period, time_zone, created_at,
		amount, thresholds, action, currency FROM analytics.budgets WHERE org_id = ANY($1) AND archived_at IS NULL`, cols.orgs).Query(func(rows pgx.Rows) (err error) {
		budgets, err = pgx.CollectRows(rows, scanCounted)
		return err //nolint:wrapcheck // wrapped below
	})
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return nil, nil, fmt.Errorf("book events: %w", err)
	}
	return fresh, budgets, nil
}

// bookSQL writes usage rows, and from the rows that were really inserted the
// ledger and the deltas. An event of a closed month is billed in the open one.
const bookSQL = `
WITH e AS (
  SELECT u.*, greatest(u.period, a.open_period) AS accounting_period
    FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                $9::text[], $10::boolean[], $11::text[], $12::boolean[], $13::bigint[], $14::bigint[], $15::bigint[],
                $16::bigint[], $17::text[], $18::date[], $19::bigint[], $20::bigint[], $21::text[], $22::text[], $23::text[], $24::integer[])
      AS u(org_id, event_id, admitted_at, project_id, api_key_id, model, backend_id, price_id,
           endpoint, streamed, outcome, estimated, input_tokens, cached_input_tokens, output_tokens,
           cost_nano, currency, period, ttft_us, duration_us, raw_usage, source_address, user_agent, status)
    JOIN analytics.accounting a ON a.org_id = u.org_id
), fresh AS (
  INSERT INTO analytics.usage_events (
    org_id, event_id, admitted_at, project_id, api_key_id, model, backend_id, price_id, endpoint, streamed, outcome,
    estimated, input_tokens, cached_input_tokens, output_tokens, cost_nano, currency, accounting_period, ttft_us, duration_us, raw_usage,
    source_address, user_agent, status)
  SELECT org_id, event_id, admitted_at, project_id, api_key_id, model, backend_id, price_id, endpoint, streamed, outcome,
    estimated, input_tokens, cached_input_tokens, output_tokens, cost_nano, currency, accounting_period, ttft_us, duration_us, raw_usage,
    source_address, user_agent, status
  FROM e
  ON CONFLICT DO NOTHING
  RETURNING org_id, event_id, admitted_at, project_id, api_key_id, model, price_id, input_tokens, cached_input_tokens,
    output_tokens, cost_nano, currency, accounting_period
), ledger AS (
  INSERT INTO analytics.ledger_entries (
    org_id, event_id, kind, admitted_at, accounting_period, project_id, api_key_id, model, price_id, requests,
    input_tokens, cached_input_tokens, output_tokens, amount_nano, currency)
  SELECT org_id, event_id, 'usage', admitted_at, accounting_period, project_id, api_key_id, model, price_id, 1,
    input_tokens, cached_input_tokens, output_tokens, cost_nano, currency
  FROM fresh
), deltas AS (
  INSERT INTO analytics.usage_deltas (
    org_id, minute, accounting_period, project_id, api_key_id, model, currency, requests,
    input_tokens, cached_input_tokens, output_tokens, cost_nano)
  SELECT org_id, date_trunc('minute', admitted_at, 'UTC'), accounting_period, project_id, api_key_id, model, currency, count(*),
    sum(input_tokens), sum(cached_input_tokens), sum(output_tokens), sum(cost_nano)
  FROM fresh GROUP BY 1, 2, 3, 4, 5, 6, 7
)
SELECT org_id, event_id FROM fresh`

type eventKey struct{ org, id string }

// eventColumns are the events as arrays, for unnest: COPY is refused under
// row-level security.
type eventColumns struct {
	orgs, ids, projects, keys, models, backends, prices, endpoints, outcomes, currencies []string
	admitted, periods                                                                    []time.Time
	streamed, estimated                                                                  []bool
	input, cached, output, cost, ttft, duration                                          []int64
	raw                                                                                  []*string
	addresses, agents                                                                    []string
	statuses                                                                             []int32
}

func columns(events []*usage.Event) *eventColumns {
	c := &eventColumns{}
	for _, e := range events {
		period, _ := time.Parse(time.DateOnly, e.Period) // Decode has checked it
		var raw *string
		if len(e.Raw) > 0 {
			s := string(e.Raw)
			raw = &s
		}
		c.orgs, c.ids, c.admitted = append(c.orgs, e.OrgID), append(c.ids, e.ID), append(c.admitted, e.AdmittedAt)
		c.projects, c.keys, c.models = append(c.projects, e.ProjectID), append(c.keys, e.KeyID), append(c.models, e.Model)
		c.backends, c.prices = append(c.backends, e.BackendID), append(c.prices, e.PriceID)
		c.endpoints, c.streamed = append(c.endpoints, e.Endpoint), append(c.streamed, e.Streamed)
		c.outcomes, c.estimated = append(c.outcomes, string(e.Outcome)), append(c.estimated, e.Estimated)
		c.input, c.cached, c.output = append(c.input, e.Input), append(c.cached, e.Cached), append(c.output, e.Output)
		c.cost, c.currencies = append(c.cost, int64(e.Cost)), append(c.currencies, e.Currency)
		c.periods, c.ttft = append(c.periods, period), append(c.ttft, e.TTFTMicros)
		c.duration, c.raw = append(c.duration, e.DurationMicros), append(c.raw, raw)
		c.addresses, c.agents = append(c.addresses, e.Address), append(c.agents, e.UserAgent)
		c.statuses = append(c.statuses, int32(e.Status)) //nolint:gosec // an HTTP status
	}
	return c
}

func (c *eventColumns) args() []any {
	return []any{
		c.orgs, c.ids, c.admitted, c.projects, c.keys, c.models, c.backends, c.prices, c.endpoints, c.streamed,
		c.outcomes, c.estimated, c.input, c.cached, c.output, c.cost, c.currencies, c.periods, c.ttft, c.duration, c.raw,
		c.addresses, c.agents, c.statuses,
	}
}

func scanCounted(row pgx.CollectableRow) (budget.Budget, error) {
	var b budget.Budget
	var zone string
	err := row.Scan(&b.ID, &b.OrgID, &b.Scope.ProjectID, &b.Scope.APIKeyID, &b.Scope.Model, &b.Unit, &b.Period, &zone, &b.CreatedAt,
		&b.Amount, &b.Thresholds, &b.Action, &b.Currency)
	if err != nil {
		return b, err //nolint:wrapcheck // pgx wraps it
	}
	b.TimeZone, err = time.LoadLocation(zone)
	return b, err //nolint:wrapcheck // names the zone
}

// charge is what a batch adds to one window of one budget.
type charge struct {
	org, budget string
	start, end  time.Time
	amount      int64
}

// charges sums what the fresh events add, sorted by organisation, budget and
// window: the order in which everyone locks. Events name the blocking budgets
// they were held on; the others are found by what they cover. Among those may be
// one that blocks: made while the request ran, it counts the request all the same,
// so that what is spent of it is what the ledger has.
func charges(events []*usage.Event, fresh map[eventKey]bool, counted []budget.Budget) []charge {
	type key struct {
		org, budget string
		start       int64
	}
	sums := map[key]*charge{}
	add := func(org, id string, w budget.Window, amount int64) {
		k := key{org, id, w.Start.UnixMicro()}
		c, ok := sums[k]
		if !ok {
			c = &charge{org: org, budget: id, start: w.Start, end: w.End}
			sums[k] = c
		}
		c.amount += amount
	}
	for _, e := range events {
		k := eventKey{e.OrgID, e.ID}
		isFresh := fresh[k]
		delete(fresh, k) // the batch may name an event twice
		held := map[string]bool{}
		for _, h := range e.Holds {
			held[h.Budget] = true
			amount := h.Amount
			if !isFresh {
				amount = 0 // named all the same, so that its state is returned
			}
			add(e.OrgID, h.Budget, budget.Window{Start: h.Start, End: h.End}, amount)
		}
		for _, b := range counted {
			if !isFresh || held[b.ID] || b.OrgID != e.OrgID || !b.Scope.Covers(e.ProjectID, e.KeyID, e.Model) {
				continue
			}
			// A budget without period begins when it is made: what was admitted before
			// is not its own, as it is not in its seed.
			w, amount := b.WindowAt(e.AdmittedAt), b.Unit.Amount(e.Cost, e.Tokens())
			if amount > 0 && !e.AdmittedAt.Before(w.Start) {
				add(e.OrgID, b.ID, w, amount)
			}
		}
	}
	out := make([]charge, 0, len(sums))
	for _, c := range sums {
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b charge) int {
		return cmpOr(strings.Compare(a.org, b.org), strings.Compare(a.budget, b.budget), a.start.Compare(b.start))
	})
	return out
}

func cmpOr(values ...int) int {
	for _, v := range values {
		if v != 0 {
			return v
		}
	}
	return 0
}

// settle adds the charges to their windows, in order, and returns the new sums,
// and the thresholds that they crossed: a window's lock is held until the end of
// the transaction, so that each crossing is seen by exactly one. A window that no
// grant has made is made here; granted follows spent where the budget does not
// block, and where a replayed event was never granted.
func settle(ctx context.Context, tx pgx.Tx, charges []charge, budgets []budget.Budget) (map[string][]admission.Spent, alertColumns, error) {
	out, alerts := map[string][]admission.Spent{}, alertColumns{}
	if len(charges) == 0 {
		return out, alerts, nil
	}
	counted := make(map[string]*budget.Budget, len(budgets))
	for i := range budgets {
		counted[budgets[i].ID] = &budgets[i]
	}
	b := &pgx.Batch{}
	for _, c := range charges {
		b.Queue(settleSQL, c.org, c.budget, c.start, c.end, c.amount).Query(func(rows pgx.Rows) error {
			var s admission.Spent
			var org string
			_, err := pgx.ForEachRow(rows, []any{&org, &s.Budget, &s.Start, &s.Spent, &s.Seq}, func() error {
				out[org] = append(out[org], s)
				if known := counted[s.Budget]; known != nil && known.OrgID == org {
					alerts.add(known, budget.Window{Start: c.start, End: c.end}, s.Spent, known.Crossed(s.Spent-c.amount, s.Spent))
				}
				return nil
			})
			return err //nolint:wrapcheck // wrapped below
		})
	}
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return nil, alerts, fmt.Errorf("settle budgets: %w", err)
	}
	return out, alerts, nil
}

const settleSQL = `
INSERT INTO analytics.budget_windows AS w (org_id, budget_id, window_start, window_end, spent, granted)
VALUES ($1, $2, $3, $4, $5, $5)
ON CONFLICT (org_id, budget_id, window_start) DO UPDATE
   SET spent = w.spent + excluded.spent, granted = greatest(w.granted, w.spent + excluded.spent), seq = w.seq + 1
RETURNING org_id, budget_id, window_start, spent, seq`

// Exhaust records that budgets which block have reached 100 percent, where the data
// plane has denied requests for want of them, and returns how many were looked at.
// The threshold counts once in a window, as all do.
func (l *Ledger) Exhaust(ctx context.Context) (int, error) {
	n := 0
	err := l.db.Do(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			WITH taken AS (DELETE FROM analytics.exhausted_windows RETURNING org_id, budget_id, window_start)
			SELECT b.budget_id, b.org_id, coalesce(b.project_id, ''), coalesce(b.api_key_id, ''), coalesce(b.model, ''), b.unit, b.period, b.time_zone,
			       b.created_at, b.amount, b.thresholds, b.action, b.currency, w.window_start, w.window_end, w.spent
			  FROM taken t
			  JOIN analytics.budgets b ON b.org_id = t.org_id AND b.budget_id = t.budget_id
			  JOIN analytics.budget_windows w ON w.org_id = t.org_id AND w.budget_id = t.budget_id AND w.window_start = t.window_start
			 WHERE b.action = 'block' AND b.archived_at IS NULL AND $1 = ANY (b.thresholds)`, budget.Whole)
		if err != nil {
			return fmt.Errorf("take exhausted windows: %w", err)
		}
		var alerts alertColumns
		list, err := pgx.CollectRows(rows, scanExhausted)
		if err != nil {
			return fmt.Errorf("read exhausted windows: %w", err)
		}
		for i := range list {
			alerts.add(&list[i].Budget, list[i].window, list[i].spent, []int{budget.Whole})
		}
		n = len(list)
		return alerts.insert(ctx, tx)
	})
	return n, err
}

// exhausted is a window of a budget for which a request was denied.
type exhausted struct {
	budget.Budget

	window budget.Window
	spent  int64
}

func scanExhausted(row pgx.CollectableRow) (exhausted, error) {
	var x exhausted
	var zone string
	b := &x.Budget
	err := row.Scan(&b.ID, &b.OrgID, &b.Scope.ProjectID, &b.Scope.APIKeyID, &b.Scope.Model, &b.Unit, &b.Period, &zone, &b.CreatedAt,
		&b.Amount, &b.Thresholds, &b.Action, &b.Currency, &x.window.Start, &x.window.End, &x.spent)
	return x, err //nolint:wrapcheck // pgx wraps it
}

// Bury moves events to the dead letters.
func (l *Ledger) Bury(ctx context.Context, events []usage.Recorded, reason string) error {
	return l.db.Do(ctx, func(tx pgx.Tx) error {
		for _, e := range events {
			_, err := tx.Exec(ctx, `INSERT INTO analytics.dead_letters (org_id, event_id, body, error) VALUES ($1, $2, $3, $4)
				ON CONFLICT DO NOTHING`, e.OrgID, e.ID, e.Body, reason)
			if err != nil {
				return fmt.Errorf("write dead letter: %w", err)
			}
			if _, err := tx.Exec(ctx, `DELETE FROM analytics.inbox WHERE org_id = $1 AND event_id = $2`, e.OrgID, e.ID); err != nil {
				return fmt.Errorf("take from inbox: %w", err)
			}
		}
		return nil
	})
}

// foldLock is the advisory lock that makes one folder of many.
const foldLock = 0x61696161730001

// Fold merges deltas into the minutes. Only one process folds at a time; the
// others have nothing to do.
func (l *Ledger) Fold(ctx context.Context) (int, error) {
	folded, err := l.fold(ctx, "")
	if state := sqlState(err); state == "" || state[:2] != classData {
		return folded, err
	}
	// The sums of some organisation are out of range: the others must not wait for
	// them.
	rows, queryErr := l.db.pool.Query(ctx, `SELECT DISTINCT org_id FROM analytics.usage_deltas`)
	if queryErr != nil {
		return 0, translate(queryErr)
	}
	orgs, queryErr := pgx.CollectRows(rows, pgx.RowTo[string])
	if queryErr != nil {
		return 0, translate(queryErr)
	}
	folded, err = 0, nil
	for _, org := range orgs {
		n, orgErr := l.fold(ctx, org)
		folded += n
		if orgErr != nil {
			err = errors.Join(err, fmt.Errorf("fold usage of %s: %w", org, orgErr))
		}
	}
	return folded, err
}

// fold merges the deltas of one organisation, or of all where none is named.
func (l *Ledger) fold(ctx context.Context, org string) (folded int, err error) {
	err = l.db.Do(ctx, func(tx pgx.Tx) error {
		var mine bool
		if err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock($1)`, int64(foldLock)).Scan(&mine); err != nil || !mine {
			return err //nolint:wrapcheck // translated by Do
		}
		return tx.QueryRow(ctx, foldSQL, org).Scan(&folded)
	})
	return folded, err
}

const foldSQL = `
WITH moved AS (DELETE FROM analytics.usage_deltas WHERE $1::text IN ('', org_id) RETURNING *),
merged AS (
  INSERT INTO analytics.usage_minutes AS m (
    org_id, minute, accounting_period, project_id, api_key_id, model, currency, requests,
    input_tokens, cached_input_tokens, output_tokens, cost_nano)
  SELECT org_id, minute, accounting_period, project_id, api_key_id, model, currency, sum(requests),
    sum(input_tokens), sum(cached_input_tokens), sum(output_tokens), sum(cost_nano)
  FROM moved GROUP BY 1, 2, 3, 4, 5, 6, 7
  ON CONFLICT (org_id, minute, accounting_period, project_id, api_key_id, model, currency) DO UPDATE SET
    requests = m.requests + excluded.requests, input_tokens = m.input_tokens + excluded.input_tokens,
    cached_input_tokens = m.cached_input_tokens + excluded.cached_input_tokens,
    output_tokens = m.output_tokens + excluded.output_tokens, cost_nano = m.cost_nano + excluded.cost_nano)
SELECT count(*) FROM moved`

// TakeOver begins a new epoch: from here on no older process can record or be
// granted anything, or book. It waits for what they are committing at the moment.
func (l *Ledger) TakeOver(ctx context.Context) (epoch int64, err error) {
	err = l.db.pool.QueryRow(ctx, `UPDATE analytics.epoch SET epoch = epoch + 1 RETURNING epoch`).Scan(&epoch)
	if err != nil {
		return 0, translate(err)
	}
	l.epoch.Store(epoch)
	return epoch, nil
}

// Reclaim takes back what was granted to the processes before this epoch and not
// spent. It must run after the inbox was drained, and before the first grant of
// this epoch. ErrFenced: a newer process has taken over meanwhile.
func (l *Ledger) Reclaim(ctx context.Context, epoch int64) error {
	return l.db.Do(ctx, func(tx pgx.Tx) error {
		var current int64
		if err := tx.QueryRow(ctx, `SELECT epoch FROM analytics.epoch FOR SHARE`).Scan(&current); err != nil {
			return fmt.Errorf("read epoch: %w", err)
		}
		if current != epoch {
			return fault.Wrap(fault.Conflict, "reclaim grants", usage.ErrFenced)
		}
		_, err := tx.Exec(ctx, `UPDATE analytics.budget_windows SET granted = spent, seq = seq + 1
			WHERE (org_id, budget_id, window_start) IN (
				SELECT org_id, budget_id, window_start FROM analytics.budget_windows WHERE granted <> spent
				ORDER BY org_id, budget_id, window_start FOR UPDATE)`)
		if err != nil {
			return fmt.Errorf("reclaim grants: %w", err)
		}
		return nil
	})
}

// EnsurePartitions makes the monthly partitions around a moment, and returns how
// many it made.
func (l *Ledger) EnsurePartitions(ctx context.Context, at time.Time) (made int, err error) {
	err = l.db.pool.QueryRow(ctx, `SELECT analytics.ensure_partitions($1::date, 4)`, at).Scan(&made)
	return made, translate(err)
}
