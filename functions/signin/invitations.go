package signin

import (
	"context"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/invitation"
	"github.com/aiaas/aiaas/shared/rest"
	"github.com/aiaas/aiaas/shared/session"
	"github.com/aiaas/aiaas/shared/signin"
)

func invitationRoutes() []function.Route {
	g := routes{"Invitations", ""}
	accept := g.post("/v1/invitations/accept", "acceptInvitation", "Accept an invitation",
		"You become a member, once, and are signed in, or asked for your second factor. Who has no password yet sets one, with the own name; who has one gives it, or is signed in already.")
	accept.Optional = true
	return []function.Route{
		g.post("/v1/invitations/inspect", "inspectInvitation", "Show what an invitation is for", "To who has its link. One that opens nothing, for whatever reason, is the same 404."),
		accept,
	}
}

func registerInvitations(api *rest.API, h *invitationHandlers) {
	const example = invitation.TokenPrefix + "q8yGm1xJtVfA0sZyHkq2mT4dW7u3cB9rLxEo5nPiKhg"
	rest.Handle(api, "inspectInvitation", h.inspect, rest.Fails(fault.NotFound), rest.RequestExample(InvitationLink{Token: example}))
	rest.Handle(api, "acceptInvitation", h.accept, rest.Fails(fault.NotFound), rest.Fails(fault.Conflict), rest.Fails(fault.Unauthenticated),
		rest.Fails(fault.Forbidden), rest.Fails(fault.RateLimited),
		rest.RequestExample(Acceptance{Token: example, Name: "Ada Lovelace", Password: "eleven purple herons"}))
}

type invitationHandlers struct {
	svc     *invitation.Acceptance
	signIn  *signin.Service
	cookies Cookies
}

// InvitationLink is what the link of an invitation has.
type InvitationLink struct {
	Token string `json:"token" maxLength:"100" doc:"What stands after #token= in the link."`
}

// InvitationOffer is what an invitation is for.
type InvitationOffer struct {
	Organization string    `json:"organization" doc:"Its name."`
	Role         string    `json:"role" doc:"Its name."`
	Email        string    `json:"email" doc:"Of which only so much is shown that you know your own by it."`
	Name         string    `json:"name" doc:"What the organisation calls you; empty where it has not said."`
	ExpiresAt    time.Time `json:"expires_at"`
}

type inspectInput struct{ Body InvitationLink }

type offerOutput struct{ Body InvitationOffer }

func (h *invitationHandlers) inspect(ctx context.Context, _ authz.Principal, in *inspectInput) (*offerOutput, error) {
	o, err := h.svc.Inspect(ctx, in.Body.Token)
	if err != nil {
		return nil, err
	}
	return &offerOutput{Body: InvitationOffer{
		Organization: o.OrgName, Role: o.RoleName, Email: invitation.Masked(o.Email), Name: o.Name, ExpiresAt: o.ExpiresAt,
	}}, nil
}

// Acceptance is the body that accepts an invitation.
type Acceptance struct {
	Token     string `json:"token" maxLength:"100" doc:"What stands after #token= in the link."`
	Name      string `json:"name,omitempty" maxLength:"100" doc:"As you call yourself; for who has no account yet."`
	Password  string `json:"password,omitempty" maxLength:"256" doc:"The one of your account, or the first one. Left out, you accept as who is signed in."`
	Transport string `json:"transport,omitempty" enum:"cookie,bearer" doc:"How the session is carried; left out, by a cookie."`
}

type acceptInput struct {
	Caller

	Body Acceptance
}

func (h *invitationHandlers) accept(ctx context.Context, p authz.Principal, in *acceptInput) (*signedInOutput, error) {
	b := in.Body
	from := h.cookies.from(in.Caller, p.Address, b.Transport)
	if b.Password != "" {
		p = authz.Principal{} // who shows a password is whose it is, whoever is signed in
	}
	m, err := h.svc.Accept(ctx, invitation.Accept{
		Token: b.Token, Name: b.Name, Password: b.Password, By: p,
		From: invitation.From{Address: from.Address, UserAgent: from.UserAgent, Device: from.Device},
	})
	if err != nil {
		return nil, err
	}
	entry := signin.Entry{OrgID: m.OrgID, Means: session.Password, From: from}
	if m.Signed {
		entry.Means, entry.MFA, entry.ProvedAt = session.Means(p.Means), p.MFA, p.ProvedAt
		entry.Replaces = session.Of{OrgID: p.OrgID, ID: p.KeyID}
	}
	if entry, err = h.signIn.EntryOf(ctx, m.UserID, entry); err != nil {
		return nil, err
	}
	return h.cookies.answer(h.signIn.Proceed(ctx, entry))
}
