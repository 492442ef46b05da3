package organization

import (
	"context"
	"reflect"
	"strings"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/tenant"
)

// mostBumped is how many of a plan's organisations this and other processes are told
// of, so that the next request sees the change. For the rest it counts within a
// second all the same: no key's record is used for longer.
const mostBumped = 1000

// ListPlans returns a page of the plans.
func (s *Service) ListPlans(ctx context.Context, p authz.Principal, after string, limit int) ([]Plan, error) {
	if err := p.Require(ctx, authz.DoPlansRead); err != nil {
		return nil, err
	}
	return s.Plans.Plans(ctx, after, limit)
}

// PutPlan makes or changes a plan. It counts for all its organisations, except where
// they have limits of their own.
func (s *Service) PutPlan(ctx context.Context, p authz.Principal, next Plan) (Plan, error) {
	if err := p.Require(ctx, authz.DoPlansWrite); err != nil {
		return Plan{}, err
	}
	if err := next.check(); err != nil {
		return Plan{}, err
	}
	at := s.Now()
	edit := func(was *Plan) (Plan, *audit.Record, error) {
		next.CreatedAt, next.UpdatedAt = at, at
		var before any
		if was != nil {
			next.CreatedAt, before = was.CreatedAt, was.shown()
			if reflect.DeepEqual(was.shown(), next.shown()) {
				return *was, nil, nil
			}
		}
		rec := audit.New(ctx, p, at, "plan.change", string(next.ID)).With(map[string]any{"before": before, "after": next.shown()})
		return next, &rec, nil
	}
	saved, orgs, err := s.Plans.SavePlan(ctx, next.ID, mostBumped, edit)
	if err != nil {
		return Plan{}, err
	}
	for _, org := range orgs {
		if err := s.Bump.Bump(context.WithoutCancel(ctx), org); err != nil {
			return Plan{}, err
		}
	}
	return saved, nil
}

// DeletePlan deletes a plan that no organisation has.
func (s *Service) DeletePlan(ctx context.Context, p authz.Principal, plan tenant.Plan) error {
	if err := p.Require(ctx, authz.DoPlansWrite); err != nil {
		return err
	}
	if plan == tenant.Starter || plan == tenant.SelfHosted {
		return fault.New(fault.Conflict, "every platform has the plan %q", string(plan))
	}
	return s.Plans.DeletePlan(ctx, plan, audit.New(ctx, p, s.Now(), "plan.delete", string(plan)))
}

// maxPlanID is the longest id of a plan, in bytes.
const maxPlanID = 40

func (p Plan) check() error {
	const first = "abcdefghijklmnopqrstuvwxyz0123456789"
	name := string(p.ID)
	if name == "" || len(name) > maxPlanID || !strings.Contains(first, name[:1]) || strings.Trim(name, first+"-") != "" {
		return fault.New(fault.Unprocessable, "a plan's id has 1 to %d of a-z, 0-9 and -, and begins with a letter or digit", maxPlanID).At("id")
	}
	for _, v := range []int64{p.MaxMembers, p.MaxProjects, p.MaxKeys} {
		if v < 0 || v > tenant.MaxLimit {
			return fault.New(fault.Unprocessable, "a number of members, projects or keys is between 0, which is any, and %d", int64(tenant.MaxLimit))
		}
	}
	if err := tenant.CheckName("name", p.Name); err != nil {
		return err
	}
	return p.Bounds.Check()
}
