package signin

import (
	"context"
	"net/http"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/rest"
	"github.com/aiaas/aiaas/shared/session"
)

func sessionRoutes() []function.Route {
	g := routes{"Sessions", authz.AnyScope}
	signOut := g.post("/v1/sign-out", "signOut", "Sign out", "Ends the session that the request is made by, at once and everywhere; the cookie is taken back.")
	signOut.Status = http.StatusNoContent
	return []function.Route{
		signOut,
		g.get("/v1/sessions", "listSessions", "List your sessions",
			"Browsers, command lines and other programs that act for you, the newest first. By single sign-on: those of its organisation."),
		g.remove("/v1/sessions/{id}", "endSession", "End one of your sessions", "Whatever was issued for it is refused from the answer on, everywhere within a second."),
		g.route(http.MethodDelete, "/v1/sessions", "endOtherSessions", "End all of your sessions but this one", ""),
		g.post("/v1/session/organization", "switchOrganization", "Go to another of your organizations",
			"The session is replaced by one in that organisation, under a new token. Who came by single sign-on signs in there instead."),
	}
}

type sessionHandlers struct {
	svc     *session.Service
	manager *session.Manager
}

func registerSessions(api *rest.API, h *sessionHandlers) {
	rest.Handle(api, "signOut", h.signOut)
	rest.Handle(api, "listSessions", h.list)
	rest.Handle(api, "endSession", h.end)
	rest.Handle(api, "endOtherSessions", h.endOthers)
	rest.Handle(api, "switchOrganization", h.toOrganization,
		rest.RequestExample(Destination{OrganizationID: "org_0199c0b2f3a47c1e8d6a5b4c3d2e1f00"}))
}

// SessionInfo is a session that has not ended.
type SessionInfo struct {
	ID             string    `json:"id"`
	OrganizationID string    `json:"organization_id"`
	Kind           string    `json:"kind" enum:"browser,bearer,oauth,client"`
	Means          string    `json:"means" enum:"password,passkey,sso,client_secret" doc:"How its holder proved himself."`
	Client         *string   `json:"client" doc:"The program that it was given to."`
	Scopes         []string  `json:"scopes" doc:"What it grants at most; null: all that the role gives."`
	MFA            bool      `json:"mfa" doc:"Whether a second factor was shown."`
	Current        bool      `json:"current" doc:"Whether this request is made by it."`
	Address        string    `json:"address" doc:"Where it began."`
	UserAgent      string    `json:"user_agent"`
	CreatedAt      time.Time `json:"created_at"`
	LastSeenAt     time.Time `json:"last_seen_at" doc:"Within a minute."`
	ProvedAt       time.Time `json:"proved_at" doc:"When its holder last proved himself."`
	ExpiresAt      time.Time `json:"expires_at" doc:"At the latest."`
}

func showSession(s session.Session, current string) SessionInfo {
	info := SessionInfo{
		ID: s.ID, OrganizationID: s.OrgID, Kind: string(s.Kind), Means: string(s.Means), MFA: s.MFA, Current: s.ID == current,
		Address: s.Address, UserAgent: s.UserAgent, CreatedAt: s.CreatedAt, LastSeenAt: s.SeenAt, ProvedAt: s.ProvedAt, ExpiresAt: s.ExpiresAt,
	}
	if s.Client != "" {
		info.Client = &s.Client
	}
	for _, sc := range s.Scopes {
		info.Scopes = append(info.Scopes, string(sc))
	}
	return info
}

type signedOutOutput struct {
	SetCookie http.Cookie `header:"Set-Cookie"`
}

func (h *sessionHandlers) signOut(ctx context.Context, p authz.Principal, _ *struct{}) (*signedOutOutput, error) {
	if err := h.svc.SignOut(ctx, p); err != nil {
		return nil, err
	}
	return &signedOutOutput{SetCookie: h.manager.NoCookie()}, nil
}

type sessionsOutput struct{ Body rest.List[SessionInfo] }

func (h *sessionHandlers) list(ctx context.Context, p authz.Principal, _ *struct{}) (*sessionsOutput, error) {
	list, err := h.svc.List(ctx, p)
	if err != nil {
		return nil, err
	}
	out := &sessionsOutput{Body: rest.List[SessionInfo]{Data: []SessionInfo{}}}
	for _, s := range list {
		out.Body.Data = append(out.Body.Data, showSession(s, p.KeyID))
	}
	return out, nil
}

type sessionInput struct {
	ID string `path:"id" maxLength:"100"`
}

func (h *sessionHandlers) end(ctx context.Context, p authz.Principal, in *sessionInput) (*noOutput, error) {
	return &noOutput{}, h.svc.End(ctx, p, in.ID)
}

// EndedOthers says how many ended.
type EndedOthers struct {
	Ended int `json:"ended"`
}

type endedOutput struct{ Body EndedOthers }

func (h *sessionHandlers) endOthers(ctx context.Context, p authz.Principal, _ *struct{}) (*endedOutput, error) {
	n, err := h.svc.EndOthers(ctx, p)
	if err != nil {
		return nil, err
	}
	return &endedOutput{Body: EndedOthers{Ended: n}}, nil
}

// Destination is where to go.
type Destination struct {
	OrganizationID string `json:"organization_id" maxLength:"100"`
}

type destinationInput struct {
	UserAgent string `header:"User-Agent" hidden:"true"`
	Body      Destination
}

// Moved is the session in the other organisation.
type Moved struct {
	Session SessionInfo `json:"session"`
	Token   string      `json:"token,omitempty" doc:"Of a session without a cookie."`
}

type movedOutput struct {
	SetCookie []http.Cookie `header:"Set-Cookie"`
	Body      Moved
}

func (h *sessionHandlers) toOrganization(ctx context.Context, p authz.Principal, in *destinationInput) (*movedOutput, error) {
	opened, err := h.svc.Switch(ctx, p, in.Body.OrganizationID, p.Address, in.UserAgent)
	if err != nil {
		return nil, err
	}
	out := &movedOutput{Body: Moved{Session: showSession(opened.Session, opened.ID)}}
	if opened.Kind == session.Browser {
		out.SetCookie = []http.Cookie{h.manager.Cookie(opened)}
	} else {
		out.Body.Token = opened.Token
	}
	return out, nil
}
