package signin

import (
	"context"
	"net/http"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/factor"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/rest"
)

const factorsTag = "Second factors"

func factorRoutes() []function.Route {
	g := routes{factorsTag, authz.AnyScope}
	return []function.Route{
		g.get("/v1/me/factors", "getFactors", "Show your second factors",
			"The authenticator app, the passkeys, how many recovery codes are left, and for which of your roles a second factor is needed."),
		g.post("/v1/me/totp", "startTotp", "Add an authenticator app",
			"The secret, and the same as a QR code, are shown once. The app counts from its first code on, which is sent to confirm it within 15 minutes; until then an app that you have stays. You must have proved yourself within the last 15 minutes."),
		g.post("/v1/me/totp/confirm", "confirmTotp", "Confirm an authenticator app",
			"Takes the first code of the app, which takes the place of one before. With your first second factor come recovery codes, shown once. The session counts as one that has shown a second factor from now on, and gets a new token."),
		g.remove("/v1/me/totp", "deleteTotp", "Remove the authenticator app",
			"The last second factor can't be removed while one of your roles needs one. With it go the recovery codes."),
		g.post("/v1/me/recovery-codes", "replaceRecoveryCodes", "Make new recovery codes",
			"Each of the ten signs in once in the place of a second factor. They are shown once; those before are no good any more."),
	}
}

type factorHandlers struct {
	svc     *factor.Service
	cookies Cookies
}

func registerFactors(api *rest.API, h *factorHandlers) {
	rest.Handle(api, "getFactors", h.overview)
	rest.Handle(api, "startTotp", h.startTOTP)
	rest.Handle(api, "confirmTotp", h.confirmTOTP, rest.Fails(fault.Conflict), rest.Fails(fault.RateLimited), rest.RequestExample(TOTPCode{Code: "123456"}))
	rest.Handle(api, "deleteTotp", h.removeTOTP, rest.Fails(fault.NotFound), rest.Fails(fault.Conflict))
	rest.Handle(api, "replaceRecoveryCodes", h.replaceCodes, rest.Fails(fault.Conflict))
	registerPasskeys(api, h)
}

// Factors are the second factors of a person.
type Factors struct {
	TOTP          *TOTPInfo         `json:"totp,omitempty" doc:"Left out where there is no authenticator app."`
	Passkeys      []PasskeyInfo     `json:"passkeys" nullable:"false"`
	RecoveryCodes RecoveryCodesInfo `json:"recovery_codes"`
	RequiredBy    []FactorRequired  `json:"required_by" nullable:"false" doc:"The roles that are of no use without a second factor; where there is one, the last factor can't be removed."`
}

// TOTPInfo is an authenticator app that counts.
type TOTPInfo struct {
	ConfirmedAt time.Time `json:"confirmed_at"`
}

// RecoveryCodesInfo is what is left of the recovery codes.
type RecoveryCodesInfo struct {
	Left      int        `json:"left"`
	CreatedAt *time.Time `json:"created_at" doc:"null: there never were any."`
}

// FactorRequired is a role that needs a second factor.
type FactorRequired struct {
	OrganizationID string `json:"organization_id"`
	Organization   string `json:"organization"`
	Role           string `json:"role"`
}

type factorsOutput struct{ Body Factors }

func (h *factorHandlers) overview(ctx context.Context, p authz.Principal, _ *struct{}) (*factorsOutput, error) {
	o, err := h.svc.Overview(ctx, p)
	if err != nil {
		return nil, err
	}
	out := &factorsOutput{Body: Factors{
		Passkeys: showPasskeys(o.Passkeys), RecoveryCodes: RecoveryCodesInfo{Left: o.Codes.Left, CreatedAt: until(o.Codes.CreatedAt)},
		RequiredBy: []FactorRequired{},
	}}
	if !o.TOTPSince.IsZero() {
		out.Body.TOTP = &TOTPInfo{ConfirmedAt: o.TOTPSince}
	}
	for _, m := range o.RequiredBy {
		out.Body.RequiredBy = append(out.Body.RequiredBy, FactorRequired{OrganizationID: m.OrgID, Organization: m.Name, Role: string(m.Role)})
	}
	return out, nil
}

// TOTPEnrolment is an app that waits for its first code.
type TOTPEnrolment struct {
	Secret string `json:"secret" doc:"To be typed into the app, in base 32."`
	URI    string `json:"uri" doc:"To be opened with the app."`
	QRPNG  []byte `json:"qr_png" doc:"The URI as a QR code to be scanned: a PNG picture."`
}

type enrolmentOutput struct{ Body TOTPEnrolment }

func (h *factorHandlers) startTOTP(ctx context.Context, p authz.Principal, _ *struct{}) (*enrolmentOutput, error) {
	e, err := h.svc.StartTOTP(ctx, p)
	if err != nil {
		return nil, err
	}
	return &enrolmentOutput{Body: TOTPEnrolment{Secret: e.Secret, URI: e.URI, QRPNG: e.PNG}}, nil
}

// TOTPCode is what an authenticator app shows.
type TOTPCode struct {
	Code string `json:"code" minLength:"6" maxLength:"20" doc:"Six digits."`
}

type codeInput struct {
	Caller

	Body TOTPCode
}

// Enrolled is what follows from a factor that was added.
type Enrolled struct {
	RecoveryCodes []string `json:"recovery_codes,omitempty" doc:"Shown once, with your first second factor."`
	Renewed
}

// enrolled shows it, with the cookie that it comes with.
func (h *factorHandlers) enrolled(e factor.Enrolled) (Enrolled, []http.Cookie) {
	out := h.cookies.renewed(e.Session)
	return Enrolled{RecoveryCodes: e.RecoveryCodes, Renewed: out.Body}, out.SetCookie
}

type enrolledOutput struct {
	SetCookie []http.Cookie `header:"Set-Cookie"`
	Body      Enrolled
}

func (h *factorHandlers) confirmTOTP(ctx context.Context, p authz.Principal, in *codeInput) (*enrolledOutput, error) {
	e, err := h.svc.ConfirmTOTP(ctx, p, in.Body.Code, h.cookies.from(in.Caller, p.Address, "").Device)
	if err != nil {
		return nil, err
	}
	out := &enrolledOutput{}
	out.Body, out.SetCookie = h.enrolled(e)
	return out, nil
}

func (h *factorHandlers) removeTOTP(ctx context.Context, p authz.Principal, _ *struct{}) (*noOutput, error) {
	return &noOutput{}, h.svc.RemoveTOTP(ctx, p)
}

// RecoveryCodes are fresh.
type RecoveryCodes struct {
	Codes []string `json:"recovery_codes" nullable:"false" doc:"Each is good once."`
}

type codesOutput struct{ Body RecoveryCodes }

func (h *factorHandlers) replaceCodes(ctx context.Context, p authz.Principal, _ *struct{}) (*codesOutput, error) {
	codes, err := h.svc.ReplaceCodes(ctx, p)
	if err != nil {
		return nil, err
	}
	return &codesOutput{Body: RecoveryCodes{Codes: codes}}, nil
}
