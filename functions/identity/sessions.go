package identity

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
	g := routes{"Members", authz.MembersRead, authz.MembersWrite}
	return []function.Route{
		g.get("/v1/members/{id}/sessions", "listMemberSessions", "List a member's sessions", "Those in this organisation, the newest first."),
		g.change(http.MethodDelete, "/v1/members/{id}/sessions", "endMemberSessions", "End a member's sessions",
			"Those in this organisation; they are refused from the answer on, everywhere within a second. The member can sign in again: suspend who must not."),
	}
}

type sessionHandlers struct{ svc *session.Service }

func registerSessions(api *rest.API, h *sessionHandlers) {
	rest.Handle(api, "listMemberSessions", h.list)
	rest.Handle(api, "endMemberSessions", h.end)
}

// MemberSession is a session that a member has here.
type MemberSession struct {
	ID         string    `json:"id"`
	Kind       string    `json:"kind" enum:"browser,bearer,oauth"`
	Means      string    `json:"means" enum:"password,passkey,sso" doc:"How the member proved himself."`
	Client     *string   `json:"client" doc:"The program that it was given to."`
	MFA        bool      `json:"mfa" doc:"Whether a second factor was shown."`
	Address    string    `json:"address" doc:"Where it began."`
	UserAgent  string    `json:"user_agent"`
	CreatedAt  time.Time `json:"created_at"`
	LastSeenAt time.Time `json:"last_seen_at" doc:"Within a minute."`
	ExpiresAt  time.Time `json:"expires_at" doc:"At the latest."`
}

type memberSessionsOutput struct{ Body rest.List[MemberSession] }

func (h *sessionHandlers) list(ctx context.Context, p authz.Principal, in *idInput) (*memberSessionsOutput, error) {
	list, err := h.svc.ListOf(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	out := &memberSessionsOutput{Body: rest.List[MemberSession]{Data: []MemberSession{}}}
	for _, s := range list {
		out.Body.Data = append(out.Body.Data, MemberSession{
			ID: s.ID, Kind: string(s.Kind), Means: string(s.Means), Client: orNull(s.Client), MFA: s.MFA, Address: s.Address, UserAgent: s.UserAgent,
			CreatedAt: s.CreatedAt, LastSeenAt: s.SeenAt, ExpiresAt: s.ExpiresAt,
		})
	}
	return out, nil
}

// EndedSessions says how many ended.
type EndedSessions struct {
	Ended int `json:"ended"`
}

type endedOutput struct{ Body EndedSessions }

func (h *sessionHandlers) end(ctx context.Context, p authz.Principal, in *idInput) (*endedOutput, error) {
	n, err := h.svc.EndOf(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	return &endedOutput{Body: EndedSessions{Ended: n}}, nil
}
