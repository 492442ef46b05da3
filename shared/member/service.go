package member

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/mail"
	"github.com/aiaas/aiaas/shared/naming"
)

// Service adds, changes and removes the people and programs of an organisation.
type Service struct {
	Store Store
	Bump  Bumper
	Now   func() time.Time
}

// New is what a member or a service account is made from.
type New struct {
	Kind        Kind
	Email       string // of a person
	Name        string
	Description string // of a program
	Role        string
}

func (n *New) check() error {
	if err := naming.Line("description", n.Description, naming.LongestDescription); err != nil {
		return err
	}
	if n.Kind == Program {
		return naming.Name("name", n.Name)
	}
	if err := CheckAddress(n.Email); err != nil {
		return err
	}
	if n.Name == "" {
		return nil
	}
	return naming.Name("name", n.Name)
}

// CheckAddress takes plain ASCII only: so that addresses that look alike are alike,
// and compare in one way everywhere.
func CheckAddress(address string) error {
	foreign := func(r rune) bool { return r > unicode.MaxASCII }
	if mail.CheckAddress(address) != nil || strings.ContainsFunc(address, foreign) {
		return fault.New(fault.Unprocessable, "that is no e-mail address; one with other letters is written with its domain in Punycode").At("email")
	}
	return nil
}

// Add adds a person by e-mail address, or makes a service account.
func (s *Service) Add(ctx context.Context, p authz.Principal, n New) (Member, error) {
	if err := p.Require(ctx, n.Kind.write()); err != nil {
		return Member{}, err
	}
	if err := n.check(); err != nil {
		return Member{}, err
	}
	now := s.Now()
	m := Member{
		OrgID: p.OrgID, ID: id.New(n.Kind.Prefix()), Kind: n.Kind, Email: n.Email, Name: n.Name, Description: n.Description,
		Role: n.Role, Status: Active, AddedBy: p.Actor(), CreatedAt: now,
	}
	detail := map[string]any{"role": m.Role, "email": m.Email, "name": m.Name}
	added, err := s.Store.Add(ctx, m, func(st Standing) (Member, audit.Record, error) {
		if err := MayGive(ctx, p, st, n.Role); err != nil {
			return m, audit.Record{}, err
		}
		return st.Member, audit.New(ctx, p, now, n.Kind.action("member.add", "service_account.create"), st.Member.ID).With(detail), nil
	})
	if err != nil {
		return Member{}, err
	}
	return added, s.bump(ctx, p)
}

func (s *Service) bump(ctx context.Context, p authz.Principal) error {
	return s.Bump.Bump(context.WithoutCancel(ctx), p.OrgID) // it is done: who asked for it may have left
}

// MayGive returns nil where the role exists here and the principal may give it.
func MayGive(ctx context.Context, p authz.Principal, st Standing, role string) error {
	custom, err := st.role(role)
	if err != nil {
		return err
	}
	if err := p.RequireOn(ctx, st.Member.Kind.write(), authz.Resource{Grants: RoleOf(role)}); err != nil {
		return err
	}
	if p.Role != authz.Custom {
		return nil
	}
	// A role that the organisation made stands at one height with whatever rights, so
	// its height alone says too little.
	given := authz.Permissions(authz.Subject{Role: RoleOf(role), Custom: custom})
	if !inside(given, authz.Permissions(p.Subject())) {
		return fault.New(fault.Forbidden, "the role has rights that you do not have; an owner or admin can give it").At("role")
	}
	return nil
}

// role looks up a role that may be given in the organisation.
func (st *Standing) role(stored string) (authz.CustomRole, error) {
	r := RoleOf(stored)
	if r == authz.Custom && !strings.HasPrefix(stored, id.Role+"_") { // the word itself is no role
		r = ""
	}
	custom, made := st.Roles[stored]
	switch {
	case r == authz.Custom && !made:
		return custom, fault.New(fault.NotFound, "there is no such role").At("role")
	case r != authz.Custom && !builtIn(r):
		return custom, fault.New(fault.Unprocessable, "there is no role %q", clip(stored)).At("role")
	case r.OfPlatform() && !st.Platform:
		return custom, fault.New(fault.Unprocessable, "the role %s is one of the platform: only its own organization has it", stored).At("role")
	case !r.OfPlatform() && st.Platform:
		return custom, fault.New(fault.Unprocessable, "the platform's own organization has the roles of the platform only").At("role")
	}
	return custom, nil
}

// List returns a page of those that the principal may see, in the order of their ids:
// of people that is none, of programs the oldest first.
func (s *Service) List(ctx context.Context, p authz.Principal, kind Kind, after string, limit int) ([]Member, error) {
	reach, err := p.Reach(ctx, kind.read())
	if err != nil {
		return nil, err
	}
	return s.Store.List(ctx, p.OrgID, kind, Query{Filter: reach, After: after, Limit: limit})
}

// Get returns one whom the principal may see.
func (s *Service) Get(ctx context.Context, p authz.Principal, kind Kind, memberID string) (Member, error) {
	reach, err := p.Reach(ctx, kind.read())
	if err != nil {
		return Member{}, err
	}
	m, err := s.Store.Get(ctx, Ref{p.OrgID, kind, memberID})
	if err != nil {
		return Member{}, err
	}
	if !sees(reach, m) {
		return Member{}, kind.ErrNone()
	}
	return m, nil
}

func sees(reach authz.Reach, m Member) bool {
	if reach.Covers("", m.ID) {
		return true
	}
	for project := range m.Projects {
		if reach.Covers(project, "") {
			return true
		}
	}
	return false
}

// Patch is what of a member is to be changed; what is nil stays.
type Patch struct {
	Role        *string
	Name        *string
	Description *string // of a service account
}

func (c Patch) check(kind Kind) error {
	if c.Name != nil && (*c.Name != "" || kind == Program) {
		if err := naming.Name("name", *c.Name); err != nil {
			return err
		}
	}
	if c.Description != nil {
		return naming.Line("description", *c.Description, naming.LongestDescription)
	}
	return nil
}

// apply returns the member as the patch makes him.
func (c Patch) apply(m Member) Member {
	if c.Role != nil {
		m.Role = *c.Role
	}
	if c.Name != nil {
		m.Name = *c.Name
	}
	if c.Description != nil {
		m.Description = *c.Description
	}
	return m
}

// Change gives a member another role or name. What a role gives holds from the
// answer on, everywhere within a second.
func (s *Service) Change(ctx context.Context, p authz.Principal, r Ref, c Patch) (Member, error) {
	if err := c.check(r.Kind); err != nil {
		return Member{}, err
	}
	return s.edit(ctx, p, r, func(st Standing) (Member, *audit.Record, error) {
		before, next := st.Member, c.apply(st.Member)
		if next.Role != before.Role {
			if err := MayGive(ctx, p, st, next.Role); err != nil {
				return next, nil, err
			}
			if err := st.CheckWidened(next, s.Now()); err != nil {
				return next, nil, err
			}
		}
		var action string
		detail := map[string]any{"role": next.Role, "name": next.Name}
		switch {
		case next.Role != before.Role:
			action, detail["before"] = r.Kind.action("member.role_change", "service_account.role_change"), before.Role
		case next.Name != before.Name || next.Description != before.Description:
			action, detail["before"] = r.Kind.action("member.update", "service_account.update"), before.Name
		default:
			return next, nil, nil
		}
		rec := audit.New(ctx, p, s.Now(), action, r.ID).With(detail)
		return next, &rec, nil
	})
}

// CheckWidened refuses what would let somebody who has seen the secret of one of the
// member's keys do more than he may himself.
func (st *Standing) CheckWidened(next Member, now time.Time) error {
	return apikey.CheckWidened(st.Known, now, st.as(next))
}

// as is what anybody is once the member has become another.
func (st *Standing) as(next Member) func(apikey.Standing) authz.Subject {
	return func(who apikey.Standing) authz.Subject {
		if who.OwnerID == next.ID {
			return st.subject(next)
		}
		return who.Subject
	}
}

// Suspend ends all that somebody may do: his keys are refused from the answer on,
// everywhere within a second. Nothing of it is lost.
func (s *Service) Suspend(ctx context.Context, p authz.Principal, r Ref, reason string) (Member, error) {
	if err := naming.Line("reason", reason, naming.LongestDescription); err != nil {
		return Member{}, err
	}
	return s.turn(ctx, p, r, Suspended, reason)
}

// Reactivate lets somebody act again, with the keys that he had.
func (s *Service) Reactivate(ctx context.Context, p authz.Principal, r Ref) (Member, error) {
	return s.turn(ctx, p, r, Active, "")
}

func (s *Service) turn(ctx context.Context, p authz.Principal, r Ref, to Status, reason string) (Member, error) {
	action := r.Kind.action("member.reactivate", "service_account.reactivate")
	if to == Suspended {
		action = r.Kind.action("member.suspend", "service_account.suspend")
	}
	return s.edit(ctx, p, r, func(st Standing) (Member, *audit.Record, error) {
		next := st.Member
		if next.Status == to {
			return next, nil, nil
		}
		next.Status, next.Reason = to, reason
		rec := audit.New(ctx, p, s.Now(), action, r.ID).With(map[string]any{"reason": reason, "keys": next.Keys})
		return next, &rec, nil
	})
}

// edit changes a member by what all changes have in common: the actor is above him,
// and an owner is left.
func (s *Service) edit(ctx context.Context, p authz.Principal, r Ref, change func(Standing) (Member, *audit.Record, error)) (Member, error) {
	if err := p.Require(ctx, r.Kind.write()); err != nil {
		return Member{}, err
	}
	m, err := s.Store.Change(ctx, r, func(st Standing) (Member, *audit.Record, error) {
		if err := mayActOn(ctx, p, st.Member); err != nil {
			return st.Member, nil, err
		}
		next, rec, err := change(st)
		if err == nil {
			err = st.LeavesATop(next)
		}
		return next, rec, err
	})
	if err != nil {
		return Member{}, err
	}
	return m, s.bump(ctx, p)
}

func mayActOn(ctx context.Context, p authz.Principal, m Member) error {
	return p.RequireOn(ctx, m.Kind.write(), authz.Resource{OwnerID: m.ID, Role: RoleOf(m.Role)})
}

// LeavesATop refuses what would leave an organisation without an active person of
// the highest role.
func (st *Standing) LeavesATop(next Member) error {
	is := func(m Member) bool { return m.Kind == Person && m.Status == Active && top(m.Role) }
	if !is(st.Member) || is(next) || st.OtherTops > 0 {
		return nil
	}
	return fault.New(fault.Conflict, "this is the last active %s; make another member %s first", st.Member.Role, st.Member.Role).With("reason", "last_owner")
}

func builtIn(r authz.Role) bool {
	return slices.Contains(authz.OrganizationRoles(), r) || r.OfPlatform()
}

func clip(s string) string {
	const longest = 60
	if len(s) > longest {
		return strings.ToValidUTF8(s[:longest], "") + "…"
	}
	return s
}
