package session

import (
	"context"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
)

// Members tells what somebody is in an organisation: a stored role, as the package
// member knows it. NotFound where he is none of its members.
type Members interface {
	RoleOf(ctx context.Context, org, memberID string) (string, error)
}

// Entry tells whether a person may go into an organisation by what he proved himself
// by: some demand their own single sign-on.
type Entry interface {
	MayEnter(ctx context.Context, org, userID string) error
}

// Service shows and ends sessions: their holder's own, and those of members.
type Service struct {
	Manager *Manager
	Members Members
	Entry   Entry
	// Entered remembers where a person works, for his next sign-in.
	Entered func(ctx context.Context, userID, org string) error
}

// own are the sessions that the caller may see and end: his own, everywhere. One of
// single sign-on is good for its own organisation only, whose issuer vouches for him.
func own(p authz.Principal) (Filter, error) {
	userID, err := p.Person()
	if err != nil {
		return Filter{}, err
	}
	f := Filter{HolderID: userID}
	switch {
	case p.Method != authz.BySession: // a program that acts for him knows of itself alone
		f.OrgID, f.ID = p.OrgID, p.KeyID
	case p.Means == string(SSO):
		f.OrgID = p.OrgID
	}
	return f, nil
}

// List returns the caller's own sessions, the newest first.
func (s *Service) List(ctx context.Context, p authz.Principal) ([]Session, error) {
	f, err := own(p)
	if err != nil {
		return nil, err
	}
	return s.Manager.store.List(ctx, f, s.Manager.now())
}

// End ends one of the caller's own sessions.
func (s *Service) End(ctx context.Context, p authz.Principal, sessionID string) error {
	f, err := own(p)
	if err != nil {
		return err
	}
	if !id.Valid(id.Session, sessionID) || f.ID != "" && f.ID != sessionID {
		return errNone()
	}
	f.ID = sessionID
	n, err := s.Manager.end(ctx, f, "its holder ended it", authz.Principal{})
	if err == nil && n == 0 {
		return errNone()
	}
	return err
}

// EndOthers ends all of the caller's own sessions but the one that he calls by.
func (s *Service) EndOthers(ctx context.Context, p authz.Principal) (int, error) {
	f, err := own(p)
	if err != nil {
		return 0, err
	}
	f.Except = p.KeyID
	return s.Manager.end(ctx, f, "its holder ended all others", authz.Principal{})
}

// SignOut ends the session that the caller calls by.
func (s *Service) SignOut(ctx context.Context, p authz.Principal) error {
	if _, err := p.Person(); err != nil {
		return err
	}
	return s.Manager.End(ctx, p.OrgID, p.KeyID, "its holder signed out")
}

// ListOf returns the sessions that a member has in the caller's organisation.
func (s *Service) ListOf(ctx context.Context, p authz.Principal, memberID string) ([]Session, error) {
	if err := s.may(ctx, p, authz.DoMembersRead, memberID); err != nil {
		return nil, err
	}
	return s.Manager.store.List(ctx, Filter{OrgID: p.OrgID, HolderID: memberID}, s.Manager.now())
}

// EndOf ends the sessions that a member has in the caller's organisation.
func (s *Service) EndOf(ctx context.Context, p authz.Principal, memberID string) (int, error) {
	if err := s.may(ctx, p, authz.DoMembersWrite, memberID); err != nil {
		return 0, err
	}
	return s.Manager.end(ctx, Filter{OrgID: p.OrgID, HolderID: memberID}, "an admin ended all", p)
}

// may asks whether the caller may act on a member, whom he may not learn of otherwise.
func (s *Service) may(ctx context.Context, p authz.Principal, a authz.Action, memberID string) error {
	if err := p.Require(ctx, a); err != nil {
		return err
	}
	stored, err := s.Members.RoleOf(ctx, p.OrgID, memberID)
	if err != nil {
		return err
	}
	role := authz.Role(stored)
	if id.Valid(id.Role, stored) {
		role = authz.Custom
	}
	return p.RequireOn(ctx, a, authz.Resource{OwnerID: memberID, Role: role})
}

// Switch gives the caller a session in another of his organisations, in the place of
// the one that he calls by: what he has proved stays proved.
func (s *Service) Switch(ctx context.Context, p authz.Principal, org, address, agent string) (Opened, error) {
	userID, err := p.Person()
	switch {
	case err != nil:
		return Opened{}, err
	case p.Method != authz.BySession:
		return Opened{}, fault.New(fault.Forbidden, "a token is good for the organization that it was given in").With("reason", "person")
	case p.Means == string(SSO):
		return Opened{}, fault.New(fault.Forbidden, "single sign-on is good for its own organization; sign in to the other").With("reason", "person")
	case org == p.OrgID:
		return Opened{}, fault.New(fault.Conflict, "the session is in this organization already").At("organization_id")
	}
	none := fault.New(fault.NotFound, "you are no member of such an organization").At("organization_id")
	if !id.Valid(id.Organization, org) {
		return Opened{}, none
	}
	if err := s.Entry.MayEnter(ctx, org, userID); err != nil {
		return Opened{}, err
	}
	now := s.Manager.now()
	from, err := s.Manager.store.List(ctx, Filter{OrgID: p.OrgID, ID: p.KeyID}, now)
	if err != nil {
		return Opened{}, err
	}
	if len(from) == 0 {
		return Opened{}, ErrUnauthenticated()
	}
	opened, err := s.Manager.Begin(ctx, Start{
		OrgID: org, HolderID: userID, Kind: from[0].Kind, Means: from[0].Means, MFA: p.MFA, ProvedAt: p.ProvedAt, Address: address, UserAgent: agent,
		Expires:  from[0].ExpiresAt, // going to and fro makes no session longer
		Replaces: Of{OrgID: p.OrgID, ID: p.KeyID},
	})
	if fault.Is(err, fault.NotFound) {
		return Opened{}, none
	}
	if err != nil {
		return Opened{}, err
	}
	return opened, s.Entered(ctx, userID, org)
}

func errNone() error { return fault.New(fault.NotFound, "there is no such session") }
