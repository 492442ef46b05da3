package event

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
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

// taken tells by the status line alone: what follows it may break off.
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

// Leasing asks for deliveries to attempt.
type Leasing struct {
	At, Until time.Time // due by then; kept from others until then
	Most      int
	MostOfOne int // that one organisation may have under way, with what others attempt of it
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
	Slow      bool      // the attempt took long, whatever came of it
	At        time.Time
	// GiveUp decides on the whole webhook: why it is to be disabled, "" if it is not.
	GiveUp func(Health) string
	// Record makes the audit record of that.
	Record func(why string) audit.Record
}

// Queue holds deliveries until they are made.
type Queue interface {
	// Lease takes deliveries that are due, and keeps them from others: few of one
	// webhook, and of one that fails or is slow one at a time. Those come first whose
	// organisation has the least under way, then those that are due the longest. An
	// organisation that is not served gets its [TypeSuspended] and [TypeClosed] only.
	Lease(ctx context.Context, l Leasing) ([]Lease, error)
	// Settle records an attempt, and tells whether the organisation has more that is
	// due. A lease that somebody else has taken over changes the log of attempts only.
	Settle(ctx context.Context, s Settlement) (more bool, err error)
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
	tryingFor   = 72 * time.Hour // the sum of waits, nearly
	// An answer that takes longer holds what others wait for: so slow a webhook gets
	// one delivery at a time, also where all go well.
	slowAnswer = 3 * time.Second
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
	begun   atomic.Int64 // attempts that no run has told of
	wanted  atomic.Bool  // somebody has found that there may be more to lease
	filling sync.Mutex
	mu      sync.Mutex
	ended   bool
	running sync.WaitGroup
	cut     context.Context //nolint:containedctx // the end of the process, for work that outlives its callers
	end     context.CancelFunc
}

const (
	// slots bounds the requests of one process that are under way.
	slots = 64
	// share bounds those of one organisation, in all processes together: whatever it
	// has waiting and however slowly its receivers answer, three quarters are left.
	share = slots / 4
)

// NewDeliverer makes a deliverer, which outlives ctx and ends by [Deliverer.Finish].
func NewDeliverer(ctx context.Context, c DelivererConfig) *Deliverer {
	d := &Deliverer{DelivererConfig: c, slots: make(chan struct{}, slots)}
	d.cut, d.end = context.WithCancel(context.WithoutCancel(ctx))
	return d
}

// Deliver begins with all that is due, and goes on by itself for as long as what it
// has begun makes room for more. Where the host lets work go on in the background it
// does not wait for the answers: a slow receiver would keep the next run, and all
// others, waiting. It counts the attempts that began since the last run has told.
func (d *Deliverer) Deliver(ctx context.Context) (function.Counts, error) {
	var err error
	for {
		before := d.begun.Load()
		if err = d.fill(ctx); err != nil || d.Background {
			break
		}
		d.running.Wait()
		if d.begun.Load() == before || ctx.Err() != nil {
			break
		}
	}
	if begun := d.begun.Swap(0); begun > 0 {
		return function.Counts{"attempts": begun}, err
	}
	return nil, err
}

// fill leases once, or leaves that to who is at it.
func (d *Deliverer) fill(ctx context.Context) error {
	if !d.filling.TryLock() {
		d.wanted.Store(true)
		d.launch(ctx, func(life context.Context) { d.serve(life, d.until(ctx, life)) })
		return nil
	}
	err := d.round(ctx, ctx)
	d.filling.Unlock()
	if d.wanted.Load() {
		d.launch(ctx, func(life context.Context) { d.serve(life, d.until(ctx, life)) })
	}
	return err
}

// until is the context whose end ends leasing: that of the run, or of the process
// where work may go on in the background.
func (d *Deliverer) until(run, life context.Context) context.Context {
	if d.Background {
		return life
	}
	return run
}

// serve leases for those who have found that there may be more: one does it for all
// who come meanwhile.
func (d *Deliverer) serve(ctx, until context.Context) {
	for d.wanted.Load() && d.filling.TryLock() {
		for d.wanted.Swap(false) {
			if err := d.round(ctx, until); err != nil && ctx.Err() == nil {
				d.Log.ErrorContext(ctx, "lease deliveries", "error", err)
			}
		}
		d.filling.Unlock()
	}
}

// round leases as much as there is room for, unless the context of that name has
// ended.
func (d *Deliverer) round(ctx, until context.Context) error {
	free := cap(d.slots) - len(d.slots)
	if ended := until.Err() != nil || d.over(); ended || free == 0 {
		return nil
	}
	now := d.Now()
	leases, err := d.Queue.Lease(ctx, Leasing{At: now, Until: now.Add(leaseTime), Most: free, MostOfOne: share})
	if err != nil {
		return err
	}
	for _, l := range leases {
		d.begin(ctx, until, l)
	}
	return nil
}

func (d *Deliverer) over() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ended
}

// begin attempts a delivery, unless the end has come: then the lease ends by itself.
func (d *Deliverer) begin(ctx, until context.Context, l Lease) {
	d.slots <- struct{}{}
	begun := d.launch(ctx, func(life context.Context) {
		more := d.attempt(life, l)
		full := len(d.slots) == cap(d.slots)
		<-d.slots
		if more || full {
			d.wanted.Store(true)
			d.serve(life, d.until(until, life))
		}
	})
	if !begun {
		<-d.slots
		return
	}
	d.begun.Add(1)
}

// launch lets work outlive its run, but not the process's end.
func (d *Deliverer) launch(ctx context.Context, work func(life context.Context)) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return false
	}
	d.running.Go(func() {
		life, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer context.AfterFunc(d.cut, cancel)() //nolint:contextcheck // see above
		defer cancel()
		work(life)
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

// attempt tells whether its organisation has more for which there is room now. One
// whose receiver fails, or is slow, gets the next with the next run: it is not
// pressed.
func (d *Deliverer) attempt(ctx context.Context, l Lease) bool {
	a := d.post(ctx, l)
	if ctx.Err() != nil { // cut by the end of the process: the attempt tells nothing
		return false
	}
	settling, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	s := d.judge(l, a)
	more, err := d.Queue.Settle(settling, s)
	if err != nil {
		d.Log.ErrorContext(ctx, "settle delivery", "delivery", l.DeliveryID, "webhook", l.WebhookID, "error", err)
		return false
	}
	return more && s.Status == Succeeded && !s.Slow
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
		Lease: l, AttemptID: id.New(id.Attempt), Attempt: a, At: now, Status: Pending, Slow: a.Duration > slowAnswer,
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

// Why deliveries are given up, or webhooks.
const (
	whyGone      = "The receiver answered 410: it wants no more."
	WhyClosed    = "The organization was closed."
	WhySuspended = "The organization was suspended for longer than deliveries are tried."
)

func giveUp(h Health, a Attempt, now time.Time) string {
	switch {
	case a.Code == gone:
		return whyGone
	case !h.FailingSince.IsZero() && h.Failures >= failingTooOft && now.Sub(h.FailingSince) >= failingTooLong:
		return "Nothing was delivered for five days."
	}
	return ""
}
