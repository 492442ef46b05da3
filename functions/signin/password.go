package signin

import (
	"context"
	"net/http"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/rest"
	"github.com/aiaas/aiaas/shared/session"
	"github.com/aiaas/aiaas/shared/signin"
)

func passwordRoutes() []function.Route {
	public, own := routes{tagSignIn, ""}, routes{tagSignIn, authz.AnyScope}
	forgot := public.post("/v1/password/forgot", "forgotPassword", "Ask for a link to set a password",
		"The answer is the same whether there is such a person or not. Who is a member somewhere gets a mail with a link that works once, within an hour; also one who has no password yet.")
	forgot.Status = http.StatusAccepted
	return []function.Route{
		forgot,
		public.post("/v1/password/reset", "resetPassword", "Set a password by a link",
			"The token stands in the link's fragment. A person with a second factor is asked for it before the password counts. Nobody is signed in by it, and every session of the person ends."),
		public.post("/v1/password/reset/options", "askResetPasskey", "Ask the browser for a passkey to go on with a reset", "Options for `navigator.credentials.get`."),
		public.post("/v1/password/reset/second-factor", "resetPasswordSecondFactor", "Go on with a reset by a second factor", "Exactly one of the proofs."),
		own.route(http.MethodPut, "/v1/me/password", "changePassword", "Change your password",
			"Your other sessions end, and this one gets a new token. Who has a second factor must have shown it within the last minutes (403, `step_up`)."),
	}
}

func registerPasswords(api *rest.API, h *passwordHandlers) {
	rest.Handle(api, "forgotPassword", h.forgot, rest.Fails(fault.RateLimited), rest.RequestExample(Forgotten{Email: "ada@example.com"}))
	rest.Handle(api, "resetPassword", h.reset, rest.Fails(fault.Unauthenticated), rest.Fails(fault.RateLimited),
		rest.RequestExample(NewPassword{Token: challengeExample().Challenge, Password: "eleven purple herons"}), rest.ResponseExample(PasswordReset{Status: "done"}))
	rest.Handle(api, "askResetPasskey", h.askPasskey, rest.Fails(fault.Unauthenticated),
		rest.RequestExample(ResetChallenge{Challenge: challengeExample().Challenge}))
	rest.Handle(api, "resetPasswordSecondFactor", h.secondFactor, rest.Fails(fault.Unauthenticated), rest.Fails(fault.RateLimited),
		rest.RequestExample(SecondFactor{Challenge: challengeExample().Challenge, FactorProof: FactorProof{TOTP: "492039"}}))
	rest.Handle(api, "changePassword", h.change, rest.Fails(fault.RateLimited), rest.Fails(fault.Conflict),
		rest.RequestExample(ChangedPassword{Current: "eleven purple herons", New: "twelve orange storks"}))
}

type passwordHandlers struct {
	svc     *signin.Passwords
	cookies Cookies
}

// Forgotten names the address that a link is asked for.
type Forgotten struct {
	Email string `json:"email" maxLength:"254" example:"ada@example.com"`
}

type forgotInput struct {
	Caller

	Body Forgotten
}

type emptyOutput struct{ Body struct{} }

func (h *passwordHandlers) forgot(ctx context.Context, p authz.Principal, in *forgotInput) (*emptyOutput, error) {
	if err := h.svc.Forgot(ctx, in.Body.Email, h.cookies.from(in.Caller, p.Address, "")); err != nil {
		return nil, err
	}
	return &emptyOutput{}, nil
}

// NewPassword is a password to be set by a link.
type NewPassword struct {
	Token    string `json:"token" maxLength:"100" doc:"Of the link."`
	Password string `json:"password" maxLength:"256" doc:"At least 12 characters; what is common or known of you is refused."`
}

// PasswordReset is how far a reset got.
type PasswordReset struct {
	Status         string     `json:"status" enum:"done,second_factor_required"`
	Challenge      string     `json:"challenge,omitempty" doc:"To go on with, by a second factor."`
	Methods        []string   `json:"methods,omitempty" doc:"Of second factors that you have: totp, passkey, recovery_code."`
	ChallengeUntil *time.Time `json:"expires_at,omitempty" doc:"Of the challenge."`
}

type resetInput struct {
	Caller

	Body NewPassword
}

type resetOutput struct {
	SetCookie []http.Cookie `header:"Set-Cookie"`
	Body      PasswordReset
}

func (h *passwordHandlers) reset(ctx context.Context, p authz.Principal, in *resetInput) (*resetOutput, error) {
	return h.answer(h.svc.Reset(ctx, in.Body.Token, in.Body.Password, h.cookies.from(in.Caller, p.Address, "")))
}

func (h *passwordHandlers) answer(proof signin.Proof, err error) (*resetOutput, error) {
	if err != nil {
		return nil, err
	}
	if c := proof.Challenge; c != nil {
		return &resetOutput{Body: PasswordReset{
			Status: "second_factor_required", Challenge: c.Token, Methods: methods(c.Methods), ChallengeUntil: until(c.ExpiresAt),
		}}, nil
	}
	return &resetOutput{SetCookie: h.cookies.of(session.Opened{}, proof.Device), Body: PasswordReset{Status: "done"}}, nil
}

// ResetChallenge names the challenge of a reset.
type ResetChallenge struct {
	Challenge string `json:"challenge" maxLength:"100"`
}

type resetChallengeInput struct{ Body ResetChallenge }

func (h *passwordHandlers) askPasskey(ctx context.Context, _ authz.Principal, in *resetChallengeInput) (*passkeyOptionsOutput, error) {
	return optionsOf(h.svc.ResetOptions(ctx, in.Body.Challenge))
}

func (h *passwordHandlers) secondFactor(ctx context.Context, p authz.Principal, in *secondFactorInput) (*resetOutput, error) {
	return h.answer(h.svc.ResetFactor(ctx, signin.Answer{
		Challenge: in.Body.Challenge, Proof: in.Body.parse(), From: h.cookies.from(in.Caller, p.Address, ""),
	}))
}

// ChangedPassword changes a password.
type ChangedPassword struct {
	Current string `json:"current_password" maxLength:"256"`
	New     string `json:"new_password" maxLength:"256" doc:"At least 12 characters; what is common or known of you is refused."`
}

type changeInput struct {
	Caller

	Body ChangedPassword
}

func (h *passwordHandlers) change(ctx context.Context, p authz.Principal, in *changeInput) (*renewedOutput, error) {
	opened, err := h.svc.Change(ctx, p, signin.Change{
		Current: in.Body.Current, New: in.Body.New, From: h.cookies.from(in.Caller, p.Address, ""),
	})
	if err != nil {
		return nil, err
	}
	return h.cookies.renewed(opened), nil
}
