package signin

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/factor"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/rest"
	"github.com/aiaas/aiaas/shared/session"
	"github.com/aiaas/aiaas/shared/signin"
)

const tagSignIn = "Sign-in"

func entryRoutes() []function.Route {
	g := routes{tagSignIn, ""}
	return []function.Route{
		g.post("/v1/sign-in", "signIn", "Sign in by a password",
			"Answers a session, or the question for a second factor, which is asked of everybody who has one. Whatever is not right, the answer is the same 401. Guessing is slowed down by account and by address (429 with Retry-After), but not for a browser that has signed in to the account before: keep the cookie that comes with the answer."),
		g.post("/v1/sign-in/second-factor", "giveSecondFactor", "Go on with a sign-in by a second factor", "Exactly one of the proofs. A challenge is good once, for ten minutes and five attempts."),
		g.post("/v1/sign-in/passkey/options", "askPasskey", "Ask the browser for a passkey",
			"Options for `navigator.credentials.get`. With the challenge of a sign-in they ask for a second factor; without, for any passkey whose owner wants to sign in by it alone."),
		g.post("/v1/sign-in/passkey", "signInByPasskey", "Sign in by a passkey alone", "The passkey verifies its owner, so it counts as two factors."),
	}
}

func registerEntry(api *rest.API, h *entryHandlers) {
	rest.Handle(api, "signIn", h.signIn, rest.Fails(fault.Unauthenticated), rest.Fails(fault.RateLimited), rest.Fails(fault.Forbidden),
		rest.RequestExample(Credentials{Email: "ada@example.com", Password: "eleven purple herons"}), rest.ResponseExample(challengeExample()))
	rest.Handle(api, "giveSecondFactor", h.secondFactor, rest.Fails(fault.Unauthenticated), rest.Fails(fault.RateLimited), rest.Fails(fault.Forbidden),
		rest.RequestExample(SecondFactor{Challenge: challengeExample().Challenge, FactorProof: FactorProof{TOTP: "492039"}}))
	rest.Handle(api, "askPasskey", h.askPasskey, rest.Fails(fault.Unauthenticated), rest.Fails(fault.RateLimited),
		rest.RequestExample(PasskeyWanted{Challenge: challengeExample().Challenge}))
	rest.Handle(api, "signInByPasskey", h.passkey, rest.Fails(fault.Unauthenticated), rest.Fails(fault.Forbidden),
		rest.RequestExample(PasskeySignIn{PasskeyProof: PasskeyProof{
			Ceremony: "cer_0199c0b2f3a47c1e8d6a5b4c3d2e1f00", Credential: json.RawMessage(`{"id":"x","type":"public-key"}`),
		}}))
}

type entryHandlers struct {
	svc     *signin.Service
	cookies Cookies
}

// Credentials are what somebody signs in by.
type Credentials struct {
	Email          string `json:"email" maxLength:"254" example:"ada@example.com"`
	Password       string `json:"password" maxLength:"256"`
	OrganizationID string `json:"organization_id,omitempty" maxLength:"100" doc:"To work in; left out, the one that you worked in last."`
	Transport      string `json:"transport,omitempty" enum:"cookie,bearer" doc:"How the session is carried: by a cookie, or by a token in the answer, for the header Authorization. Left out, by a cookie."`
}

// PasskeyProof is what a browser answers to the options of a passkey.
type PasskeyProof struct {
	Ceremony   string          `json:"ceremony" maxLength:"100" doc:"As it came with the options."`
	Credential json.RawMessage `json:"credential" doc:"The PublicKeyCredential as JSON."`
}

// FactorProof is a second factor: exactly one.
type FactorProof struct {
	TOTP         string        `json:"totp,omitempty" maxLength:"20" example:"492039"`
	RecoveryCode string        `json:"recovery_code,omitempty" maxLength:"60"`
	Passkey      *PasskeyProof `json:"passkey,omitempty" nullable:"false"`
}

func (p FactorProof) parse() factor.Proof {
	out := factor.Proof{TOTP: p.TOTP, RecoveryCode: p.RecoveryCode}
	if p.Passkey != nil {
		out.Passkey = &factor.PasskeyProof{Ceremony: p.Passkey.Ceremony, Credential: p.Passkey.Credential}
	}
	return out
}

// SignedIn is what comes of a sign-in.
type SignedIn struct {
	Status         string                 `json:"status" enum:"signed_in,second_factor_required"`
	Session        *SessionInfo           `json:"session,omitempty"`
	Token          string                 `json:"token,omitempty" doc:"Of a session that is carried by no cookie: shown once."`
	Organizations  []SignedInOrganization `json:"organizations,omitempty" doc:"That you can work in."`
	MFARequired    bool                   `json:"mfa_required,omitempty" doc:"Your role can do nothing here until you enrol a second factor."`
	Challenge      string                 `json:"challenge,omitempty" doc:"To go on with, by a second factor."`
	Methods        []string               `json:"methods,omitempty" doc:"Of second factors that you have: totp, passkey, recovery_code."`
	ChallengeUntil *time.Time             `json:"expires_at,omitempty" doc:"Of the challenge."`
}

// SignedInOrganization is an organisation that a person can work in.
type SignedInOrganization struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Role string `json:"role" doc:"Its name."`
}

type signedInOutput struct {
	SetCookie []http.Cookie `header:"Set-Cookie"`
	Body      SignedIn
}

// answer shows what came of a sign-in, by whichever route.
func (c Cookies) answer(o signin.Outcome, err error) (*signedInOutput, error) {
	if err != nil {
		return nil, err
	}
	if o.Challenge != nil {
		return &signedInOutput{Body: SignedIn{
			Status: "second_factor_required", Challenge: o.Challenge.Token, Methods: methods(o.Challenge.Methods), ChallengeUntil: until(o.Challenge.ExpiresAt),
		}}, nil
	}
	info := showSession(o.Session.Session, o.Session.ID)
	out := &signedInOutput{SetCookie: c.of(o.Session, o.Device), Body: SignedIn{
		Status: "signed_in", Session: &info, MFARequired: o.Place.MFAForced && !o.Session.MFA,
	}}
	for _, p := range o.Account.Places {
		out.Body.Organizations = append(out.Body.Organizations, SignedInOrganization{ID: p.OrgID, Name: p.OrgName, Role: p.RoleName})
	}
	if o.Session.Kind != session.Browser {
		out.Body.Token = o.Session.Token
	}
	return out, nil
}

func methods(list []factor.Method) []string {
	out := make([]string, len(list))
	for i, m := range list {
		out[i] = string(m)
	}
	return out
}

func challengeExample() SignedIn {
	at := time.Date(2026, 11, 24, 9, 10, 0, 0, time.UTC)
	return SignedIn{
		Status: "second_factor_required", Challenge: "q8yGm1xJtVfA0sZyHkq2mT4dW7u3cB9rLxEo5nPiKhg", Methods: []string{"totp", "recovery_code"}, ChallengeUntil: &at,
	}
}

type signInInput struct {
	Caller

	Body Credentials
}

func (h *entryHandlers) signIn(ctx context.Context, p authz.Principal, in *signInInput) (*signedInOutput, error) {
	b := in.Body
	return h.cookies.answer(h.svc.SignIn(ctx, signin.Attempt{
		Email: b.Email, Password: b.Password, OrgID: b.OrganizationID, From: h.cookies.from(in.Caller, p.Address, b.Transport),
	}))
}

// SecondFactor goes on with a sign-in.
type SecondFactor struct {
	Challenge string `json:"challenge" maxLength:"100"`
	FactorProof
}

type secondFactorInput struct {
	Caller

	Body SecondFactor
}

func (h *entryHandlers) secondFactor(ctx context.Context, p authz.Principal, in *secondFactorInput) (*signedInOutput, error) {
	return h.cookies.answer(h.svc.SecondFactor(ctx, signin.Answer{
		Challenge: in.Body.Challenge, Proof: in.Body.parse(), From: h.cookies.from(in.Caller, p.Address, ""),
	}))
}

// PasskeyWanted says what a passkey is asked for.
type PasskeyWanted struct {
	Challenge string `json:"challenge,omitempty" maxLength:"100" doc:"Of a sign-in; left out, the passkey is the whole sign-in."`
}

type wantedInput struct{ Body *PasskeyWanted }

func optionsOf(ceremony string, options json.RawMessage, err error) (*passkeyOptionsOutput, error) {
	if err != nil {
		return nil, err
	}
	return &passkeyOptionsOutput{Body: PasskeyOptions{Ceremony: ceremony, Options: options}}, nil
}

func (h *entryHandlers) askPasskey(ctx context.Context, p authz.Principal, in *wantedInput) (*passkeyOptionsOutput, error) {
	challenge := ""
	if in.Body != nil {
		challenge = in.Body.Challenge
	}
	return optionsOf(h.svc.PasskeyOptions(ctx, challenge, signin.From{Address: p.Address}))
}

// PasskeySignIn is a sign-in by a passkey.
type PasskeySignIn struct {
	PasskeyProof

	OrganizationID string `json:"organization_id,omitempty" maxLength:"100" doc:"To work in; left out, the one that you worked in last."`
	Transport      string `json:"transport,omitempty" enum:"cookie,bearer" doc:"How the session is carried; left out, by a cookie."`
}

type passkeyInput struct {
	Caller

	Body PasskeySignIn
}

func (h *entryHandlers) passkey(ctx context.Context, p authz.Principal, in *passkeyInput) (*signedInOutput, error) {
	b := in.Body
	proof := factor.PasskeyProof{Ceremony: b.Ceremony, Credential: b.Credential}
	return h.cookies.answer(h.svc.Passkey(ctx, proof, b.OrganizationID, h.cookies.from(in.Caller, p.Address, b.Transport)))
}
