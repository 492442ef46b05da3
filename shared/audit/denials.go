package audit

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aiaas/aiaas/shared/id"
)

// The actions of refusals.
const (
	ActionDeny     = "access.deny" // somebody known may not do it
	ActionAuthFail = "auth.fail"   // a known credential that may not be used
)

// Denial is a refusal. Its organisation and actor are those of a credential that is
// known: what nobody sent belongs to nobody's audit.
type Denial struct {
	OrgID     string
	Actor     string
	Action    string // ActionDeny or ActionAuthFail
	Code      string // why: the right that is missing, or the error's code
	Target    string // what was asked for
	Address   string // where it came from
	RequestID string
	At        time.Time
}

// DenialSink writes the records of denials. One that is there already stays as it is.
type DenialSink interface {
	WriteDenials(ctx context.Context, records []Record) error
}

// The bounds of what is kept of denials.
const (
	denialKinds  = 10_000 // kinds within a minute; more are counted and told to the operator
	denialsKept  = 10_000 // records that wait for the sink
	denialNames  = 10     // addresses and targets that a record names
	denialText   = 300    // bytes of a text
	denialsEvery = time.Second
	denialsLimit = 5 * time.Second // a sink may take so long
	denialsOver  = time.Minute     // that long alike ones are summed up
)

// Denials sums up refusals: of each kind within a minute there are at most two
// records, one soon after the first and one for all that follow, so that a storm
// neither hides nor floods the audit. Memory is bounded, and Note never waits.
type Denials struct {
	sink DenialSink
	log  *slog.Logger
	now  func() time.Time
	stop chan struct{}
	done chan struct{}

	mu      sync.Mutex
	kinds   map[denialKind]*denied
	pending []Record
	lost    int64
}

// denialKind is what makes denials alike.
type denialKind struct {
	org, actor, action, code string
	minute                   int64
}

// denied is what is summed up and not yet in a record.
type denied struct {
	first, last        Denial
	count              int64
	addresses, targets []string
	told               bool // the first record was made
}

// NewDenials starts to sum up. Close ends it.
func NewDenials(ctx context.Context, sink DenialSink, now func() time.Time, log *slog.Logger) *Denials {
	d := &Denials{sink: sink, log: log, now: now, stop: make(chan struct{}), done: make(chan struct{}), kinds: map[denialKind]*denied{}}
	go d.run(context.WithoutCancel(ctx)) // it outlives the call that starts it
	return d
}

// Note takes a refusal. A nil Denials takes none.
func (d *Denials) Note(n Denial) {
	if d == nil || n.OrgID == "" || n.Actor == "" {
		return
	}
	for _, text := range []*string{&n.Code, &n.Target, &n.Address} {
		*text = fit(*text)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	k := denialKind{org: n.OrgID, actor: n.Actor, action: n.Action, code: n.Code, minute: n.At.Unix() / int64(denialsOver/time.Second)}
	of := d.kinds[k]
	if of == nil {
		if len(d.kinds) >= denialKinds {
			d.lost++
			return
		}
		of = &denied{}
		d.kinds[k] = of
	}
	if of.count == 0 {
		of.first, of.addresses, of.targets = n, nil, nil
	}
	of.last = n
	of.count++
	of.addresses, of.targets = named(of.addresses, n.Address), named(of.targets, n.Target)
}

// named adds a name to the few that are kept.
func named(list []string, name string) []string {
	if name == "" || len(list) >= denialNames || slices.Contains(list, name) {
		return list
	}
	return append(list, name)
}

// fit makes a text fit to be kept: valid, without control characters, bounded.
func fit(s string) string {
	if len(s) > denialText {
		s = strings.Clone(s[:denialText]) // what is kept must not keep the whole
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, ""))
}

func (n *denied) record() Record {
	r := Record{
		OrgID: n.first.OrgID, ID: id.New(id.Audit), At: n.first.At, Actor: n.first.Actor, Action: n.first.Action, Target: n.first.Target,
		RequestID: n.first.RequestID, Outcome: Denied,
		Detail: map[string]any{"code": n.first.Code, "count": n.count, "first": timeText(n.first.At), "last": timeText(n.last.At)},
	}
	if len(n.addresses) == 1 {
		r.Address = n.addresses[0]
	}
	if len(n.addresses) > 1 {
		r.Detail["addresses"] = n.addresses
	}
	if len(n.targets) > 1 {
		r.Detail["targets"] = n.targets
	}
	return r
}

func (d *Denials) run(ctx context.Context) {
	defer close(d.done)
	tick := time.NewTicker(denialsEvery)
	defer tick.Stop()
	for {
		select {
		case <-d.stop:
			return
		case <-tick.C:
			if err := d.Flush(ctx); err != nil {
				d.log.WarnContext(ctx, "record denials", "error", err)
			}
		}
	}
}

// Flush writes what is due: the first of each kind, and the sums of minutes that
// are over. What can't be written is kept, within bounds. It is the background's.
func (d *Denials) Flush(ctx context.Context) error {
	return d.flush(ctx, func(k denialKind, now int64) bool { return k.minute < now })
}

// Close writes what there is, and ends.
func (d *Denials) Close(ctx context.Context) error {
	close(d.stop)
	<-d.done
	return d.flush(ctx, func(denialKind, int64) bool { return true })
}

func (d *Denials) flush(ctx context.Context, over func(k denialKind, now int64) bool) error {
	records, lost := d.due(over)
	if lost > 0 {
		d.log.WarnContext(ctx, "denials were not recorded: there are too many", "denials", lost)
	}
	if len(records) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, denialsLimit)
	defer cancel()
	if err := d.sink.WriteDenials(ctx, records); err != nil {
		d.keep(records)
		return fmt.Errorf("write %d denials: %w", len(records), err)
	}
	return nil
}

// due makes the records that are to be written.
func (d *Denials) due(over func(k denialKind, now int64) bool) (records []Record, lost int64) {
	now := d.now().Unix() / int64(denialsOver/time.Second)
	d.mu.Lock()
	defer d.mu.Unlock()
	for k, n := range d.kinds {
		ended := over(k, now)
		if n.count > 0 && (ended || !n.told) {
			d.pending = append(d.pending, n.record())
			n.count, n.told = 0, true
		}
		if ended {
			delete(d.kinds, k)
		}
	}
	records, lost = d.pending, d.lost
	d.pending, d.lost = nil, 0
	return records, lost
}

// keep takes records back for the next try.
func (d *Denials) keep(records []Record) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pending = append(records, d.pending...)
	if over := len(d.pending) - denialsKept; over > 0 {
		d.lost += int64(over)
		d.pending = d.pending[over:]
	}
}
