package mail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aiaas/aiaas/shared/function"
)

// Draft is a mail to be queued.
type Draft struct {
	ID        string
	OrgID     string
	Kind      Kind
	Recipient string
	Data      []byte // JSON of a [Letter]
	Key       string // the same cause and recipient have the same key: it is queued once
}

// Queued is a mail whose turn it is. It is leased: until the lease ends nobody else
// sends it.
type Queued struct {
	ID        string
	OrgID     string
	Kind      Kind
	Recipient string
	Data      []byte
	Attempts  int // this one included
	CreatedAt time.Time
}

// Status is what became of a mail.
type Status string

// The statuses.
const (
	StatusQueued Status = "queued"
	StatusSent   Status = "sent"   // somebody has accepted it for delivery
	StatusFailed Status = "failed" // refused, or given up
	// StatusSuppressed is of one that was not sent, for its recipient had too many of
	// its kind within the hour.
	StatusSuppressed Status = "suppressed"
)

// Statuses lists all of them.
func Statuses() []Status { return []Status{StatusQueued, StatusSent, StatusFailed} }

// Outcome is how an attempt ended.
type Outcome struct {
	OrgID   string
	ID      string
	Attempt int // of the lease: one that was lost to another changes nothing
	Status  Status
	At      time.Time
	Next    time.Time // of a mail that stays queued
	Error   string    // for the organisation's admins
}

// Queue is what waits to be sent, across organisations.
type Queue interface {
	// Lease takes at most limit mails that are due at now, for itself until until.
	Lease(ctx context.Context, now, until time.Time, limit int) ([]Queued, error)
	// Finish records how an attempt ended. What a mail tells is forgotten with its
	// end.
	Finish(ctx context.Context, o Outcome) error
	// Prune removes at most limit mails that were queued before a time, except
	// those under legal hold, and says how many.
	Prune(ctx context.Context, before time.Time, limit int) (int, error)
}

const (
	// leaseTime is how long a mail stays with a process that may have died.
	leaseTime = 5 * time.Minute
	// batch is how many mails one run takes.
	batch = 50
	// atOnce is how many are sent at the same time.
	atOnce = 4
	// firstWait is before the second attempt; each wait is the double of the one
	// before.
	firstWait = 30 * time.Second
	maxWait   = 4 * time.Hour
	// GiveUp is the age at which a mail is not tried again.
	GiveUp = 48 * time.Hour
	// maxAttempts ends mails that take their process down with them.
	maxAttempts = 100
	// Retention is how long it can be seen what became of a mail.
	Retention = 90 * 24 * time.Hour
	// pruneBatch is how many one transaction removes.
	pruneBatch = 1000
)

// Courier hands queued mails to a sender.
type Courier struct {
	Queue    Queue
	Sender   Sender // nil: none is configured; mails wait
	Renderer Renderer
	Now      func() time.Time
	Log      *slog.Logger
}

// Run is the job that sends what is due.
func (c *Courier) Run(ctx context.Context) (function.Counts, error) {
	if c.Sender == nil {
		return nil, nil
	}
	now := c.Now()
	due, err := c.Queue.Lease(ctx, now, now.Add(leaseTime), batch)
	if err != nil || len(due) == 0 {
		return nil, err
	}
	r := &round{Courier: c, counts: function.Counts{}}
	next := make(chan Queued, len(due))
	for _, q := range due {
		next <- q
	}
	close(next)
	var group sync.WaitGroup
	for range min(atOnce, len(due)) {
		group.Go(func() {
			for q := range next {
				r.deliver(ctx, q)
			}
		})
	}
	group.Wait()
	return r.counts, errors.Join(r.errs...)
}

// round is one run over a batch.
type round struct {
	*Courier

	down   atomic.Pointer[PostponedError] // why nothing else would be accepted either
	mu     sync.Mutex
	counts function.Counts
	errs   []error
}

// deliver brings one mail one step further.
func (r *round) deliver(ctx context.Context, q Queued) {
	if ctx.Err() != nil {
		return // its lease ends by itself
	}
	o := r.outcome(ctx, q, r.attempt(ctx, q))
	err := r.Queue.Finish(context.WithoutCancel(ctx), o)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.errs = append(r.errs, err)
		return
	}
	switch o.Status {
	case StatusSent:
		r.counts["sent"]++
	case StatusFailed:
		r.counts["failed"]++
	case StatusQueued:
		r.counts["postponed"]++
	case StatusSuppressed: // never leased
	}
}

func (r *round) attempt(ctx context.Context, q Queued) error {
	if q.Attempts > maxAttempts {
		return &RefusedError{Reason: "it was tried too often"}
	}
	if down := r.down.Load(); down != nil {
		return down
	}
	m, err := r.Renderer.Render(q)
	if err != nil {
		return &RefusedError{Reason: "it can't be written", Err: err}
	}
	err = r.Sender.Send(ctx, m)
	if s, ok := errors.AsType[*PostponedError](err); ok && s.Down {
		r.down.Store(s)
	}
	return err
}

// outcome judges an attempt.
func (r *round) outcome(ctx context.Context, q Queued, err error) Outcome {
	now := r.Now()
	o := Outcome{OrgID: q.OrgID, ID: q.ID, Attempt: q.Attempts, Status: StatusSent, At: now}
	if err == nil {
		return o
	}
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		o.Status, o.Error = StatusFailed, refused.Reason
		r.Log.WarnContext(ctx, "mail refused", "mail", q.ID, "org", q.OrgID, "kind", string(q.Kind), "error", err)
		return o
	}
	o.Error = "the mail server could not be reached"
	if s, ok := errors.AsType[*PostponedError](err); ok {
		o.Error = s.Reason
	}
	if now.Sub(q.CreatedAt) >= GiveUp {
		o.Status, o.Error = StatusFailed, "given up: "+o.Error
		r.Log.WarnContext(ctx, "mail given up", "mail", q.ID, "org", q.OrgID, "kind", string(q.Kind), "error", err)
		return o
	}
	o.Status, o.Next = StatusQueued, now.Add(wait(q.Attempts))
	r.Log.InfoContext(ctx, "mail postponed", "mail", q.ID, "org", q.OrgID, "kind", string(q.Kind), "attempt", q.Attempts, "error", err)
	return o
}

// wait is the distance between an attempt and the next.
func wait(attempt int) time.Duration {
	d := firstWait
	for i := 1; i < attempt && d < maxWait; i++ {
		d *= 2
	}
	return min(d, maxWait)
}

// Prune is the job that removes what is older than its retention.
func (c *Courier) Prune(ctx context.Context) (function.Counts, error) {
	before, all := c.Now().Add(-Retention), int64(0)
	for {
		n, err := c.Queue.Prune(ctx, before, pruneBatch)
		all += int64(n)
		if err != nil || n < pruneBatch {
			return counted("mails", all), err
		}
	}
}

func counted(what string, n int64) function.Counts {
	if n == 0 {
		return nil
	}
	return function.Counts{what: n}
}

// MessageID is the Message-ID of a mail, without brackets.
func MessageID(mailID, domain string) string { return fmt.Sprintf("%s@%s", mailID, domain) }
