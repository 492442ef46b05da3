package signin

import (
	"context"
	"errors"
	"maps"

	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/session"
	"github.com/aiaas/aiaas/shared/signin"
	"github.com/aiaas/aiaas/shared/throttle"
)

// Chores are what the function's jobs do.
type Chores struct {
	Links    *signin.Links
	Throttle *throttle.Throttle
	Sessions *session.Manager
	Factors  function.Job // forgets enrolments that nobody went on with
	SSO      function.Job // forgets sign-ins that nobody came back from an issuer of
}

// Jobs are the function's jobs.
func Jobs(c Chores) map[string]function.Job {
	return map[string]function.Job{
		JobResetMails: c.Links.Send,
		JobPrune: func(ctx context.Context) (function.Counts, error) {
			return all(ctx, c.Links.Prune, c.Throttle.Prune, c.Sessions.Prune, c.Factors, c.SSO)
		},
	}
}

// all does every one of some jobs, also where another fails.
func all(ctx context.Context, jobs ...function.Job) (function.Counts, error) {
	counts := function.Counts{}
	var errs []error
	for _, do := range jobs {
		n, err := do(ctx)
		maps.Copy(counts, n)
		errs = append(errs, err)
	}
	if len(counts) == 0 {
		return nil, errors.Join(errs...)
	}
	return counts, errors.Join(errs...)
}
