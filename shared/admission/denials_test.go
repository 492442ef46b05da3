package admission_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/admission"
	"github.com/aiaas/aiaas/shared/fault"
)

// ear hears of exhausted budgets; it answers what comes next of its answers.
type ear struct {
	heard   chan string
	answers chan error // nil: told
}

var errNotYet = errors.New("not yet")

func (e *ear) Exhausted(_ context.Context, org, budget string, start time.Time) (bool, error) {
	err := <-e.answers
	e.heard <- org + " " + budget + " " + start.Format(time.DateOnly)
	if errors.Is(err, errNotYet) {
		return false, nil
	}
	return err == nil, err
}

// deny has a request denied that lacks so much of a budget.
func deny(t *testing.T, s *admission.Service, budget string, at time.Time) {
	t.Helper()
	start := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	r := &admission.Request{ID: "r", Org: "org_1", At: at, Holds: []admission.Hold{{Budget: budget, Start: start, End: start.AddDate(0, 1, 0), Amount: 100}}}
	if _, err := s.Admit(t.Context(), r); !fault.Is(err, fault.BudgetExceeded) {
		t.Fatalf("Admit = %v; want it denied", err)
	}
}

func TestADenialIsToldOnceAndHoldsNobodyUp(t *testing.T) {
	to := &ear{heard: make(chan string, 8), answers: make(chan error)}
	denials := admission.NewDenials(t.Context(), to, slog.New(slog.DiscardHandler))
	s := admission.NewService(newPurse(), newBank(map[string]int64{"a": 10, "b": 10, "c": 10, "d": 10, "e": 10}, 10))
	s.Tell(denials)
	at := time.Date(2026, 10, 12, 9, 0, 0, 0, time.UTC)
	hear := func(answer error, want string) {
		t.Helper()
		to.answers <- answer
		if got := <-to.heard; got != want {
			t.Errorf("told of %s; want %s", got, want)
		}
	}
	deny(t, s, "a", at) // it returns although nobody has heard of it yet
	deny(t, s, "a", at)
	hear(errNotYet, "org_1 a 2026-10-01")
	deny(t, s, "a", at.Add(9*time.Second)) // too early to tell again
	deny(t, s, "b", at.Add(9*time.Second))
	hear(nil, "org_1 b 2026-10-01")
	deny(t, s, "a", at.Add(10*time.Second))
	hear(errors.New("the database is down"), "org_1 a 2026-10-01")
	deny(t, s, "a", at.Add(20*time.Second))
	hear(nil, "org_1 a 2026-10-01")
	deny(t, s, "c", at)
	hear(nil, "org_1 c 2026-10-01") // and so the answer before it has been heeded
	for n := range 3 {              // that was it
		deny(t, s, "a", at.Add(time.Duration(n+1)*time.Hour))
		deny(t, s, "b", at.Add(time.Duration(n+1)*time.Hour))
	}
	deny(t, s, "d", at)
	hear(nil, "org_1 d 2026-10-01")
	if err := denials.Close(t.Context()); err != nil {
		t.Error(err)
	}
	deny(t, s, "e", at) // after the end nobody is told, and nobody waits
}
