// Package admission decides whether a request may run, in one atomic step for all
// of its limits: requests and tokens per minute and concurrency of key, project
// and organisation, and a hold for the worst-case cost on every blocking budget
// that applies. Denied, nothing is held.
//
// The counters live in a [Limiter] (memory in one process, Redis for many). The
// truth about budgets lives in PostgreSQL: a limiter only ever spends out of what
// the [Granter] handed out, and is told an absolute ceiling with a sequence,
// never an amount to add. So no partition, no cut limit and no crash between
// grant and credit spends the same money twice or strands it.
//
// States of a hold: held while the request runs; final once its cost is known;
// gone when the ledger has it, or when the request was released because it cost
// nothing. With limits in memory a hold needs no lease: it dies with its process,
// and the process that takes over reclaims what was granted and not spent.
package admission

import (
	"context"
	"time"

	"github.com/aiaas/aiaas/shared/tenant"
)

// Subject is one of those whose limits a request counts against.
type Subject struct {
	Kind   string // "key", "project" or "organization"
	ID     string
	Limits tenant.Limits
}

// Hold is a reservation on one window of one budget.
type Hold struct {
	Budget string
	Start  time.Time // of the window
	End    time.Time
	Amount int64 // nano, tokens or requests, by the budget's unit
}

// Request asks for admission.
type Request struct {
	ID       string // of the usage event it may become
	Org      string
	Version  uint64    // configuration version that the caller's view is as new as
	At       time.Time // admitted_at: the one time of the request
	Subjects []Subject
	Tokens   int64 // reserved on the tokens-per-minute limits until the count is known
	Holds    []Hold
}

// Outcome is what a limiter decided.
type Outcome int

// The outcomes.
const (
	Admitted Outcome = iota
	Stale            // the organisation's configuration moved on: reload and ask again
	Limited          // a rate or concurrency limit is reached
	Short            // a budget's ceiling does not leave room for the hold
)

// Metric is what a limit counts.
type Metric string

// The metrics.
const (
	RequestsPerMinute  Metric = "requests_per_minute"
	TokensPerMinute    Metric = "tokens_per_minute"
	ConcurrentRequests Metric = "concurrent_requests"
)

// Rate is the state of a rate limit; the tightest of the subjects'.
type Rate struct {
	Limit     int64 // 0: there is none
	Remaining int64
	Reset     time.Duration // until the bucket is full again
}

// Verdict is a limiter's answer.
type Verdict struct {
	Outcome  Outcome
	Requests Rate
	Tokens   Rate

	// Where a limit was reached.
	Metric     Metric
	Subject    Subject
	RetryAfter time.Duration // 0: when another request ends

	// Where a budget is short: the first such hold, and every window with how
	// much it lacks. Ask is false while it is known that no more is to be had.
	Budget string
	Lacks  []Lack
	Ask    bool
}

// Lack is how much a window is short of.
type Lack struct {
	Budget string
	Start  time.Time
	End    time.Time
	Amount int64
}

// Grant is the state of a budget's window in the database.
type Grant struct {
	Budget  string
	Start   time.Time
	Limit   int64
	Granted int64
	Spent   int64
	Seq     int64 // grows with every change; the newest state wins
}

// Ceiling is what may be spent up to: a cut limit binds at once.
func (g Grant) Ceiling() int64 { return min(g.Granted, g.Limit) }

// Final is what a request came to.
type Final struct {
	ID      string
	Org     string
	Tokens  int64   // really used, for the tokens-per-minute limits
	Amounts []int64 // really spent, for each hold of the request in its order
}

// Committed tells a limiter what the ledger has taken.
type Committed struct {
	Org     string
	IDs     []string // events that are booked now, or were before
	Windows []Spent
}

// Spent is the settled sum of a window after a commit.
type Spent struct {
	Budget string
	Start  time.Time
	Spent  int64
	Seq    int64
}

// Limiter keeps counters, holds and configuration versions. It is safe for
// concurrent use. An error means that nothing was decided and nothing is held.
type Limiter interface {
	Gate
	Books
	Versions
}

// Gate lets requests in and sees them out.
type Gate interface {
	Admit(ctx context.Context, r *Request) (Verdict, error)
	// Finish turns a hold from held to final, frees its concurrency and corrects
	// the tokens. Finishing what is not held does nothing.
	Finish(ctx context.Context, f Final) error
	// Release undoes an admission that came to nothing.
	Release(ctx context.Context, org, id string) error
	// Rates is the state of the subjects' limits at a moment: the rates, and whether
	// one more request, of no tokens, would be Limited. It takes nothing.
	Rates(ctx context.Context, org string, at time.Time, subjects []Subject) (Verdict, error)
}

// Books keeps a limiter in step with the database.
type Books interface {
	// Credit tells what the database has granted, or that a limit has changed. Older
	// states are ignored. What was remembered of exhaustion is forgotten where there
	// is more to be had. Whoever knows which events the sums have commits those
	// first, with the sums: else they count twice until they are.
	Credit(ctx context.Context, org string, at time.Time, grants []Grant) error
	// Commit takes over the ledger's sums and drops what they settle: the holds of
	// the events on these windows. A hold on a window that is not named stays.
	Commit(ctx context.Context, c Committed) error
	// Finals lists the requests of an organisation that are settled here and not
	// known to be booked.
	Finals(org string) []string
	// Held is what is reserved on a window: holds and finals.
	Held(org, budget string, start time.Time) int64
	// Taken is what a window has spent, as far as the limiter was told, and what
	// is held on it, both of one moment. It never exceeds what may be spent.
	Taken(org, budget string, start time.Time) int64
}

// Versions orders changes of configuration: whoever read before a Bump finds that
// its view is stale.
type Versions interface {
	Latest() uint64            // the newest version of any organisation
	Version(org string) uint64 // the newest version of this one
	Bump(ctx context.Context, org string) error
}

// Granter hands out parts of budgets, from the database.
type Granter interface {
	Grant(ctx context.Context, org string, lacks []Lack) ([]Grant, error)
}
