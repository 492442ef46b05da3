// Package wire builds the function audit from what its process shares.
package wire

import (
	"context"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/adapters/open/access"
	"github.com/aiaas/aiaas/adapters/open/files"
	auditfunction "github.com/aiaas/aiaas/functions/audit"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/function"
)

// Wire is the function's [function.Wire].
func Wire(ctx context.Context, env *function.Env) (function.Function, error) {
	p, err := open.Audit(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	store, err := files.Open(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	auth, err := access.Authenticator(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	sealer := &audit.Sealer{Chains: p.Chain, Files: store, Signer: p.Signer, Now: env.Now, Pending: map[function.Service]audit.Pending{}}
	verifier := &audit.Verifier{Chain: p.Chain, Files: store, Ring: p.Ring, Now: env.Now, Records: map[function.Service]audit.Records{}}
	retention := &audit.Retention{
		Verifier: verifier, Chains: p.Chain, Files: store, Signer: p.Signer, Keep: p.Keep, Now: env.Now,
		Disposer: map[function.Service]audit.Disposer{},
	}
	svc := &audit.Service{Verifier: verifier, Signer: p.Signer, Now: env.Now, Lister: map[function.Service]audit.Lister{}}
	for source, records := range p.Records {
		sealer.Pending[source], verifier.Records[source] = records, records
		retention.Disposer[source], svc.Lister[source] = records, records
	}
	jobs, err := open.Jobs(ctx, env, auditfunction.Spec(), auditfunction.Jobs(sealer, retention))
	if err != nil {
		return function.Function{}, err
	}
	return function.Function{HTTP: auditfunction.New(svc, auth, env.Log), Jobs: jobs, Ready: p.Accounts.Ping}, nil
}
