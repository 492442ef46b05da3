package usage_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/admission"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/usage"
)

// cellar is a ledger in memory that can't book some events.
type cellar struct {
	inbox    []usage.Recorded
	booked   map[string]bool
	poison   map[string]bool
	dead     map[string]string
	batches  []int
	err      error // once; after the events were booked, where lost is set
	lost     bool
	pendings []int
}

func newCellar() *cellar {
	return &cellar{booked: map[string]bool{}, poison: map[string]bool{}, dead: map[string]string{}}
}

func (b *cellar) Pending(_ context.Context, most int) ([]usage.Recorded, error) {
	b.pendings = append(b.pendings, most)
	return slices.Clone(b.inbox[:min(most, len(b.inbox))]), nil
}

func (b *cellar) take(id string) {
	b.inbox = slices.DeleteFunc(b.inbox, func(r usage.Recorded) bool { return r.ID == id })
}

func (b *cellar) Book(_ context.Context, events []*usage.Event) (usage.Booking, error) {
	b.batches = append(b.batches, len(events))
	err := b.err
	b.err = nil
	if err != nil && !b.lost {
		return usage.Booking{}, err
	}
	for _, e := range events {
		if b.poison[e.ID] {
			return usage.Booking{}, errors.New("violates a constraint")
		}
	}
	out := usage.Booking{Windows: map[string][]admission.Spent{}}
	for _, e := range events {
		b.take(e.ID)
		if !b.booked[e.ID] {
			b.booked[e.ID] = true
			out.Fresh++
		}
		out.Windows[e.OrgID] = []admission.Spent{{Budget: "bud", Spent: int64(len(b.booked))}}
	}
	if err != nil {
		return usage.Booking{}, err
	}
	return out, nil
}

func (b *cellar) Bury(_ context.Context, events []usage.Recorded, reason string) error {
	for _, e := range events {
		b.dead[e.ID] = reason
		b.take(e.ID)
	}
	return nil
}

func (b *cellar) Fold(context.Context) (int, error) { return 0, nil }

// teller notes what the limiter is told.
type teller struct {
	told []admission.Committed
	err  error
}

func (l *teller) Commit(_ context.Context, c admission.Committed) error {
	err := l.err
	l.err = nil
	if err == nil {
		l.told = append(l.told, c)
	}
	return err
}

func (l *teller) ids() (out []string) {
	for _, c := range l.told {
		out = append(out, c.IDs...)
	}
	slices.Sort(out)
	return out
}

func event(n int) *usage.Event {
	at := time.Date(2026, 10, 12, 12, 0, 0, 0, time.UTC)
	return &usage.Event{
		ID: fmt.Sprintf("req_%04d", n), OrgID: "org", ProjectID: "p", KeyID: "k", Model: "m", AdmittedAt: at, Period: "2026-10-01",
		Outcome: usage.Complete, Currency: "USD", Holds: []usage.Held{{Budget: "bud", Start: at, End: at.Add(time.Hour), Amount: 1}},
	}
}

func (b *cellar) fill(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		r, err := event(i).Encode()
		if err != nil {
			t.Fatal(err)
		}
		b.inbox = append(b.inbox, r)
	}
}

func newConsumer(b *cellar, l *teller) *usage.Consumer {
	return &usage.Consumer{Ledger: b, Limiter: l, Log: silent(), Fatal: func(error) {}}
}

func TestTheInboxIsDrainedInBatches(t *testing.T) {
	b, l := newCellar(), &teller{}
	b.fill(t, 2500)
	n, err := newConsumer(b, l).Drain(t.Context())
	if err != nil || n != 2500 || len(b.booked) != 2500 || len(b.inbox) != 0 {
		t.Errorf("drained %d, %v; %d booked, %d left", n, err, len(b.booked), len(b.inbox))
	}
	if want := []int{1000, 1000, 500}; !reflect.DeepEqual(b.batches, want) {
		t.Errorf("batches %v; want %v", b.batches, want)
	}
	if len(l.ids()) != 2500 || l.told[2].Windows[0].Spent != 2500 || l.told[0].Org != "org" {
		t.Errorf("the limiter was told of %d", len(l.ids()))
	}
	if n, err := newConsumer(b, l).Drain(t.Context()); n != 0 || err != nil {
		t.Errorf("an empty inbox: %d, %v", n, err)
	}
}

func TestOnlyThePoisonGoesToTheDeadLetters(t *testing.T) {
	b, l := newCellar(), &teller{}
	b.fill(t, 100)
	poison := []string{"req_0000", "req_0041", "req_0042", "req_0099"}
	for _, id := range poison {
		b.poison[id] = true
	}
	b.inbox = append(b.inbox,
		usage.Recorded{OrgID: "org", ID: "garbage", Body: []byte("{")},
		usage.Recorded{OrgID: "org", ID: "another", Body: b.inbox[1].Body},
		usage.Recorded{OrgID: "foreign", ID: "req_0002", Body: b.inbox[2].Body})
	if _, err := newConsumer(b, l).Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(b.booked) != 96 || len(b.inbox) != 0 {
		t.Errorf("%d booked, %d left; want 96 and none", len(b.booked), len(b.inbox))
	}
	for _, id := range append(poison, "garbage", "another") {
		if b.dead[id] == "" {
			t.Errorf("%s is not dead, or without a reason", id)
		}
	}
	if len(l.ids()) != 96 {
		t.Errorf("the limiter was told of %d; want 96", len(l.ids()))
	}
}

func TestADatabaseThatDoesNotAnswerBuriesNothing(t *testing.T) {
	for name, err := range map[string]error{
		"down":   fault.New(fault.Unavailable, ""),
		"fenced": fault.Wrap(fault.Conflict, "book", usage.ErrFenced),
	} {
		t.Run(name, func(t *testing.T) {
			b, l := newCellar(), &teller{}
			b.fill(t, 10)
			b.err = err
			var fatal error
			c := newConsumer(b, l)
			c.Fatal = func(err error) { fatal = err }
			if _, got := c.Drain(t.Context()); !errors.Is(got, err) {
				t.Errorf("%v; want %v", got, err)
			}
			if len(b.dead) != 0 || len(b.inbox) != 10 || len(b.batches) != 1 {
				t.Errorf("%d dead, %d left, %d tries; want 0, 10 and 1", len(b.dead), len(b.inbox), len(b.batches))
			}
			if (fatal != nil) != (name == "fenced") {
				t.Errorf("fatal: %v", fatal)
			}
		})
	}
}

// A commit whose answer is lost empties the inbox all the same. The batch is tried
// again, so that the limiter is told of what is booked.
func TestABatchOfUnknownFateIsTriedAgain(t *testing.T) {
	for _, c := range []struct {
		name   string
		break_ func(b *cellar, l *teller)
	}{
		{"the database's answer is lost", func(b *cellar, _ *teller) { b.err, b.lost = fault.New(fault.Unavailable, ""), true }},
		{"the limiter's answer is lost", func(_ *cellar, l *teller) { l.err = errors.New("gone") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, l := newCellar(), &teller{}
			b.fill(t, 3)
			c.break_(b, l)
			consumer := newConsumer(b, l)
			if _, err := consumer.Drain(t.Context()); err == nil {
				t.Fatal("no error")
			}
			if len(b.inbox) != 0 || len(l.told) != 0 {
				t.Fatalf("%d in the inbox, %d told; the test's premise is that it was booked", len(b.inbox), len(l.told))
			}
			if _, err := consumer.Drain(t.Context()); err != nil {
				t.Fatal(err)
			}
			if want := []string{"req_0000", "req_0001", "req_0002"}; !reflect.DeepEqual(l.ids(), want) {
				t.Errorf("the limiter was told of %v; want %v", l.ids(), want)
			}
			tries := len(b.batches)
			if _, err := consumer.Drain(t.Context()); err != nil || len(b.batches) != tries {
				t.Errorf("%v, and the batch was tried a third time", err)
			}
		})
	}
}

func TestTheLimiterIsToldOfDuplicatesToo(t *testing.T) {
	b, l := newCellar(), &teller{}
	r, err := event(1).Encode()
	if err != nil {
		t.Fatal(err)
	}
	c := newConsumer(b, l)
	for range 2 {
		if err := c.Take(t.Context(), []usage.Recorded{r}); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"req_0001", "req_0001"}; !reflect.DeepEqual(l.ids(), want) {
		t.Errorf("told %v; want %v", l.ids(), want)
	}
}

// What was not held has no entry to drop; what is spent of its budgets is told all
// the same.
func TestTheLimiterIsToldWhatWasSpentWithoutAHold(t *testing.T) {
	b, l := newCellar(), &teller{}
	free := event(1)
	free.Holds = nil
	r, err := free.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := newConsumer(b, l).Take(t.Context(), []usage.Recorded{r}); err != nil {
		t.Fatal(err)
	}
	if len(l.told) != 1 || len(l.told[0].IDs) != 0 || l.told[0].Windows[0].Spent != 1 {
		t.Errorf("told %+v; want the window, and no entry", l.told)
	}
}

func TestWhereLimitsLiveElsewhereNobodyIsTold(t *testing.T) {
	b := newCellar()
	c := newConsumer(b, nil)
	c.Limiter = nil
	b.fill(t, 1)
	if n, err := c.Drain(t.Context()); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}
