package signin

import (
	"context"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/rest"
	"github.com/aiaas/aiaas/shared/signin"
)

func stepUpRoutes() []function.Route {
	g := routes{tagSignIn, authz.AnyScope}
	return []function.Route{
		g.post("/v1/session/step-up", "stepUp", "Prove yourself again",
			"What asks for it answers 403 with the reason `step_up`: do this, and try that again. Who has a second factor shows that; others their password. The session gets a new token."),
		g.post("/v1/session/step-up/options", "askStepUpPasskey", "Ask the browser for a passkey to prove yourself again", "Options for `navigator.credentials.get`."),
	}
}

func registerStepUp(api *rest.API, h *stepUpHandlers) {
	rest.Handle(api, "stepUp", h.stepUp, rest.Fails(fault.RateLimited), rest.RequestExample(Again{FactorProof: FactorProof{TOTP: "492039"}}))
	rest.Handle(api, "askStepUpPasskey", h.askPasskey)
}

type stepUpHandlers struct {
	svc     *signin.Service
	cookies Cookies
}

// Again is how somebody proves himself again: exactly one member.
type Again struct {
	Password string `json:"password,omitempty" maxLength:"256"`
	FactorProof
}

type againInput struct {
	Caller

	Body Again
}

func (h *stepUpHandlers) stepUp(ctx context.Context, p authz.Principal, in *againInput) (*renewedOutput, error) {
	opened, err := h.svc.StepUp(ctx, p, signin.Again{
		Password: in.Body.Password, Proof: in.Body.parse(), From: h.cookies.from(in.Caller, p.Address, ""),
	})
	if err != nil {
		return nil, err
	}
	return h.cookies.renewed(opened), nil
}

func (h *stepUpHandlers) askPasskey(ctx context.Context, p authz.Principal, _ *struct{}) (*passkeyOptionsOutput, error) {
	return optionsOf(h.svc.StepUpOptions(ctx, p))
}
