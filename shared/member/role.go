package member

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/naming"
)

// Role is a role that somebody in an organisation can have.
type Role struct {
	OrgID       string
	ID          string // "role_…"; of a built-in one its name
	Name        string
	Description string
	BuiltIn     bool
	Permissions map[authz.Action]authz.Width
	Reach       authz.Width // of one that the organisation made: that of all its permissions
	Members     int         // who have it, people and programs
	CreatedBy   string
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// NewRole is what a role is made from.
type NewRole struct {
	Name        string
	Description string
	Permissions []authz.Action
	Reach       authz.Width
}

func (n *NewRole) check() error {
	if err := naming.Name("name", n.Name); err != nil {
		return err
	}
	if err := naming.Line("description", n.Description, naming.LongestDescription); err != nil {
		return err
	}
	if builtIn(authz.Role(n.Name)) || n.Name == string(authz.Custom) {
		return fault.New(fault.Conflict, "a built-in role has that name").At("name")
	}
	return checkPermissions(n.Permissions, n.Reach)
}

// checkPermissions refuses rights that no role can hold but a built-in one.
func checkPermissions(list []authz.Action, reach authz.Width) error {
	switch {
	case reach != authz.Organization && reach != authz.Projects && reach != authz.Own:
		return fault.New(fault.Unprocessable, "the reach is \"organization\", \"projects\" or \"own\"").At("reach")
	case len(list) == 0:
		return fault.New(fault.Unprocessable, "a role has at least one permission").At("permissions")
	}
	all := authz.Permissions(authz.Subject{Role: authz.Custom, Custom: authz.CustomRole{Permissions: list, Reach: authz.Organization}})
	for _, a := range list {
		switch {
		case !slices.Contains(authz.Actions(), a):
			return fault.New(fault.Unprocessable, "there is no permission %q", clip(string(a))).At("permissions")
		case all[a] != authz.Organization:
			return fault.New(fault.Unprocessable, "%q is of built-in roles only", string(a)).At("permissions")
		}
	}
	return checkReach(list, reach)
}

// checkReach refuses rights that are of the whole organisation or of nothing: what a
// narrow reach seems to give of them, it would not.
func checkReach(list []authz.Action, reach authz.Width) error {
	if reach == authz.Organization {
		return nil
	}
	var wide []string
	for _, a := range tidy(list) {
		if !authz.Narrowable(a) {
			wide = append(wide, string(a))
		}
	}
	if len(wide) == 0 {
		return nil
	}
	return fault.New(fault.Unprocessable, "with the reach %q a role has no right to what belongs to the whole organization: %s", string(reach), strings.Join(wide, ", ")).
		At("permissions").With("permissions", wide)
}

// tidy sorts permissions and has each once.
func tidy(list []authz.Action) []authz.Action {
	out := slices.Clone(list)
	slices.Sort(out)
	return slices.Compact(out)
}

// Made is a role as it is stored.
type Made struct {
	OrgID       string
	ID          string
	Name        string
	Description string
	Permissions []authz.Action
	Reach       authz.Width
	CreatedBy   string
	CreatedAt   time.Time
	UpdatedAt   time.Time
	Members     int            // who have it
	Mine        bool           // whoever asks has it himself
	Known       []apikey.Known // secrets of the keys of those who have it, that others have seen; read for a change only
}

// show is the role with the reach of each of its permissions.
func (m Made) show() Role {
	r := Role{
		OrgID: m.OrgID, ID: m.ID, Name: m.Name, Description: m.Description, Permissions: map[authz.Action]authz.Width{}, Reach: m.Reach,
		Members: m.Members, CreatedBy: m.CreatedBy, CreatedAt: m.CreatedAt, UpdatedAt: m.UpdatedAt,
	}
	for _, a := range m.Permissions {
		r.Permissions[a] = m.Reach
	}
	return r
}

// RoleStore keeps the roles that organisations made. Every method works within one
// organisation. Changes hold its lock, and are one transaction with their records.
type RoleStore interface {
	// CreateRole adds a role. Conflict: one has that name, or there are too many.
	CreateRole(ctx context.Context, m Made, rec audit.Record) error
	// ListRoles returns all of them, the oldest first, and how many have which role,
	// the built-in ones included.
	ListRoles(ctx context.Context, org string) ([]Made, map[string]int, error)
	// ChangeRole sets what edit makes of a role; a nil record: nothing has changed.
	ChangeRole(ctx context.Context, r RoleRef, edit func(Made) (Made, *audit.Record, error)) (Made, error)
	// DeleteRole removes a role that check lets go.
	DeleteRole(ctx context.Context, r RoleRef, check func(Made) (audit.Record, error)) error
}

// RoleRef names a role, and who asks for it.
type RoleRef struct {
	OrgID   string
	ID      string
	ActorID string // a member or service account
}

// Roles keeps the roles that an organisation makes of the rights there are.
type Roles struct {
	Store RoleStore
	Bump  Bumper
	Now   func() time.Time
}

// List returns the built-in roles, the highest first, and then the organisation's
// own, the oldest first.
func (s *Roles) List(ctx context.Context, p authz.Principal) ([]Role, error) {
	if err := p.Require(ctx, authz.DoRolesRead); err != nil {
		return nil, err
	}
	made, held, err := s.Store.ListRoles(ctx, p.OrgID)
	if err != nil {
		return nil, err
	}
	names := authz.OrganizationRoles()
	if p.Role.OfPlatform() {
		names = authz.PlatformRoles()
	}
	list := make([]Role, 0, len(names)+len(made))
	for _, r := range names {
		list = append(list, Role{
			OrgID: p.OrgID, ID: string(r), Name: string(r), BuiltIn: true, Members: held[string(r)],
			Permissions: authz.Permissions(authz.Subject{Role: r}),
		})
	}
	for _, m := range made {
		m.Members = held[m.ID]
		list = append(list, m.show())
	}
	return list, nil
}

// Get returns one role of [Roles.List].
func (s *Roles) Get(ctx context.Context, p authz.Principal, roleID string) (Role, error) {
	list, err := s.List(ctx, p)
	if err != nil {
		return Role{}, err
	}
	for _, r := range list {
		if r.ID == roleID {
			return r, nil
		}
	}
	return Role{}, ErrNoRole()
}

// ErrNoRole is the answer to an id that is no role's, or one of another
// organisation.
func ErrNoRole() *fault.Error { return fault.New(fault.NotFound, "there is no such role") }

// Create makes a role of rights that its creator has everywhere.
func (s *Roles) Create(ctx context.Context, p authz.Principal, n NewRole) (Role, error) {
	if err := p.Require(ctx, authz.DoRolesWrite); err != nil {
		return Role{}, err
	}
	if p.Role.OfPlatform() {
		return Role{}, fault.New(fault.Unprocessable, "the platform's own organization has the roles of the platform only")
	}
	if err := n.check(); err != nil {
		return Role{}, err
	}
	if err := covers(p, n.Permissions); err != nil {
		return Role{}, err
	}
	now := s.Now()
	m := Made{
		OrgID: p.OrgID, ID: id.New(id.Role), Name: n.Name, Description: n.Description, Permissions: tidy(n.Permissions), Reach: n.Reach,
		CreatedBy: p.Actor(), CreatedAt: now, UpdatedAt: now,
	}
	if err := s.Store.CreateRole(ctx, m, audit.New(ctx, p, now, "role.create", m.ID).With(m.detail())); err != nil {
		return Role{}, err
	}
	return m.show(), nil
}

// detail is the role as it is audited.
func (m Made) detail() map[string]any {
	return map[string]any{"name": m.Name, "permissions": m.Permissions, "reach": m.Reach}
}

// covers refuses rights that the principal does not have in the whole organisation.
func covers(p authz.Principal, list []authz.Action) error {
	have := authz.Permissions(p.Subject())
	for _, a := range list {
		if have[a] != authz.Organization {
			return fault.New(fault.Forbidden, "a role has no right that its maker lacks: you do not have %q everywhere", string(a)).
				At("permissions").With("permission", string(a))
		}
	}
	return nil
}

// RolePatch is what of a role is to be changed; what is nil stays.
type RolePatch struct {
	Name        *string
	Description *string
	Permissions []authz.Action
	Reach       *authz.Width
}

func (c RolePatch) apply(m Made) (Made, error) {
	if c.Name != nil {
		m.Name = *c.Name
	}
	if c.Description != nil {
		m.Description = *c.Description
	}
	if c.Permissions != nil {
		m.Permissions = tidy(c.Permissions)
	}
	if c.Reach != nil {
		m.Reach = *c.Reach
	}
	n := NewRole{Name: m.Name, Description: m.Description, Permissions: m.Permissions, Reach: m.Reach}
	return m, n.check()
}

// Change changes a role, for all who have it, everywhere within a second. Nobody
// changes the one that he has himself.
func (s *Roles) Change(ctx context.Context, p authz.Principal, roleID string, c RolePatch) (Role, error) {
	if err := p.Require(ctx, authz.DoRolesWrite); err != nil {
		return Role{}, err
	}
	m, err := s.Store.ChangeRole(ctx, RoleRef{p.OrgID, roleID, p.OwnerID}, func(before Made) (Made, *audit.Record, error) {
		if err := mayChange(ctx, p, before); err != nil {
			return before, nil, err
		}
		next, err := c.apply(before)
		if err != nil {
			return next, nil, err
		}
		if err := covers(p, next.Permissions); err != nil {
			return next, nil, err
		}
		if next.Name == before.Name && next.Description == before.Description && next.Reach == before.Reach && slices.Equal(next.Permissions, before.Permissions) {
			return next, nil, nil
		}
		if err := apikey.CheckWidened(next.Known, s.Now(), next.as); err != nil {
			return next, nil, err
		}
		next.UpdatedAt = s.Now()
		detail := next.detail()
		detail["before"] = before.detail()
		rec := audit.New(ctx, p, next.UpdatedAt, "role.update", roleID).With(detail)
		return next, &rec, nil
	})
	if err != nil {
		return Role{}, err
	}
	return m.show(), s.Bump.Bump(context.WithoutCancel(ctx), p.OrgID)
}

// as is what anybody is under the role as it is now.
func (m Made) as(who apikey.Standing) authz.Subject {
	if who.StoredRole == m.ID {
		who.Custom = authz.CustomRole{Permissions: m.Permissions, Reach: m.Reach}
	}
	return who.Subject
}

// mayChange refuses one's own role, one that has rights above one's own, and one
// whose members are peers.
func mayChange(ctx context.Context, p authz.Principal, m Made) error {
	switch {
	case m.Mine:
		return fault.New(fault.Forbidden, "nobody changes the role that he has; an owner or admin can").With("reason", string(authz.ReasonRank))
	case m.Members > 0:
		if err := p.RequireOn(ctx, authz.DoRolesWrite, authz.Resource{Role: authz.Custom}); err != nil {
			return err
		}
	}
	return covers(p, m.Permissions)
}

// Delete removes a role that nobody has.
func (s *Roles) Delete(ctx context.Context, p authz.Principal, roleID string) error {
	if err := p.Require(ctx, authz.DoRolesWrite); err != nil {
		return err
	}
	return s.Store.DeleteRole(ctx, RoleRef{p.OrgID, roleID, p.OwnerID}, func(m Made) (audit.Record, error) {
		if m.Members > 0 {
			return audit.Record{}, fault.New(fault.Conflict, "%d members or service accounts have this role; give them another first", m.Members).With("members", m.Members)
		}
		if err := mayChange(ctx, p, m); err != nil {
			return audit.Record{}, err
		}
		return audit.New(ctx, p, s.Now(), "role.delete", roleID).With(map[string]any{"name": m.Name}), nil
	})
}
