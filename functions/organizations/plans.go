package organizations

import (
	"context"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/organization"
	"github.com/aiaas/aiaas/shared/rest"
	"github.com/aiaas/aiaas/shared/tenant"
)

// NewPlan is the body that creates or changes a plan: all of it.
type NewPlan struct {
	Name        string     `json:"name" minLength:"1" maxLength:"200"`
	Limits      PlanLimits `json:"limits"`
	MaxMembers  int64      `json:"max_members" minimum:"0" doc:"0: any number."`
	MaxProjects int64      `json:"max_projects" minimum:"0" doc:"0: any number."`
	MaxKeys     int64      `json:"max_keys" minimum:"0" doc:"That work; 0: any number."`
}

// Plan is a named set of limits.
type Plan struct {
	ID string `json:"id"`
	NewPlan
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

func showPlan(p organization.Plan) Plan {
	return Plan{
		ID: string(p.ID),
		NewPlan: NewPlan{
			Name: p.Name, Limits: showBounds(p.Bounds), MaxMembers: p.MaxMembers, MaxProjects: p.MaxProjects, MaxKeys: p.MaxKeys,
		},
		CreatedAt: stored(p.CreatedAt), UpdatedAt: stored(p.UpdatedAt),
	}
}

type plansInput struct{ rest.Paging }

type plansOutput struct{ Body rest.List[Plan] }

func (h *handlers) plans(ctx context.Context, p authz.Principal, in *plansInput) (*plansOutput, error) {
	after, err := in.AfterName()
	if err != nil {
		return nil, err
	}
	found, err := h.svc.ListPlans(ctx, p, after, in.Fetch())
	if err != nil {
		return nil, err
	}
	return &plansOutput{Body: rest.Page(in.Paging, found, func(p organization.Plan) string { return string(p.ID) }, showPlan)}, nil
}

type putPlanInput struct {
	ID   string `path:"id" maxLength:"40"`
	Body NewPlan
}

type planOutput struct{ Body Plan }

func (h *handlers) putPlan(ctx context.Context, p authz.Principal, in *putPlanInput) (*planOutput, error) {
	b := in.Body
	saved, err := h.svc.PutPlan(ctx, p, organization.Plan{
		ID: tenant.Plan(in.ID), Name: b.Name, Bounds: b.Limits.read(), MaxMembers: b.MaxMembers, MaxProjects: b.MaxProjects, MaxKeys: b.MaxKeys,
	})
	if err != nil {
		return nil, err
	}
	return &planOutput{Body: showPlan(saved)}, nil
}

type planIDInput struct {
	ID string `path:"id" maxLength:"40"`
}

func (h *handlers) deletePlan(ctx context.Context, p authz.Principal, in *planIDInput) (*noOutput, error) {
	return &noOutput{}, h.svc.DeletePlan(ctx, p, tenant.Plan(in.ID))
}
