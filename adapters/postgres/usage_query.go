package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/usage"
)

// Usage reads the roll-ups of the schema analytics, under [RoleAnalytics].
type Usage struct{ db *DB }

// NewUsage makes the reader of usage.
func NewUsage(db *DB) *Usage { return &Usage{db: db} }

const stateInvalidParameter = "22023" // a zone that this server does not know

// ReadUsage implements [usage.Reader]. It is one statement, so that what is being
// folded from deltas into minutes counts once, and what left the inbox is in the
// sums.
func (u *Usage) ReadUsage(ctx context.Context, org string, q usage.Query) ([]usage.Row, time.Time, error) {
	query, args := usageQuery(org, q)
	var list []usage.Row
	var oldest *time.Time
	err := u.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, query, args...)
		if err != nil {
			return fmt.Errorf("query usage: %w", err)
		}
		list, oldest, err = collectUsage(rows)
		if sqlState(err) == stateInvalidParameter {
			return fault.New(fault.Unprocessable, "the time zone is not known").At("tz")
		}
		return err
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	if len(list) > usage.MaxRows {
		return nil, time.Time{}, fault.New(fault.Unprocessable, "the answer would have more than %d rows: ask for a shorter range", usage.MaxRows).At("bucket")
	}
	return list, moment(oldest), nil
}

// collectUsage reads the rows of usageQuery: each carries the inbox's age, and
// one without a currency carries nothing else.
func collectUsage(rows pgx.Rows) (list []usage.Row, oldest *time.Time, err error) {
	var bucket *time.Time
	var currency *string
	var r usage.Row
	_, err = pgx.ForEachRow(rows, []any{
		&oldest, &bucket, &r.Model, &r.ProjectID, &r.APIKeyID, &currency,
		&r.Requests, &r.InputTokens, &r.CachedInputTokens, &r.OutputTokens, &r.Cost,
	}, func() error {
		if currency != nil {
			r.Start, r.Currency = moment(bucket), *currency
			list = append(list, r)
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read usage: %w", err)
	}
	return list, oldest, nil
}

// usageQuery puts the statement together from constants; all values are
// parameters.
func usageQuery(org string, q usage.Query) (query string, args []any) {
	args = []any{org, q.Start, q.End, q.Zone.String()}
	where := `org_id = $1 AND minute >= $2 AND minute < $3`
	bucket := `date_trunc('` + truncation(q.Bucket) + `', minute, $4)`
	if q.Date == usage.AccountingDate {
		first, after := q.Months()
		args[1], args[2] = first, after
		where = `org_id = $1 AND accounting_period >= $2::date AND accounting_period < $3::date`
		bucket = `accounting_period::timestamp AT TIME ZONE $4`
	}
	if q.Within != nil {
		args = append(args, present(q.Within.Projects), present(q.Within.Keys))
		where += ` AND (project_id = ANY($5) OR api_key_id = ANY($6))`
	}
	if q.Bucket == usage.Whole {
		bucket = `NULL::timestamptz`
		args[3] = nil
		where += ` AND $4::text IS NULL` // every parameter must stand in the statement
	}
	dimension := func(d usage.Dimension, column string) string {
		if slices.Contains(q.GroupBy, d) {
			return column
		}
		return `''`
	}
	columns := strings.Join([]string{
		bucket + ` AS bucket`,
		dimension(usage.ByModel, `model`) + ` AS model`,
		dimension(usage.ByProject, `project_id`) + ` AS project_id`,
		dimension(usage.ByKey, `api_key_id`) + ` AS api_key_id`,
	}, ", ")
	part := `SELECT ` + columns + `, currency, requests, input_tokens, cached_input_tokens, output_tokens, cost_nano FROM analytics.`
	return `
WITH parts AS (
  ` + part + `usage_minutes WHERE ` + where + `
  UNION ALL
  ` + part + `usage_deltas WHERE ` + where + `
), sums AS (
  SELECT bucket, model, project_id, api_key_id, currency, sum(requests)::bigint AS requests,
         sum(input_tokens)::bigint AS input_tokens, sum(cached_input_tokens)::bigint AS cached_input_tokens,
         sum(output_tokens)::bigint AS output_tokens, sum(cost_nano)::bigint AS cost_nano
    FROM parts GROUP BY 1, 2, 3, 4, 5
   ORDER BY 1, 2, 3, 4, 5 LIMIT ` + fmt.Sprint(usage.MaxRows+1) + `
), waiting AS (
  SELECT min(recorded_at) AS oldest FROM analytics.inbox WHERE org_id = $1
)
SELECT waiting.oldest, bucket, coalesce(model, ''), coalesce(project_id, ''), coalesce(api_key_id, ''), currency,
       coalesce(requests, 0), coalesce(input_tokens, 0), coalesce(cached_input_tokens, 0), coalesce(output_tokens, 0), coalesce(cost_nano, 0)
  FROM waiting LEFT JOIN sums ON true
 ORDER BY 2, 3, 4, 5, 6`, args
}

// present is a list that is no NULL: nothing is in it, rather than not known.
func present(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// truncation is date_trunc's word for a bucket.
func truncation(b usage.Bucket) string {
	switch b {
	case usage.Minute, usage.Hour, usage.Day, usage.Month:
		return string(b)
	case usage.Whole:
	}
	return "day" // not reached by a query that needs it
}
