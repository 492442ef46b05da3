package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/accesslog"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/idempotency"
	"github.com/aiaas/aiaas/shared/money"
	"github.com/aiaas/aiaas/shared/usage"
)

// Journal writes the data plane's access log and keeps its idempotency claims, in
// the schema router under [RoleGateway], through functions only.
type Journal struct{ db *DB }

// NewJournal makes the journal.
func NewJournal(db *DB) *Journal { return &Journal{db: db} }

var (
	_ accesslog.Sink    = (*Journal)(nil)
	_ idempotency.Store = (*Journal)(nil)
)

// LogRequests implements [accesslog.Sink].
func (j *Journal) LogRequests(ctx context.Context, lines []accesslog.Line) error {
	n := len(lines)
	at, last, counts, statuses := make([]time.Time, n), make([]time.Time, n), make([]int64, n), make([]int32, n)
	texts := make([][]string, 10)
	for k := range texts {
		texts[k] = make([]string, n)
	}
	for i, l := range lines {
		at[i], last[i], counts[i], statuses[i] = l.At, l.Last, l.Count, int32(l.Status) //nolint:gosec // an HTTP status
		for k, v := range []string{l.OrgID, l.RequestID, l.APIKeyID, l.ProjectID, l.Model, l.Endpoint, l.Code, l.Detail, l.Address, l.UserAgent} {
			texts[k][i] = v
		}
	}
	_, err := j.db.pool.Exec(ctx, `SELECT router.log_requests($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
		texts[0], texts[1], at, last, counts, texts[2], texts[3], texts[4], texts[5], statuses, texts[6], texts[7], texts[8], texts[9])
	return translate(err)
}

const stateSerialization = "40001" // claim_idempotency: the claim has just been released

// Claim implements [idempotency.Store].
func (j *Journal) Claim(ctx context.Context, n idempotency.Name, r idempotency.Record) (*idempotency.Record, error) {
	for {
		have, err := j.claim(ctx, n, r)
		if sqlState(err) != stateSerialization {
			return have, translate(err)
		}
	}
}

func (j *Journal) claim(ctx context.Context, n idempotency.Name, r idempotency.Record) (*idempotency.Record, error) {
	var have idempotency.Record
	err := j.db.pool.QueryRow(ctx, `
		SELECT request_id, mac, epoch, done, cost_nano, currency, answer, stream
		  FROM router.claim_idempotency($1, $2, $3, $4, $5, $6, $7)`,
		n.OrgID, n.APIKeyID, n.Key[:], r.RequestID, r.MAC, r.Epoch, idempotency.TTL).
		Scan(&have.RequestID, &have.MAC, &have.Epoch, &have.Done, &have.Cost, &have.Currency, &have.Answer, &have.Stream)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // the name was free: that is the answer
	}
	if err != nil {
		return nil, fmt.Errorf("claim: %w", err)
	}
	return &have, nil
}

// Retake implements [idempotency.Store].
func (j *Journal) Retake(ctx context.Context, n idempotency.Name, request string, r idempotency.Record) (ok bool, err error) {
	err = j.db.pool.QueryRow(ctx, `SELECT router.retake_idempotency($1, $2, $3, $4, $5, $6, $7)`,
		n.OrgID, n.APIKeyID, n.Key[:], request, r.RequestID, r.MAC, r.Epoch).Scan(&ok)
	return ok, translate(err)
}

// Finish implements [idempotency.Store].
func (j *Journal) Finish(ctx context.Context, n idempotency.Name, r idempotency.Record) error {
	_, err := j.db.pool.Exec(ctx, `SELECT router.finish_idempotency($1, $2, $3, $4, $5, $6, $7, $8)`,
		n.OrgID, n.APIKeyID, n.Key[:], r.RequestID, r.Cost, r.Currency, r.Answer, r.Stream)
	return translate(err)
}

// Release implements [idempotency.Store].
func (j *Journal) Release(ctx context.Context, n idempotency.Name, request string) error {
	_, err := j.db.pool.Exec(ctx, `SELECT router.release_idempotency($1, $2, $3, $4)`, n.OrgID, n.APIKeyID, n.Key[:], request)
	return translate(err)
}

// AccessLog reads the lines of requests without usage, in the schema router under
// [RoleRouter].
type AccessLog struct{ db *DB }

// NewAccessLog makes the reader.
func NewAccessLog(db *DB) *AccessLog { return &AccessLog{db: db} }

var _ accesslog.Lines = (*AccessLog)(nil)

const lineColumns = `org_id, request_id, at, last_at, count, api_key_id, project_id, model, endpoint, status, code, detail, source_address, user_agent`

// ReadLines implements [accesslog.Lines].
func (a *AccessLog) ReadLines(ctx context.Context, org string, f accesslog.Filter, before string, most int) (list []accesslog.Line, err error) {
	page := requestPage{selection: `SELECT ` + lineColumns + ` FROM router.access_log`, at: "at", id: "request_id", before: before, most: most}
	query, args := page.query(org, f)
	err = a.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, query, args...)
		if err != nil {
			return fmt.Errorf("query access log: %w", err)
		}
		list, err = pgx.CollectRows(rows, scanLine)
		return err //nolint:wrapcheck // translated by InOrg
	})
	return list, err
}

// Line implements [accesslog.Lines].
func (a *AccessLog) Line(ctx context.Context, org, requestID string) (l accesslog.Line, err error) {
	err = a.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT `+lineColumns+` FROM router.access_log WHERE org_id = $1 AND request_id = $2`, org, requestID)
		if err != nil {
			return fmt.Errorf("query access log: %w", err)
		}
		l, err = pgx.CollectExactlyOneRow(rows, scanLine)
		return err //nolint:wrapcheck // translated by InOrg
	})
	return l, err
}

func scanLine(row pgx.CollectableRow) (l accesslog.Line, err error) {
	err = row.Scan(&l.OrgID, &l.RequestID, &l.At, &l.Last, &l.Count, &l.APIKeyID, &l.ProjectID, &l.Model, &l.Endpoint, &l.Status,
		&l.Code, &l.Detail, &l.Address, &l.UserAgent)
	l.At, l.Last = l.At.UTC(), l.Last.UTC()
	return l, err //nolint:wrapcheck // pgx wraps it
}

// pruneBatch is how many rows of a kind one statement removes at most.
const pruneBatch = 5_000

// Prune removes lines that are older than keep, but none of the organisations that are
// held, and idempotency claims that are no more in force, and returns how many.
func (a *AccessLog) Prune(ctx context.Context, keep time.Duration, held []string) (lines, claims int64, err error) {
	for {
		var l, c int64
		err := a.db.pool.QueryRow(ctx, `SELECT log_lines, claims FROM router.prune_requests($1, $2, $3, $4)`, keep, idempotency.TTL, pruneBatch, present(held)).Scan(&l, &c)
		lines, claims = lines+l, claims+c
		if err != nil || (l < pruneBatch && c < pruneBatch) {
			return lines, claims, translate(err)
		}
	}
}

// requestPage is a page of requests out of one of two tables, which have names of
// their own for the same things.
type requestPage struct {
	selection string
	at, id    string // columns
	before    string // an id
	most      int
}

// query completes the selection by a filter, newest first; all values are
// parameters.
func (p requestPage) query(org string, f accesslog.Filter) (query string, args []any) {
	args = []any{org}
	where := ` WHERE org_id = $1`
	add := func(condition string, v any) {
		args = append(args, v)
		where += fmt.Sprintf(` AND %s $%d`, condition, len(args))
	}
	if p.before != "" {
		add(p.id+` <`, p.before)
	}
	for _, t := range []struct{ column, value string }{
		{"api_key_id", f.APIKeyID}, {"project_id", f.ProjectID}, {"model", f.Model}, {"source_address", f.Address},
	} {
		if t.value != "" {
			add(t.column+` =`, t.value)
		}
	}
	if f.Status != 0 {
		add(`status =`, f.Status)
	}
	if f.Within != nil {
		args = append(args, present(f.Within.Projects), present(f.Within.Keys))
		where += fmt.Sprintf(` AND (project_id = ANY($%d) OR api_key_id = ANY($%d))`, len(args)-1, len(args))
	}
	if !f.Start.IsZero() {
		add(p.at+` >=`, f.Start)
	}
	if !f.End.IsZero() {
		add(p.at+` <`, f.End)
	}
	return p.selection + where + fmt.Sprintf(` ORDER BY %s DESC LIMIT %d`, p.id, p.most), args
}

const servedColumns = `org_id, event_id, admitted_at, project_id, api_key_id, model, backend_id, price_id, endpoint, streamed, outcome, estimated,
	input_tokens, cached_input_tokens, output_tokens, cost_nano, currency, accounting_period, ttft_us, duration_us, coalesce(raw_usage, ''),
	source_address, user_agent, status`

var _ accesslog.Usage = (*Usage)(nil)

// ReadServed implements [accesslog.Usage].
func (u *Usage) ReadServed(ctx context.Context, org string, f accesslog.Filter, before string, most int) (list []usage.Event, err error) {
	page := requestPage{selection: `SELECT ` + servedColumns + ` FROM analytics.usage_events`, at: "admitted_at", id: "event_id", before: before, most: most}
	query, args := page.query(org, f)
	err = u.db.InOrg(ctx, org, func(tx pgx.Tx) (err error) {
		list, err = served(ctx, tx, query, args)
		return err
	})
	return list, err
}

func served(ctx context.Context, tx pgx.Tx, query string, args []any) ([]usage.Event, error) {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("query usage: %w", err)
	}
	return pgx.CollectRows(rows, scanServed) //nolint:wrapcheck // translated by InOrg
}

// Served implements [accesslog.Usage].
func (u *Usage) Served(ctx context.Context, org, requestID string) (s accesslog.Served, err error) {
	err = u.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		list, err := served(ctx, tx, `SELECT `+servedColumns+` FROM analytics.usage_events WHERE org_id = $1 AND event_id = $2`, []any{org, requestID})
		if err != nil {
			return err
		}
		if len(list) > 0 {
			s = accesslog.Served{Event: list[0], Booked: true}
			return nil
		}
		var body []byte
		err = tx.QueryRow(ctx, `SELECT body FROM analytics.inbox WHERE org_id = $1 AND event_id = $2`, org, requestID).Scan(&body)
		if err != nil {
			return err //nolint:wrapcheck // translated by InOrg
		}
		e, err := usage.Decode(body)
		if err != nil {
			return fault.Wrap(fault.NotFound, "read event", err)
		}
		s.Event = *e
		return nil
	})
	return s, err
}

func scanServed(row pgx.CollectableRow) (e usage.Event, err error) {
	var period time.Time
	var raw string
	var cost int64
	err = row.Scan(&e.OrgID, &e.ID, &e.AdmittedAt, &e.ProjectID, &e.KeyID, &e.Model, &e.BackendID, &e.PriceID, &e.Endpoint, &e.Streamed,
		&e.Outcome, &e.Estimated, &e.Input, &e.Cached, &e.Output, &cost, &e.Currency, &period, &e.TTFTMicros, &e.DurationMicros, &raw,
		&e.Address, &e.UserAgent, &e.Status)
	e.AdmittedAt, e.Cost, e.Raw, e.Period = e.AdmittedAt.UTC(), money.Nano(cost), []byte(raw), period.Format(time.DateOnly)
	return e, err //nolint:wrapcheck // pgx wraps it
}
