// Package wire builds the function identity from what its process shares.
package wire

import (
	"context"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/adapters/open/access"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/functions/identity"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/member"
	"github.com/aiaas/aiaas/shared/project"
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
	members, projects := postgres.NewMembers(db), postgres.NewProjects(db)
	services := identity.Services{
		Members:   &member.Service{Store: members, Bump: changes, Now: env.Now},
		Roles:     &member.Roles{Store: members, Bump: changes, Now: env.Now},
		Projects:  &project.Service{Store: projects, Bump: changes, Now: env.Now},
		Team:      &project.Team{Store: projects, Bump: changes, Now: env.Now},
		Explainer: &member.Explainer{Directory: members, Policy: policy, Now: env.Now},
	}
	return function.Function{HTTP: identity.New(services, auth, env.Log), Ready: db.Ping}, nil
}
