package event

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
)

// Status is what became of a delivery.
type Status string

// The states of a delivery.
const (
	Pending   Status = "pending"
	Succeeded Status = "succeeded"
	Failed    Status = "failed" // given up; it can be replayed
)

// Delivery is an event on its way to a webhook.
type Delivery struct {
	ID, WebhookID, EventID, Type string
	Status                       Status
	Tries                        int       // since it was created or replayed
	NextAt                       time.Time // of a pending one
	Error                        string    // why it was given up
	CreatedAt                    time.Time
	FinishedAt                   time.Time // zero while it is pending
	Attempts                     []Attempt // all, the latest last
}

// Attempt is one try to deliver.
type Attempt struct {
	At       time.Time
	Duration time.Duration
	Code     int    // of the answer; 0: none came
	Error    string // "" where it was taken
	Response string // the beginning of the answer's body
	// RetryAfter is how long the receiver asked to be left alone.
	RetryAfter time.Duration
}

func (a Attempt) taken() bool { return a.Code >= 200 && a.Code <= 299 }

// Lease is a delivery that this process alone attempts, until a moment.
type Lease struct {
	OrgID, DeliveryID, WebhookID, EventID string
	URL                                   string
	Secret, OldSecret                     string // sealed
	OldUntil                              time.Time
	Payload                               []byte
	Try                                   int // this one, from 1
	Until                                 time.Time
}

// Health is how a webhook does, after an attempt.
type Health struct {
	FailingSince time.Time // zero: the attempt went well
	Failures     int64
}

// Settlement is what an attempt leads to.
type Settlement struct {
	Lease
	AttemptID string
	Attempt   Attempt
	Status    Status
	NextAt    time.Time // where it is pending still
	Error     string    // why it was given up
	At        time.Time
	// GiveUp decides on the whole webhook: why it is to be disabled, "" if it is not.
	GiveUp func(Health) string
	// Record makes the audit record of that.
	Record func(why string) audit.Record
}

// Queue holds deliveries until they are made.
type Queue interface {
	// Lease takes at most so many deliveries that are due at a moment, and keeps them
	// from others until another: few of one webhook, and of one that fails one at a
	// time, so that none keeps the others waiting.
	Lease(ctx context.Context, at, until time.Time, most int) ([]Lease, error)
	// Settle records an attempt. A lease that somebody else has taken over changes the
	// log of attempts only.
	Settle(ctx context.Context, s Settlement) error
}

// Posting is one signed request.
type Posting struct {
	URL     string
	ID      string   // the webhook-id
	Secrets []string // the newest first
	Payload []byte
}

// Poster posts. It never takes longer than [PostTimeout].
type Poster interface {
	Post(ctx context.Context, p Posting) Attempt
}

// The times of a delivery.
const (
	PostTimeout = 15 * time.Second
	leaseTime   = PostTimeout + 5*time.Second // a process that dies leaves it free again by then
	settleTime  = 5 * time.Second
	longestWait = 24 * time.Hour
	// A webhook is given up when nothing went well for so long, and not before so many
	// failures: one that gets a single event a month is not judged by that one.
	failingTooLong = 5 * 24 * time.Hour
	failingTooOft  = 20
)

// waits are the times between attempts: fourteen attempts in about three days.
func waits() []time.Duration {
	return []time.Duration{
		2 * time.Second, 10 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour,
		4 * time.Hour, 8 * time.Hour, 12 * time.Hour, 20 * time.Hour, 24 * time.Hour,
	}
}

// DelivererConfig is what a deliverer is made from.
type DelivererConfig struct {
	Queue  Queue
	Poster Poster
	Vault  Vault
	Now    func() time.Time
	Random func() float64 // in [0, 1)
	Log    *slog.Logger
	// Background says that posting may go on after the run that began it.
	Background bool
}

// Deliverer posts what is due. Several may work at once.
type Deliverer struct {
	DelivererConfig
	slots   chan struct{}
	mu      sync.Mutex
	ended   bool
	running sync.WaitGroup
	cut     context.Context //nolint:containedctx // the end of the process, for work that outlives its callers
	end     context.CancelFunc
}

// slots bounds the requests of one process that are under way.
const slots = 64

// NewDeliverer makes a deliverer, which outlives ctx and ends by [Deliverer.Finish].
func NewDeliverer(ctx context.Context, c DelivererConfig) *Deliverer {
	d := &Deliverer{DelivererConfig: c, slots: make(chan struct{}, slots)}
	d.cut, d.end = context.WithCancel(context.WithoutCancel(ctx))
	return d
}

// Deliver begins with all that is due. Where the host lets work go on in the
// background it does not wait for the answers: a slow receiver would keep the next
// run, and all others, waiting.
func (d *Deliverer) Deliver(ctx context.Context) (function.Counts, error) {
	var begun int64
	for {
		n, err := d.round(ctx)
		begun += int64(n)
		if !d.Background {
			d.running.Wait()
		}
		if err != nil || n == 0 || ctx.Err() != nil {
			if begun == 0 {
				return nil, err
			}
			return function.Counts{"attempts": begun}, err
		}
	}
}

// round leases as much as there is room for.
func (d *Deliverer) round(ctx context.Context) (int, error) {
	free := cap(d.slots) - len(d.slots)
	if free == 0 {
		return 0, nil
	}
	now := d.Now()
	leases, err := d.Queue.Lease(ctx, now, now.Add(leaseTime), free)
	if err != nil {
		return 0, err
	}
	for _, l := range leases {
		if !d.begin(ctx, l) {
			return 0, nil // the lease ends by itself
		}
	}
	return len(leases), nil
}

func (d *Deliverer) begin(ctx context.Context, l Lease) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return false
	}
	d.slots <- struct{}{}
	d.running.Go(func() {
		defer func() { <-d.slots }()
		// The attempt outlives the run, but not the process's end.
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer context.AfterFunc(d.cut, cancel)() //nolint:contextcheck // see above
		defer cancel()
		d.attempt(ctx, l)
	})
	return true
}

// Finish waits for what is under way until the context ends, cuts what is left, and
// lets nothing new begin. What was cut is tried again by who comes next.
func (d *Deliverer) Finish(ctx context.Context) error {
	d.mu.Lock()
	d.ended = true
	d.mu.Unlock()
	defer d.end()
	done := make(chan struct{})
	go func() { defer close(done); d.running.Wait() }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	d.end()
	<-done
	return nil
}

func (d *Deliverer) attempt(ctx context.Context, l Lease) {
	a := d.post(ctx, l)
	if ctx.Err() != nil { // cut by the end of the process: the attempt tells nothing
		return
	}
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	if err := d.Queue.Settle(ctx, d.judge(l, a)); err != nil {
		d.Log.ErrorContext(ctx, "settle delivery", "delivery", l.DeliveryID, "webhook", l.WebhookID, "error", err)
	}
}

func (d *Deliverer) post(ctx context.Context, l Lease) Attempt {
	begun := d.Now()
	secrets, err := d.secrets(l, begun)
	if err != nil {
		d.Log.ErrorContext(ctx, "open secret of webhook", "webhook", l.WebhookID, "error", err)
		return Attempt{At: begun, Error: "The signing secret can't be opened."}
	}
	a := d.Poster.Post(ctx, Posting{URL: l.URL, ID: l.EventID, Secrets: secrets, Payload: l.Payload})
	if a.At.IsZero() {
		a.At = begun
	}
	return a
}

func (d *Deliverer) secrets(l Lease, at time.Time) ([]string, error) {
	var out []string
	sealed := []string{l.Secret}
	if l.OldSecret != "" && l.OldUntil.After(at) {
		sealed = append(sealed, l.OldSecret)
	}
	for _, s := range sealed {
		plain, err := d.Vault.Open(s, host(l.URL))
		if err != nil {
			return nil, err
		}
		out = append(out, plain)
	}
	return out, nil
}

const gone = 410 // HTTP: the receiver wants no more

// judge decides what an attempt leads to.
func (d *Deliverer) judge(l Lease, a Attempt) Settlement {
	now := d.Now()
	s := Settlement{
		Lease: l, AttemptID: id.New(id.Attempt), Attempt: a, At: now, Status: Pending,
		GiveUp: func(h Health) string { return giveUp(h, a, now) },
		Record: func(why string) audit.Record {
			return audit.Record{
				OrgID: l.OrgID, ID: id.New(id.Audit), At: now, Actor: "notifications", Action: ActionDisable, Target: l.WebhookID,
				Detail: map[string]any{"url": l.URL, "reason": why},
			}
		},
	}
	switch list := waits(); {
	case a.taken():
		s.Status = Succeeded
	case a.Code == gone:
		s.Status, s.Error = Failed, whyGone
	case l.Try > len(list):
		s.Status, s.Error = Failed, "No attempt in three days went well."
	default:
		wait := list[l.Try-1]
		wait += time.Duration((d.Random() - 0.5) * 0.4 * float64(wait)) // a fifth to either side: not all at once
		s.NextAt = now.Add(min(max(wait, a.RetryAfter), longestWait))
	}
	return s
}

const whyGone = "The receiver answered 410: it wants no more."

func giveUp(h Health, a Attempt, now time.Time) string {
	switch {
	case a.Code == gone:
		return whyGone
	case !h.FailingSince.IsZero() && h.Failures >= failingTooOft && now.Sub(h.FailingSince) >= failingTooLong:
		return "Nothing was delivered for five days."
	}
	return ""
}
