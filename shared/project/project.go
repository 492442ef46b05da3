// Package project holds the projects of an organisation, and who works in them: the
// team. Usage, keys and budgets belong to projects; what a member may do in one
// comes from his role there, beside that in the organisation.
//
// An archived project keeps everything and does nothing: its keys are refused until
// it is restored. One project always stays active, for keys must belong to one.
package project

import (
	"context"
	"slices"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/naming"
	"github.com/aiaas/aiaas/shared/tenant"
)

// Project is a project of an organisation.
type Project struct {
	OrgID       string
	ID          string
	Name        string
	Description string
	Limits      tenant.Limits
	Models      []string // the only ones that it may use; nil: all of the organisation's
	ArchivedAt  time.Time
	CreatedAt   time.Time
	UpdatedAt   time.Time // zero: never
}

// Ref names a project.
type Ref struct{ OrgID, ID string }

// Standing is what a change is decided on: as it is, under a lock of the
// organisation.
type Standing struct {
	Project    Project
	Active     int // projects that are not archived, this one included
	MostActive int // that the plan allows; 0: any number
	Keys       int // of the project that are not revoked: they stop with it
}

// Store keeps projects. Every method works within one organisation: what belongs to
// another is NotFound. Changes hold its lock, and are one transaction with their
// audit records.
type Store interface {
	// Create adds a project that check lets in; its Standing is without a project.
	Create(ctx context.Context, p Project, rec audit.Record, check func(Standing) error) error
	List(ctx context.Context, org string, q Query) ([]Project, error)
	Get(ctx context.Context, r Ref) (Project, error)
	// Change sets what edit makes of a project; a nil record: nothing has changed.
	Change(ctx context.Context, r Ref, edit func(Standing) (Project, *audit.Record, error)) (Project, error)
}

// Query asks for a part of a list: of the projects within reach.
type Query struct {
	authz.Reach

	After string // the id of the last one seen; "" from the start
	Limit int
}

// Bumper moves an organisation's configuration version on, after a change and
// before its answer, so that no process serves the old state.
type Bumper interface {
	Bump(ctx context.Context, org string) error
}

// Service keeps projects.
type Service struct {
	Store Store
	Bump  Bumper
	Now   func() time.Time
}

// ErrNone is the answer to an id that is no project's, or one of another
// organisation.
func ErrNone() *fault.Error { return fault.New(fault.NotFound, "there is no such project") }

// New is what a project is made from.
type New struct {
	Name        string
	Description string
	Limits      tenant.Limits
	Models      []string
}

func (n *New) check() error {
	if err := naming.Name("name", n.Name); err != nil {
		return err
	}
	if err := naming.Line("description", n.Description, naming.LongestDescription); err != nil {
		return err
	}
	for _, v := range []int64{n.Limits.RequestsPerMinute, n.Limits.TokensPerMinute, n.Limits.ConcurrentRequests} {
		if v < 0 {
			return fault.New(fault.Unprocessable, "a limit is at least 1; null is none").At("limits")
		}
	}
	return checkModels(n.Models)
}

const (
	maxModels  = 200 // that a project can be restricted to
	maxModelID = 200 // bytes
)

func checkModels(models []string) error {
	if models != nil && len(models) == 0 || len(models) > maxModels {
		return fault.New(fault.Unprocessable, "a project names between 1 and %d models, or may use all", maxModels).At("models")
	}
	for _, m := range models {
		if m == "" || len(m) > maxModelID || naming.Line("models", m, maxModelID) != nil {
			return fault.New(fault.Unprocessable, "that is no id of a model").At("models")
		}
	}
	return nil
}

// Create makes a project.
func (s *Service) Create(ctx context.Context, p authz.Principal, n New) (Project, error) {
	if err := p.Require(ctx, authz.DoProjectsWrite); err != nil {
		return Project{}, err
	}
	if err := n.check(); err != nil {
		return Project{}, err
	}
	made := Project{
		OrgID: p.OrgID, ID: id.New(id.Project), Name: n.Name, Description: n.Description, Limits: n.Limits, Models: n.Models, CreatedAt: s.Now(),
	}
	rec := audit.New(ctx, p, made.CreatedAt, "project.create", made.ID).With(made.settings())
	if err := s.Store.Create(ctx, made, rec, Standing.hasRoom); err != nil {
		return Project{}, err
	}
	return made, s.bump(ctx, p)
}

func (s *Service) bump(ctx context.Context, p authz.Principal) error {
	return s.Bump.Bump(context.WithoutCancel(ctx), p.OrgID) // it is done: who asked for it may have left
}

// hasRoom refuses one more active project than the plan allows.
func (st Standing) hasRoom() error {
	if st.MostActive > 0 && st.Active >= st.MostActive {
		return fault.New(fault.Conflict, "the plan of the organization allows %d active projects; archive one, or ask for another plan", st.MostActive).
			With("limit", st.MostActive)
	}
	return nil
}

// settings are what of a project can be changed, as they are audited.
func (p *Project) settings() map[string]any {
	return map[string]any{
		"name": p.Name, "description": p.Description, "models": p.Models, "requests_per_minute": p.Limits.RequestsPerMinute,
		"tokens_per_minute": p.Limits.TokensPerMinute, "concurrent_requests": p.Limits.ConcurrentRequests,
	}
}

// List returns a page of the projects that the principal may see, the oldest first.
func (s *Service) List(ctx context.Context, p authz.Principal, after string, limit int) ([]Project, error) {
	reach, err := p.Reach(ctx, authz.DoProjectsRead)
	if err != nil {
		return nil, err
	}
	return s.Store.List(ctx, p.OrgID, Query{Reach: reach, After: after, Limit: limit})
}

// Get returns one project that the principal may see.
func (s *Service) Get(ctx context.Context, p authz.Principal, projectID string) (Project, error) {
	if err := within(ctx, p, authz.DoProjectsRead, projectID); err != nil {
		return Project{}, err
	}
	return s.Store.Get(ctx, Ref{p.OrgID, projectID})
}

// within returns nil where the action reaches the project.
func within(ctx context.Context, p authz.Principal, a authz.Action, projectID string) error {
	err := p.RequireOn(ctx, a, authz.Resource{ProjectID: projectID})
	if fault.Is(err, fault.NotFound) {
		return ErrNone()
	}
	return err
}

// Patch is what of a project is to be changed; what is nil stays.
type Patch struct {
	Name        *string
	Description *string
	Limits      LimitsPatch
	Models      *[]string // nil in it: all of the organisation's
}

// LimitsPatch is what of a project's limits is to be changed; 0 is none.
type LimitsPatch struct {
	RequestsPerMinute  *int64
	TokensPerMinute    *int64
	ConcurrentRequests *int64
}

func (c LimitsPatch) apply(l tenant.Limits) tenant.Limits {
	for _, m := range []struct{ from, to *int64 }{
		{c.RequestsPerMinute, &l.RequestsPerMinute}, {c.TokensPerMinute, &l.TokensPerMinute}, {c.ConcurrentRequests, &l.ConcurrentRequests},
	} {
		if m.from != nil {
			*m.to = *m.from
		}
	}
	return l
}

func (c Patch) apply(p Project) (Project, error) {
	if c.Name != nil {
		p.Name = *c.Name
	}
	if c.Description != nil {
		p.Description = *c.Description
	}
	if c.Models != nil {
		p.Models = *c.Models
	}
	p.Limits = c.Limits.apply(p.Limits)
	n := New{Name: p.Name, Description: p.Description, Limits: p.Limits, Models: p.Models}
	return p, n.check()
}

// Change changes a project. Its limits and models bind every request from the
// answer on, everywhere within a second.
func (s *Service) Change(ctx context.Context, p authz.Principal, projectID string, c Patch) (Project, error) {
	return s.edit(ctx, p, projectID, func(st Standing) (Project, *audit.Record, error) {
		before := st.Project
		next, err := c.apply(before)
		if err != nil || before.same(next) {
			return next, nil, err
		}
		next.UpdatedAt = s.Now()
		detail := map[string]any{"before": before.settings(), "after": next.settings(), "name": next.Name, "changed": before.changed(next)}
		rec := audit.New(ctx, p, next.UpdatedAt, "project.change", projectID).With(detail)
		return next, &rec, nil
	})
}

func (p *Project) same(q Project) bool { return len(p.changed(q)) == 0 }

// changed names what differs.
func (p *Project) changed(q Project) []string {
	names := []string{}
	for _, c := range []struct {
		name string
		same bool
	}{
		{"name", p.Name == q.Name},
		{"description", p.Description == q.Description},
		{"limits", p.Limits == q.Limits},
		{"models", (p.Models == nil) == (q.Models == nil) && slices.Equal(p.Models, q.Models)},
	} {
		if !c.same {
			names = append(names, c.name)
		}
	}
	return names
}

// Archive takes a project out of use: its keys are refused from the answer on,
// everywhere within a second. Nothing of it is lost. It is fine to do so twice.
func (s *Service) Archive(ctx context.Context, p authz.Principal, projectID string) (Project, error) {
	return s.edit(ctx, p, projectID, func(st Standing) (Project, *audit.Record, error) {
		next := st.Project
		switch {
		case !next.ArchivedAt.IsZero():
			return next, nil, nil
		case st.Active <= 1:
			return next, nil, fault.New(fault.Conflict, "this is the last active project; make another first").With("reason", "last_project")
		}
		next.ArchivedAt, next.UpdatedAt = s.Now(), s.Now()
		rec := audit.New(ctx, p, next.ArchivedAt, "project.archive", projectID).With(map[string]any{"name": next.Name, "keys": st.Keys})
		return next, &rec, nil
	})
}

// Restore brings an archived project back, with the keys that it had.
func (s *Service) Restore(ctx context.Context, p authz.Principal, projectID string) (Project, error) {
	return s.edit(ctx, p, projectID, func(st Standing) (Project, *audit.Record, error) {
		next := st.Project
		if next.ArchivedAt.IsZero() {
			return next, nil, nil
		}
		if err := st.hasRoom(); err != nil {
			return next, nil, err
		}
		next.ArchivedAt, next.UpdatedAt = time.Time{}, s.Now()
		rec := audit.New(ctx, p, next.UpdatedAt, "project.restore", projectID).With(map[string]any{"name": next.Name})
		return next, &rec, nil
	})
}

func (s *Service) edit(ctx context.Context, p authz.Principal, projectID string, change func(Standing) (Project, *audit.Record, error)) (Project, error) {
	if err := within(ctx, p, authz.DoProjectsWrite, projectID); err != nil {
		return Project{}, err
	}
	done, err := s.Store.Change(ctx, Ref{p.OrgID, projectID}, change)
	if err != nil {
		return Project{}, err
	}
	return done, s.bump(ctx, p)
}
