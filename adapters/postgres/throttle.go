package postgres

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/aiaas/aiaas/shared/throttle"
)

// Throttles keeps the buckets that slow guessing down, under [RoleIdentity].
type Throttles struct {
	db     *DB
	taking [throttle.Proved]chan struct{}
}

// takesAtOnce is how many attempts of a crowd are counted at the same time. A crowd that
// guesses waits here, before anything is known of it, and not at the connections, for
// which all statements wait of everybody who is let through.
const takesAtOnce = 2

// NewThrottles makes the store.
func NewThrottles(db *DB) *Throttles {
	s := &Throttles{db: db}
	for i := range s.taking {
		s.taking[i] = make(chan struct{}, takesAtOnce)
	}
	return s
}

var _ throttle.Store = (*Throttles)(nil)

// Take implements [throttle.Store], in one statement.
func (s *Throttles) Take(ctx context.Context, a throttle.Attempt, now time.Time) (known bool, wait time.Duration, err error) {
	if a.Crowd < throttle.Proved {
		turn := s.taking[a.Crowd]
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
		case <-ctx.Done():
			return false, 0, fmt.Errorf("wait to take from buckets: %w", context.Cause(ctx))
		}
	}
	ids, every, burst := bucketColumns(a)
	err = s.db.pool.QueryRow(ctx, `SELECT known, wait FROM accounts.throttle_take($1, $2, $3, $4, $5, $6)`,
		a.Account[:], a.Device[:], ids, every, burst, now).Scan(&known, &wait)
	if err != nil {
		return false, 0, translate(fmt.Errorf("take from buckets: %w", err))
	}
	return known, wait, nil
}

// bucketColumns are the buckets of an attempt, the device's own first.
func bucketColumns(a throttle.Attempt) (ids [][]byte, every []time.Duration, burst []int32) {
	for _, b := range append([]throttle.Bucket{a.Own}, a.Strangers...) {
		ids, every, burst = append(ids, b.ID[:]), append(every, b.Every), append(burst, int32(b.Burst)) //nolint:gosec // some tens
	}
	return ids, every, burst
}

// GiveBack implements [throttle.Store], in one statement.
func (s *Throttles) GiveBack(ctx context.Context, a throttle.Attempt, now time.Time) error {
	ids, every, _ := bucketColumns(a)
	if _, err := s.db.pool.Exec(ctx, `SELECT accounts.throttle_give($1, $2, $3, $4, $5)`, a.Account[:], a.Device[:], ids, every, now); err != nil {
		return translate(fmt.Errorf("give back to buckets: %w", err))
	}
	return nil
}

// Remember implements [throttle.Store], in one statement. What two at once add may be
// one too many, until the next.
//
//nolint:revive // argument-limit: what is presented, what would be new, and how many at most
func (s *Throttles) Remember(ctx context.Context, accounts [][sha256.Size]byte, presented, fresh [sha256.Size]byte, most int, now time.Time) (known, some bool, err error) {
	ids := make([][]byte, len(accounts))
	for i := range accounts {
		ids[i] = accounts[i][:]
	}
	err = s.db.pool.QueryRow(ctx, `
		WITH had AS (SELECT EXISTS (SELECT FROM accounts.known_devices WHERE account = ($1::bytea[])[1]) AS anything),
		seen AS (UPDATE accounts.known_devices SET seen_at = $4 WHERE account = ANY ($1) AND device = $2 RETURNING account),
		known AS (SELECT EXISTS (SELECT FROM seen WHERE account = ($1::bytea[])[1]) AS known),
		added AS (INSERT INTO accounts.known_devices (account, device, first_at, seen_at)
		  SELECT a, $3, $4, $4 FROM unnest($1::bytea[]) a, known WHERE NOT known),
		ranked AS (SELECT account, device, row_number() OVER (PARTITION BY account ORDER BY seen_at DESC, device) AS place
		  FROM accounts.known_devices WHERE account = ANY ($1) AND device <> $2),
		surplus AS (SELECT d.account, d.device FROM accounts.known_devices d JOIN ranked r ON r.account = d.account AND r.device = d.device, known
		  WHERE NOT known AND r.place >= $5 FOR UPDATE OF d SKIP LOCKED),
		removed AS (DELETE FROM accounts.known_devices d USING surplus o WHERE d.account = o.account AND d.device = o.device)
		SELECT known, anything FROM known, had`, ids, presented[:], fresh[:], now, most).Scan(&known, &some)
	if err != nil {
		return false, false, translate(fmt.Errorf("remember device: %w", err))
	}
	return known, some, nil
}

// Prune implements [throttle.Store].
func (s *Throttles) Prune(ctx context.Context, now, unseen time.Time, limit int) (int, error) {
	var n int
	err := s.db.pool.QueryRow(ctx, `
		WITH full_ones AS (
		  SELECT bucket FROM accounts.throttles WHERE full_at < $1 ORDER BY full_at LIMIT $3 FOR UPDATE SKIP LOCKED),
		buckets AS (DELETE FROM accounts.throttles t USING full_ones f WHERE t.bucket = f.bucket RETURNING 1),
		old AS (SELECT account, device FROM accounts.known_devices WHERE seen_at < $2 ORDER BY seen_at LIMIT $3 FOR UPDATE SKIP LOCKED),
		devices AS (DELETE FROM accounts.known_devices d USING old o WHERE d.account = o.account AND d.device = o.device RETURNING 1)
		SELECT (SELECT count(*) FROM buckets) + (SELECT count(*) FROM devices)`, now, unseen, limit).Scan(&n)
	if err != nil {
		return 0, translate(fmt.Errorf("prune buckets: %w", err))
	}
	return n, nil
}
