package admission

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/aiaas/aiaas/shared/fault"
)

// ErrStale tells the caller to reload what it knows of the organisation and to
// ask again.
var ErrStale = errors.New("configuration has moved on")

// Service admits requests: it asks the limiter, and where a budget is short the
// granter for more.
type Service struct {
	limiter Limiter
	granter Granter
	denials *Denials // may be nil
	asking  sync.Map // org → *sync.Mutex: one question at a time for each
}

// NewService makes a service.
func NewService(l Limiter, g Granter) *Service { return &Service{limiter: l, granter: g} }

// Tell lets denials for want of budget be told of.
func (s *Service) Tell(d *Denials) { s.denials = d }

// Admit admits a request or says why not: RateLimited, BudgetExceeded,
// Unavailable, or ErrStale. The verdict has the state of the limits either way.
func (s *Service) Admit(ctx context.Context, r *Request) (Verdict, error) {
	v, err := s.limiter.Admit(ctx, r)
	if err == nil && v.Outcome == Short && v.Ask {
		v, err = s.grant(ctx, r)
	}
	if err != nil {
		return Verdict{}, unavailable("admit", err)
	}
	switch v.Outcome {
	case Admitted:
		return v, nil
	case Stale:
		return v, ErrStale
	case Limited:
		return v, limited(v)
	default:
		s.denials.add(r.Org, r.At, v.Lacks)
		return v, fault.New(fault.BudgetExceeded, "budget %s does not leave room for this request", v.Budget).With("budget", v.Budget)
	}
}

// grant asks for more, one question an organisation at a time: who waited finds
// what the one before was given.
func (s *Service) grant(ctx context.Context, r *Request) (Verdict, error) {
	m, _ := s.asking.LoadOrStore(r.Org, &sync.Mutex{})
	mu, _ := m.(*sync.Mutex)
	mu.Lock()
	defer mu.Unlock()
	for {
		v, err := s.limiter.Admit(ctx, r)
		if err != nil || v.Outcome != Short || !v.Ask {
			return v, err
		}
		// Others who were not short may take what is granted here; each turn hands
		// out more until the limit is reached, so the loop ends.
		grants, err := s.granter.Grant(ctx, r.Org, v.Lacks)
		if err != nil {
			return Verdict{}, err
		}
		if len(grants) < len(v.Lacks) { // a budget that blocks no more: the caller's view is old
			return Verdict{Outcome: Stale}, nil
		}
		if err := s.limiter.Credit(ctx, r.Org, r.At, grants); err != nil {
			return Verdict{}, err
		}
	}
}

// Finish settles a request: its hold becomes final.
func (s *Service) Finish(ctx context.Context, f Final) error { return s.limiter.Finish(ctx, f) }

// Release undoes an admission that came to nothing.
func (s *Service) Release(ctx context.Context, org, id string) error {
	return s.limiter.Release(ctx, org, id)
}

// Rates is the state of rate limits without a request.
func (s *Service) Rates(ctx context.Context, org string, at time.Time, subjects []Subject) (Verdict, error) {
	return s.limiter.Rates(ctx, org, at, subjects)
}

// Check is RateLimited where a request would be, by what is known without it. It
// takes nothing.
func (s *Service) Check(ctx context.Context, org string, at time.Time, subjects []Subject) error {
	v, err := s.limiter.Rates(ctx, org, at, subjects)
	switch {
	case err != nil:
		return unavailable("check limits", err)
	case v.Outcome == Limited:
		return limited(v)
	}
	return nil
}

func limited(v Verdict) error {
	f := fault.New(fault.RateLimited, "the %s's limit of %s is reached", v.Subject.Kind, metricText(v)).
		With("limit", map[string]any{"metric": v.Metric, "scope": v.Subject.Kind, "id": v.Subject.ID, "value": limitOf(v)})
	// Where only the end of another request helps, a second is the honest guess.
	return f.After(max(v.RetryAfter, time.Second))
}

func metricText(v Verdict) string {
	n := strconv.FormatInt(limitOf(v), 10)
	switch v.Metric {
	case RequestsPerMinute:
		return n + " requests a minute"
	case TokensPerMinute:
		return n + " tokens a minute"
	default:
		return n + " concurrent requests"
	}
}

func limitOf(v Verdict) int64 {
	switch v.Metric {
	case RequestsPerMinute:
		return v.Subject.Limits.RequestsPerMinute
	case TokensPerMinute:
		return v.Subject.Limits.TokensPerMinute
	default:
		return v.Subject.Limits.ConcurrentRequests
	}
}

func unavailable(attempted string, err error) error {
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	return fault.Wrap(fault.Unavailable, attempted, err).After(time.Second)
}
