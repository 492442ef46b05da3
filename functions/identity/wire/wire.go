// Package wire builds the function identity from what its process shares.
package wire

import (
	"context"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/adapters/open/access"
	"github.com/aiaas/aiaas/adapters/open/signon"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/functions/identity"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/invitation"
	"github.com/aiaas/aiaas/shared/member"
	"github.com/aiaas/aiaas/shared/profile"
	"github.com/aiaas/aiaas/shared/project"
	"github.com/aiaas/aiaas/shared/session"
)

// Wire is the function's [function.Wire].
func Wire(ctx context.Context, env *function.Env) (function.Function, error) {
	db, err := open.DB(ctx, env, function.Accounts, postgres.RoleAccounts)
	if err != nil {
		return function.Function{}, err
	}
	changes, err := open.Changes(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	auth, err := access.Authenticator(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	policy, err := access.Policy(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	sessions, err := open.SessionManager(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	vault, err := open.Secrets(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	people, err := open.DB(ctx, env, function.Accounts, postgres.RoleIdentity)
	if err != nil {
		return function.Function{}, err
	}
	domains, err := signon.Watch(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	jobs, err := open.Jobs(ctx, env, identity.Spec(), identity.Jobs(&invitation.Expiry{Store: postgres.NewInvitations(people), Now: env.Now}, domains))
	if err != nil {
		return function.Function{}, err
	}
	settings, err := open.Load(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	signOn, err := signon.Admin(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	members, projects := postgres.NewMembers(db), postgres.NewProjects(db)
	services := identity.Services{
		Members:   &member.Service{Store: members, Bump: changes, Now: env.Now},
		Roles:     &member.Roles{Store: members, Bump: changes, Now: env.Now},
		Projects:  &project.Service{Store: projects, Bump: changes, Now: env.Now},
		Team:      &project.Team{Store: projects, Bump: changes, Now: env.Now},
		Sessions:  &session.Service{Manager: sessions, Members: members},
		SSO:       signOn,
		PublicURL: settings.Public(),
		Explainer: &member.Explainer{Directory: members, Policy: policy, Now: env.Now},

		Invitations: &invitation.Service{Store: postgres.NewInvitations(db), Vault: vault, Now: env.Now},
		Profiles:    &profile.Service{Store: postgres.NewProfiles(people), Now: env.Now},
	}
	return function.Function{HTTP: identity.New(services, auth, env.Log), Jobs: jobs, Ready: db.Ping}, nil
}
