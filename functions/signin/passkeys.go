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
)

func passkeyRoutes() []function.Route {
	g := routes{factorsTag, authz.AnyScope}
	add := g.post("/v1/me/passkeys", "addPasskey", "Add a passkey",
		"Takes what the browser made of the options. A passkey verifies you by itself: it is a second factor, and a whole sign-in. The session counts as one that has shown a second factor from now on, and gets a new token.")
	add.Status = http.StatusCreated
	return []function.Route{
		g.post("/v1/me/passkeys/options", "startPasskey", "Ask for a new passkey",
			"The options for navigator.credentials.create, in the form that PublicKeyCredential.parseCreationOptionsFromJSON reads. They are good once, for five minutes. You must have proved yourself within the last 15 minutes."),
		add,
		g.get("/v1/me/passkeys", "listPasskeys", "List your passkeys", "The oldest first."),
		g.route(http.MethodPatch, "/v1/me/passkeys/{id}", "renamePasskey", "Rename a passkey", ""),
		g.remove("/v1/me/passkeys/{id}", "deletePasskey", "Remove a passkey",
			"The last second factor can't be removed while one of your roles needs one. With it go the recovery codes."),
	}
}

func registerPasskeys(api *rest.API, h *factorHandlers) {
	rest.Handle(api, "startPasskey", h.startPasskey, rest.Fails(fault.Conflict))
	rest.Handle(api, "addPasskey", h.addPasskey, rest.Fails(fault.Conflict), rest.RequestExample(NewPasskey{
		Ceremony: "cer_0199c0b2f3a47c1e8d6a5b4c3d2e1f00", Name: "Laptop",
		Credential: json.RawMessage(`{"id":"c2FtcGxl","rawId":"c2FtcGxl","type":"public-key","response":{"clientDataJSON":"e30","attestationObject":"oA"}}`),
	}))
	rest.Handle(api, "listPasskeys", h.listPasskeys)
	rest.Handle(api, "renamePasskey", h.renamePasskey, rest.RequestExample(PasskeyName{Name: "Laptop"}))
	rest.Handle(api, "deletePasskey", h.removePasskey, rest.Fails(fault.Conflict))
}

// PasskeyInfo is a passkey as its owner knows it.
type PasskeyInfo struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	CreatedAt  time.Time  `json:"created_at"`
	LastUsedAt *time.Time `json:"last_used_at" doc:"null: never."`
}

func showPasskeys(list []factor.Passkey) []PasskeyInfo {
	out := make([]PasskeyInfo, len(list))
	for i, k := range list {
		out[i] = showPasskey(k)
	}
	return out
}

func showPasskey(k factor.Passkey) PasskeyInfo {
	return PasskeyInfo{ID: k.ID, Name: k.Name, CreatedAt: k.CreatedAt.Truncate(time.Microsecond), LastUsedAt: until(k.LastUsedAt)}
}

// PasskeyOptions begin a ceremony.
type PasskeyOptions struct {
	Ceremony string          `json:"ceremony" doc:"Goes with the answer."`
	Options  json.RawMessage `json:"options" doc:"WebAuthn's, as JSON."`
}

type passkeyOptionsOutput struct{ Body PasskeyOptions }

func (h *factorHandlers) startPasskey(ctx context.Context, p authz.Principal, _ *struct{}) (*passkeyOptionsOutput, error) {
	return optionsOf(h.svc.StartPasskey(ctx, p))
}

// NewPasskey answers a ceremony.
type NewPasskey struct {
	Ceremony   string          `json:"ceremony" maxLength:"100"`
	Name       string          `json:"name" minLength:"1" maxLength:"100" doc:"By which you know it: the device that has it."`
	Credential json.RawMessage `json:"credential" doc:"The browser's PublicKeyCredential, by its toJSON."`
}

type newPasskeyInput struct{ Body NewPasskey }

// AddedPasskey is a new passkey with what follows from it.
type AddedPasskey struct {
	Passkey PasskeyInfo `json:"passkey"`
	Enrolled
}

type addedPasskeyOutput struct {
	SetCookie []http.Cookie `header:"Set-Cookie"`
	Body      AddedPasskey
}

func (h *factorHandlers) addPasskey(ctx context.Context, p authz.Principal, in *newPasskeyInput) (*addedPasskeyOutput, error) {
	key, e, err := h.svc.AddPasskey(ctx, p, factor.NewPasskey{
		Name: in.Body.Name, Proof: factor.PasskeyProof{Ceremony: in.Body.Ceremony, Credential: in.Body.Credential},
	})
	if err != nil {
		return nil, err
	}
	out := &addedPasskeyOutput{Body: AddedPasskey{Passkey: showPasskey(key)}}
	out.Body.Enrolled, out.SetCookie = h.enrolled(e)
	return out, nil
}

type passkeysOutput struct{ Body rest.List[PasskeyInfo] }

func (h *factorHandlers) listPasskeys(ctx context.Context, p authz.Principal, _ *struct{}) (*passkeysOutput, error) {
	list, err := h.svc.Passkeys(ctx, p)
	if err != nil {
		return nil, err
	}
	return &passkeysOutput{Body: rest.List[PasskeyInfo]{Data: showPasskeys(list)}}, nil
}

// PasskeyName is what a passkey is to be called.
type PasskeyName struct {
	Name string `json:"name" minLength:"1" maxLength:"100"`
}

type passkeyNameInput struct {
	ID   string `path:"id" maxLength:"100"`
	Body PasskeyName
}

type passkeyOutput struct{ Body PasskeyInfo }

func (h *factorHandlers) renamePasskey(ctx context.Context, p authz.Principal, in *passkeyNameInput) (*passkeyOutput, error) {
	key, err := h.svc.RenamePasskey(ctx, p, in.ID, in.Body.Name)
	if err != nil {
		return nil, err
	}
	return &passkeyOutput{Body: showPasskey(key)}, nil
}

type passkeyIDInput struct {
	ID string `path:"id" maxLength:"100"`
}

func (h *factorHandlers) removePasskey(ctx context.Context, p authz.Principal, in *passkeyIDInput) (*noOutput, error) {
	return &noOutput{}, h.svc.RemovePasskey(ctx, p, in.ID)
}
