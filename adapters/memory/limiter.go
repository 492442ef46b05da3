// Package memory keeps limits and holds in the process: the default of a single
// process, and the reference that other limiters are held to by the conformance
// suite in shared/admission/admissiontest.
//
// It forgets everything when the process ends. That is safe because the truth is
// in PostgreSQL: a process that takes over fences the old one by the epoch and
// reclaims what was granted and not spent.
package memory

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aiaas/aiaas/shared/admission"
)

// exhaustedFor is how long it is remembered that a budget has no more to give.
const exhaustedFor = 500 * time.Millisecond

// keepWindow is how long an ended window without holds is kept.
const keepWindow = time.Hour

// Limiter is an admission.Limiter in memory. An organisation's counters change
// under one lock, so an admission is atomic over all of them.
type Limiter struct {
	latest atomic.Uint64
	orgs   sync.Map // org id → *org
}

var _ admission.Limiter = (*Limiter)(nil)

// NewLimiter returns an empty limiter.
func NewLimiter() *Limiter { return &Limiter{} }

type org struct {
	version atomic.Uint64

	mu       sync.Mutex
	subjects map[string]*subject
	windows  map[windowKey]*window
	entries  map[string]*entry
}

type subject struct {
	requests bucket
	tokens   bucket
	running  int64
}

type windowKey struct {
	budget string
	start  int64 // Unix microseconds
}

type window struct {
	end      time.Time
	ceiling  int64
	spent    int64
	held     int64 // of holds and finals
	askAfter time.Time
	// The sequences of ceiling and spent: a commit that overtakes a grant must not
	// make the grant look old.
	ceilingSeq, spentSeq int64
}

// lack is how much a window is short of for an amount; 0 where it fits. A limit
// that was cut, and usage that no hold stood for, may leave less than nothing. No
// step overflows: amounts come from what clients ask for.
func (w *window) lack(amount int64) int64 {
	left := w.ceiling - w.spent // neither is negative
	if left >= w.held {
		return max(0, amount-(left-w.held))
	}
	return addUpTo(amount, addUpTo(w.held, -left))
}

// addUpTo adds, and stops at the largest number. a is not negative.
func addUpTo(a, b int64) int64 {
	if b > math.MaxInt64-a {
		return math.MaxInt64
	}
	return a + b
}

// raise takes over the ceiling of a state that is newer, and whether more can be
// asked for: an answer that a raised limit has overtaken must not hide it.
func (w *window) raise(g admission.Grant, at time.Time) {
	if g.Seq <= w.ceilingSeq {
		return
	}
	w.ceiling, w.ceilingSeq, w.askAfter = g.Ceiling(), g.Seq, time.Time{}
	if g.Granted >= g.Limit {
		w.askAfter = at.Add(exhaustedFor)
	}
}

func (w *window) settle(spent, seq int64) {
	if seq <= w.spentSeq {
		return
	}
	if spent != w.spent {
		w.askAfter = time.Time{} // it may have holds that we are told of later: who is short asks
	}
	w.spent, w.spentSeq = spent, seq
}

type entry struct {
	subjects []*subject
	limits   []admission.Subject
	tokens   int64
	holds    []held
	final    bool
}

type held struct {
	window *window
	amount int64
}

func (l *Limiter) org(id string) *org {
	if o, ok := l.orgs.Load(id); ok {
		return o.(*org) //nolint:errcheck,forcetypeassert // the map holds nothing else
	}
	o, _ := l.orgs.LoadOrStore(id, &org{
		subjects: map[string]*subject{}, windows: map[windowKey]*window{}, entries: map[string]*entry{},
	})
	return o.(*org) //nolint:errcheck,forcetypeassert // the map holds nothing else
}

// Latest is the newest version of any organisation.
func (l *Limiter) Latest() uint64 { return l.latest.Load() }

// Version is the newest version of an organisation.
func (l *Limiter) Version(id string) uint64 {
	if o, ok := l.orgs.Load(id); ok {
		return o.(*org).version.Load() //nolint:errcheck,forcetypeassert // the map holds nothing else
	}
	return 0
}

// Bump moves an organisation's version on.
func (l *Limiter) Bump(_ context.Context, id string) error {
	o := l.org(id)
	o.mu.Lock() // an admission in progress ends under the old version, none begins under it after
	defer o.mu.Unlock()
	o.version.Store(l.latest.Add(1))
	return nil
}

// Admit checks everything, and only when all is well takes everything.
func (l *Limiter) Admit(_ context.Context, r *admission.Request) (admission.Verdict, error) {
	o := l.org(r.Org)
	o.mu.Lock()
	defer o.mu.Unlock()
	if r.Version < o.version.Load() {
		return admission.Verdict{Outcome: admission.Stale}, nil
	}
	subjects := o.lookup(r.Subjects)
	v := admission.Verdict{}
	if limit(r, subjects, &v) || o.short(r, &v) {
		rates(r, subjects, &v)
		return v, nil
	}
	o.take(r, subjects)
	rates(r, subjects, &v)
	return v, nil
}

func (o *org) lookup(wanted []admission.Subject) []*subject {
	out := make([]*subject, len(wanted))
	for i, w := range wanted {
		s, ok := o.subjects[w.ID]
		if !ok {
			s = &subject{}
			o.subjects[w.ID] = s
		}
		out[i] = s
	}
	return out
}

// limit reports whether a rate or concurrency limit is reached, and which. Of
// several it names the one that takes longest, so that a caller who waits is
// not sent away again.
func limit(r *admission.Request, subjects []*subject, v *admission.Verdict) bool {
	for i, s := range subjects {
		want := r.Subjects[i]
		l := want.Limits
		if l.ConcurrentRequests > 0 && s.running >= l.ConcurrentRequests {
			deny(v, want, admission.ConcurrentRequests, 0)
		}
		if wait := s.requests.wait(r.At, l.RequestsPerMinute, 1); wait > 0 {
			deny(v, want, admission.RequestsPerMinute, wait)
		}
		if wait := s.tokens.wait(r.At, l.TokensPerMinute, r.Tokens); wait > 0 {
			deny(v, want, admission.TokensPerMinute, wait)
		}
	}
	return v.Outcome == admission.Limited
}

func deny(v *admission.Verdict, s admission.Subject, m admission.Metric, wait time.Duration) {
	if v.Outcome == admission.Limited && wait <= v.RetryAfter {
		return
	}
	v.Outcome, v.Subject, v.Metric, v.RetryAfter = admission.Limited, s, m, wait
}

// short reports whether a budget lacks room, and lists all that do. More may be
// asked for unless one of them is known to have no more.
func (o *org) short(r *admission.Request, v *admission.Verdict) bool {
	ask := true
	for _, h := range r.Holds {
		w := o.window(h, r.At)
		lack := w.lack(h.Amount)
		if lack == 0 {
			continue
		}
		if v.Budget == "" {
			v.Budget = h.Budget
		}
		if r.At.Before(w.askAfter) {
			v.Budget, ask = h.Budget, false
		}
		v.Lacks = append(v.Lacks, admission.Lack{Budget: h.Budget, Start: h.Start, End: h.End, Amount: lack})
	}
	if len(v.Lacks) == 0 {
		return false
	}
	v.Outcome, v.Ask = admission.Short, ask
	return true
}

func (o *org) window(h admission.Hold, at time.Time) *window {
	k := windowKey{h.Budget, h.Start.UnixMicro()}
	w, ok := o.windows[k]
	if !ok {
		o.dropEnded(at)
		w = &window{end: h.End}
		o.windows[k] = w
	}
	return w
}

func (o *org) dropEnded(at time.Time) {
	for k, w := range o.windows {
		if w.held == 0 && at.Sub(w.end) > keepWindow {
			delete(o.windows, k)
		}
	}
}

func (o *org) take(r *admission.Request, subjects []*subject) {
	e := &entry{subjects: subjects, limits: r.Subjects, tokens: min(r.Tokens, maxCount)}
	for i, s := range subjects {
		s.running++
		s.requests.add(r.At, r.Subjects[i].Limits.RequestsPerMinute, 1)
		s.tokens.add(r.At, r.Subjects[i].Limits.TokensPerMinute, e.tokens)
	}
	if len(r.Holds) > 0 {
		e.holds = make([]held, len(r.Holds))
		for i, h := range r.Holds {
			w := o.window(h, r.At)
			w.held += h.Amount
			e.holds[i] = held{window: w, amount: h.Amount}
		}
	}
	o.entries[r.ID] = e
}

func rates(r *admission.Request, subjects []*subject, v *admission.Verdict) {
	for i, s := range subjects {
		l := r.Subjects[i].Limits
		tightest(&v.Requests, s.requests.rate(r.At, l.RequestsPerMinute))
		tightest(&v.Tokens, s.tokens.rate(r.At, l.TokensPerMinute))
	}
}

// Rates is the state of the subjects' limits.
func (l *Limiter) Rates(_ context.Context, orgID string, at time.Time, wanted []admission.Subject) (admission.Verdict, error) {
	o := l.org(orgID)
	o.mu.Lock()
	defer o.mu.Unlock()
	var v admission.Verdict
	r, subjects := &admission.Request{At: at, Subjects: wanted}, o.lookup(wanted)
	limit(r, subjects, &v)
	rates(r, subjects, &v)
	return v, nil
}

func tightest(have *admission.Rate, next admission.Rate) {
	if next.Limit > 0 && (have.Limit == 0 || next.Remaining < have.Remaining) {
		*have = next
	}
}

// Finish makes a hold final.
func (l *Limiter) Finish(_ context.Context, f admission.Final) error {
	o := l.org(f.Org)
	o.mu.Lock()
	defer o.mu.Unlock()
	e, ok := o.entries[f.ID]
	if !ok || e.final {
		return nil
	}
	e.free(f.Tokens)
	for i := range e.holds {
		h := &e.holds[i]
		h.window.held += f.Amounts[i] - h.amount
		h.amount = f.Amounts[i]
	}
	e.final = true
	if len(e.holds) == 0 {
		delete(o.entries, f.ID) // the ledger's commit has nothing to tell us
	}
	return nil
}

// free ends a request's concurrency and puts right what it counted as tokens.
func (e *entry) free(tokens int64) {
	for i, s := range e.subjects {
		s.running--
		if e.limits[i].Limits.TokensPerMinute > 0 {
			s.tokens.correct(min(tokens, maxCount) - e.tokens)
		}
	}
}

// Release undoes an admission. The request still counts as one request: it came.
func (l *Limiter) Release(_ context.Context, orgID, id string) error {
	o := l.org(orgID)
	o.mu.Lock()
	defer o.mu.Unlock()
	e, ok := o.entries[id]
	if !ok || e.final {
		return nil
	}
	e.free(0)
	for _, h := range e.holds {
		h.window.held -= h.amount
	}
	delete(o.entries, id)
	return nil
}

// Credit takes over what the database granted.
func (l *Limiter) Credit(_ context.Context, orgID string, at time.Time, grants []admission.Grant) error {
	o := l.org(orgID)
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, g := range grants {
		w, ok := o.windows[windowKey{g.Budget, g.Start.UnixMicro()}]
		if !ok {
			continue
		}
		w.settle(g.Spent, g.Seq)
		w.raise(g, at)
	}
	return nil
}

// Commit drops what the ledger has, and takes over its sums where they are newer.
func (l *Limiter) Commit(_ context.Context, c admission.Committed) error {
	o := l.org(c.Org)
	o.mu.Lock()
	defer o.mu.Unlock()
	settled := make(map[*window]bool, len(c.Windows))
	for _, s := range c.Windows {
		w, ok := o.windows[windowKey{s.Budget, s.Start.UnixMicro()}]
		if ok {
			w.settle(s.Spent, s.Seq)
			settled[w] = true
		}
	}
	for _, id := range c.IDs {
		e, ok := o.entries[id]
		if !ok {
			continue
		}
		if !e.final { // it has an event, so it is over: only its finish was lost
			e.free(e.tokens)
			e.final = true
		}
		if e.drop(settled); len(e.holds) == 0 {
			delete(o.entries, id)
		}
	}
	return nil
}

// drop lets go of the holds on windows whose sums have what they stood for.
func (e *entry) drop(settled map[*window]bool) {
	kept := e.holds[:0]
	for _, h := range e.holds {
		if h.amount == 0 || settled[h.window] {
			h.window.held -= h.amount
		} else {
			kept = append(kept, h)
		}
	}
	e.holds = kept
}

// Finals lists the requests of an organisation that are settled here and not known
// to be booked.
func (l *Limiter) Finals(orgID string) []string {
	o := l.org(orgID)
	o.mu.Lock()
	defer o.mu.Unlock()
	var ids []string
	for id, e := range o.entries {
		if e.final {
			ids = append(ids, id)
		}
	}
	return ids
}

// Held is what is reserved on a window.
func (l *Limiter) Held(orgID, budget string, start time.Time) int64 {
	o := l.org(orgID)
	o.mu.Lock()
	defer o.mu.Unlock()
	if w, ok := o.windows[windowKey{budget, start.UnixMicro()}]; ok {
		return w.held
	}
	return 0
}

// Taken is what is spent and held of a window.
func (l *Limiter) Taken(orgID, budget string, start time.Time) int64 {
	o := l.org(orgID)
	o.mu.Lock()
	defer o.mu.Unlock()
	if w, ok := o.windows[windowKey{budget, start.UnixMicro()}]; ok {
		return addUpTo(w.held, w.spent)
	}
	return 0
}
