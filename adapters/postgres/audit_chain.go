package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
)

// AuditChain keeps the chains of all audit records, in the schema accounts under
// [RoleAuditor].
type AuditChain struct{ db *DB }

// NewAuditChain makes the store.
func NewAuditChain(db *DB) *AuditChain { return &AuditChain{db: db} }

var (
	_ audit.Chains   = (*AuditChain)(nil)
	_ audit.Prunable = (*AuditChain)(nil)
)

// lockChain begins a chain where there is none, and holds its end.
func lockChain(ctx context.Context, tx pgx.Tx, org string) (st audit.State, err error) {
	if _, err := tx.Exec(ctx, `INSERT INTO accounts.audit_chains (org_id) VALUES ($1) ON CONFLICT DO NOTHING`, org); err != nil {
		return st, fmt.Errorf("begin chain: %w", err)
	}
	return readState(ctx, tx, org, "FOR UPDATE")
}

func readState(ctx context.Context, tx pgx.Tx, org, lock string) (st audit.State, err error) {
	var hash []byte
	err = tx.QueryRow(ctx, `SELECT seq, hash, head_seq FROM accounts.audit_chains WHERE org_id = $1 `+lock, org).Scan(&st.Seq, &hash, &st.HeadSeq)
	if errors.Is(err, pgx.ErrNoRows) {
		return st, nil
	}
	copy(st.Hash[:], hash)
	return st, err //nolint:wrapcheck // translated by who began the transaction
}

// Append implements [audit.Chains].
func (a *AuditChain) Append(ctx context.Context, org string, entries []audit.Entry, link func(*audit.Link, *audit.Entry) (audit.Link, error)) (n int, err error) {
	err = a.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		st, err := lockChain(ctx, tx, org)
		if err != nil {
			return err
		}
		known, err := linkedEntries(ctx, tx, org, entries)
		if err != nil {
			return err
		}
		last := audit.Link{OrgID: org, Seq: st.Seq, Hash: st.Hash}
		var links []audit.Link
		for i := range entries {
			e := &entries[i]
			if known[recordKey{e.Source, e.ID}] {
				continue
			}
			if last, err = link(&last, e); err != nil {
				return fmt.Errorf("link %s: %w", e.ID, err)
			}
			links = append(links, last)
		}
		if n = len(links); n == 0 {
			return nil
		}
		return writeLinks(ctx, tx, links)
	})
	return n, err
}

// writeLinks writes links that follow on each other, and moves the end of their chain.
func writeLinks(ctx context.Context, tx pgx.Tx, links []audit.Link) error {
	n := len(links)
	seqs, versions, sources, ids := make([]int64, n), make([]int16, n), make([]string, n), make([]string, n)
	ats, sealed, prevs, hashes := make([]time.Time, n), make([]time.Time, n), make([][]byte, n), make([][]byte, n)
	for i := range links {
		l := &links[i]
		seqs[i], versions[i], sources[i], ids[i] = l.Seq, audit.Version, string(l.Source), l.AuditID
		ats[i], sealed[i], prevs[i], hashes[i] = l.At, l.SealedAt, l.Prev[:], l.Hash[:]
	}
	last := &links[n-1]
	_, err := tx.Exec(ctx, `INSERT INTO accounts.audit_chain (org_id, seq, version, source, audit_id, at, prev, hash, sealed_at)
		SELECT $1, * FROM unnest($2::bigint[], $3::smallint[], $4::text[], $5::text[], $6::timestamptz[], $7::bytea[], $8::bytea[], $9::timestamptz[])`,
		last.OrgID, seqs, versions, sources, ids, ats, prevs, hashes, sealed)
	if err != nil {
		return fmt.Errorf("write links: %w", err)
	}
	if _, err := tx.Exec(ctx, `UPDATE accounts.audit_chains SET seq = $2, hash = $3 WHERE org_id = $1`, last.OrgID, last.Seq, last.Hash[:]); err != nil {
		return fmt.Errorf("move the end of the chain: %w", err)
	}
	return nil
}

type recordKey struct {
	source function.Service
	id     string
}

// linkedEntries are those of the entries that have links already.
func linkedEntries(ctx context.Context, tx pgx.Tx, org string, entries []audit.Entry) (map[recordKey]bool, error) {
	sources, ids := make([]string, len(entries)), make([]string, len(entries))
	for i := range entries {
		sources[i], ids[i] = string(entries[i].Source), entries[i].ID
	}
	rows, err := tx.Query(ctx, `SELECT c.source, c.audit_id FROM unnest($2::text[], $3::text[]) AS e(source, audit_id)
		JOIN accounts.audit_chain c ON c.org_id = $1 AND c.source = e.source AND c.audit_id = e.audit_id`, org, sources, ids)
	if err != nil {
		return nil, fmt.Errorf("look for links: %w", err)
	}
	known := map[recordKey]bool{}
	var k recordKey
	_, err = pgx.ForEachRow(rows, []any{&k.source, &k.id}, func() error { known[k] = true; return nil })
	return known, err //nolint:wrapcheck // translated by InOrg
}

// Unsigned implements [audit.Chains].
func (a *AuditChain) Unsigned(ctx context.Context, now, before time.Time, most int) ([]string, error) {
	return a.orgs(ctx, `SELECT org_id FROM accounts.audit_chains
		WHERE seq > head_seq AND (head_at IS NULL OR head_at <= $2) AND (head_retry_at IS NULL OR head_retry_at <= $1)
		ORDER BY head_failures, head_at NULLS FIRST LIMIT $3`, now, before, most)
}

// Postpone implements [audit.Chains]: for one second, two, four and so on.
func (a *AuditChain) Postpone(ctx context.Context, org string, now time.Time, longest time.Duration) error {
	return a.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE accounts.audit_chains
			SET head_failures = least(head_failures, 1000) + 1,
			    head_retry_at = $2::timestamptz + least($3::interval, interval '1 second' * power(2, least(head_failures, 20)))
			WHERE org_id = $1`, org, now, longest)
		return err //nolint:wrapcheck // translated by InOrg
	})
}

// SaveKey implements [audit.Chains].
func (a *AuditChain) SaveKey(ctx context.Context, k audit.PublicKey) error {
	return a.db.Do(ctx, func(tx pgx.Tx) error { return saveKey(ctx, tx, k) })
}

func saveKey(ctx context.Context, tx pgx.Tx, k audit.PublicKey) error {
	_, err := tx.Exec(ctx, `INSERT INTO accounts.audit_keys (key_id, public_key) VALUES ($1, $2) ON CONFLICT DO NOTHING`, k.ID, k.String())
	if err != nil {
		return fmt.Errorf("note the signing key: %w", err)
	}
	return nil
}

// Keys are the public keys that have signed heads and checkpoints, the oldest first.
func (a *AuditChain) Keys(ctx context.Context) (keys []audit.PublicKey, err error) {
	err = a.db.Do(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT public_key FROM accounts.audit_keys ORDER BY since, key_id`)
		if err != nil {
			return fmt.Errorf("list keys: %w", err)
		}
		texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err //nolint:wrapcheck // translated by Do
		}
		for _, text := range texts {
			k, err := audit.ParsePublicKey(text)
			if err != nil {
				return fault.Wrap(fault.Internal, "read accounts.audit_keys", err)
			}
			keys = append(keys, k)
		}
		return nil
	})
	return keys, err
}

// Owner implements [audit.ChainReader].
func (a *AuditChain) Owner(ctx context.Context, org string) (known bool, err error) {
	err = a.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT accounts.audit_owner($1)`, org).Scan(&known)
	})
	return known, err
}

// Orgs implements [audit.Prunable].
func (a *AuditChain) Orgs(ctx context.Context, after string, most int) ([]string, error) {
	return a.orgs(ctx, `SELECT org_id FROM accounts.audit_chains WHERE org_id > $1 ORDER BY org_id LIMIT $2`, after, most)
}

func (a *AuditChain) orgs(ctx context.Context, sql string, args ...any) (orgs []string, err error) {
	err = a.db.Do(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, sql, args...)
		if err != nil {
			return fmt.Errorf("list chains: %w", err)
		}
		orgs, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err //nolint:wrapcheck // translated by Do
	})
	return orgs, err
}

// Extend implements [audit.Chains]. put runs while the chain is held: another sealer
// waits, and mutations do not.
func (a *AuditChain) Extend(ctx context.Context, org string, at time.Time, put func(audit.State) error) error {
	return a.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		st, err := readState(ctx, tx, org, "FOR UPDATE")
		if err != nil || st.Seq <= st.HeadSeq {
			return err
		}
		if err := put(st); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE accounts.audit_chains SET head_seq = $2, head_at = $3, head_failures = 0, head_retry_at = NULL WHERE org_id = $1`, org, st.Seq, at)
		return err //nolint:wrapcheck // translated by InOrg
	})
}

const linkColumns = `org_id, seq, version, source, audit_id, at, prev, hash, sealed_at`

func scanLink(row pgx.CollectableRow) (l audit.Link, err error) {
	var prev, hash []byte
	err = row.Scan(&l.OrgID, &l.Seq, &l.Version, &l.Source, &l.AuditID, &l.At, &prev, &hash, &l.SealedAt)
	copy(l.Prev[:], prev)
	copy(l.Hash[:], hash)
	l.At, l.SealedAt = l.At.UTC(), l.SealedAt.UTC()
	return l, err //nolint:wrapcheck // pgx wraps it
}

// links reads links of an organisation, which $1 stands for.
func (a *AuditChain) links(ctx context.Context, org, condition string, args ...any) (list []audit.Link, err error) {
	err = a.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT `+linkColumns+` FROM accounts.audit_chain WHERE org_id = $1 AND `+condition, append([]any{org}, args...)...)
		if err != nil {
			return fmt.Errorf("query chain: %w", err)
		}
		list, err = pgx.CollectRows(rows, scanLink)
		return err //nolint:wrapcheck // translated by InOrg
	})
	return list, err
}

// Links implements [audit.ChainReader].
func (a *AuditChain) Links(ctx context.Context, org string, after int64, most int) ([]audit.Link, error) {
	return a.links(ctx, org, `seq > $2 ORDER BY seq LIMIT $3`, after, most)
}

// Linked implements [audit.ChainReader].
func (a *AuditChain) Linked(ctx context.Context, org string, source function.Service, ids []string) (map[string]audit.Link, error) {
	list, err := a.links(ctx, org, `source = $2 AND audit_id = ANY ($3)`, string(source), ids)
	out := make(map[string]audit.Link, len(list))
	for _, l := range list {
		out[l.AuditID] = l
	}
	return out, err
}

// State implements [audit.ChainReader].
func (a *AuditChain) State(ctx context.Context, org string) (st audit.State, err error) {
	err = a.db.InOrg(ctx, org, func(tx pgx.Tx) (err error) {
		st, err = readState(ctx, tx, org, "")
		return err
	})
	return st, err
}

// Checkpoint implements [audit.ChainReader].
func (a *AuditChain) Checkpoint(ctx context.Context, org string) (seq int64, body []byte, err error) {
	err = a.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `SELECT seq, body FROM accounts.audit_checkpoints WHERE org_id = $1 ORDER BY seq DESC LIMIT 1`, org).Scan(&seq, &body)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err //nolint:wrapcheck // translated by InOrg
	})
	return seq, body, err
}

// Held implements [audit.Prunable].
func (a *AuditChain) Held(ctx context.Context, org string) (held bool, err error) {
	err = a.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT accounts.audit_held($1)`, org).Scan(&held)
	})
	return held, err
}

// Old implements [audit.Prunable].
func (a *AuditChain) Old(ctx context.Context, org string, before time.Time) (*audit.Link, error) {
	list, err := a.links(ctx, org, `seq < coalesce(
			(SELECT seq FROM accounts.audit_chain WHERE org_id = $1 AND greatest(at, sealed_at) >= $2 ORDER BY seq LIMIT 1), 9223372036854775807)
		ORDER BY seq DESC LIMIT 1`, before)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0], nil
}

// SaveCheckpoint implements [audit.Prunable].
func (a *AuditChain) SaveCheckpoint(ctx context.Context, c audit.Checkpoint, body []byte, signs audit.PublicKey) error {
	return a.db.InOrg(ctx, c.OrgID, func(tx pgx.Tx) error {
		if err := saveKey(ctx, tx, signs); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO accounts.audit_checkpoints (org_id, seq, body, at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
			c.OrgID, c.Seq, body, c.At)
		return err //nolint:wrapcheck // translated by InOrg
	})
}

// Shorten implements [audit.Prunable].
func (a *AuditChain) Shorten(ctx context.Context, org string, upTo int64, keep time.Duration) error {
	return a.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `SELECT accounts.prune_audit_chain($1, $2, $3)`, org, upTo, keep)
		return err //nolint:wrapcheck // translated by InOrg
	})
}
