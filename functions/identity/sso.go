package identity

import (
	"context"
	"net/http"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/rest"
	"github.com/aiaas/aiaas/shared/sso"
)

// JobDomains looks once a day whether the DNS still shows the records of verified
// domains.
const JobDomains = "sso-domains"

func ssoRoutes() []function.Route {
	g := routes{"Single sign-on", authz.SettingsRead, authz.SettingsWrite}
	people := routes{"Single sign-on", authz.MembersRead, authz.MembersWrite}
	return []function.Route{
		g.get("/v1/sso/domains", "listSsoDomains", "List the domains", "The domains of e-mail addresses that the organisation says are its own. All on one page."),
		g.create("/v1/sso/domains", "addSsoDomain", "Add a domain",
			"The answer names the TXT record that shows that the domain is the organisation's; `verify` looks for it. Domains of public mail providers are refused."),
		g.get("/v1/sso/domains/{id}", "getSsoDomain", "Show a domain", ""),
		g.change(http.MethodPost, "/v1/sso/domains/{id}/verify", "verifySsoDomain", "Verify a domain",
			"Looks for the record in the DNS: 409 while it is not there, and where another organisation has verified the domain and the DNS shows its record as well. A domain whose holder's record is gone, or whose holder is closed, moves. Leave the record in place: it is looked for every day, and a domain without it for three days in a row is verified no more."),
		g.remove("/v1/sso/domains/{id}", "removeSsoDomain", "Remove a domain", "Nobody with an address of it signs in by the organisation's connections any more. The sessions of those who did end."),
		g.get("/v1/sso/connections", "listSsoConnections", "List the connections", "The issuers of OpenID Connect that the organisation trusts with its people. All on one page."),
		g.create("/v1/sso/connections", "createSsoConnection", "Create a connection",
			"The issuer is asked at once for what it publishes at `/.well-known/openid-configuration`. Set `redirect_uri` of the answer there. "+
				"The issuer is believed about people with a verified address of a verified domain only; whom it brings for the first time becomes a member, with the highest role that a mapped group of his gives, else the default one. "+
				"The connection vouches with the rank of who sets it up: one that an admin made signs in who is below an admin; any change of it by an owner makes it vouch for everybody. "+
				"Needs `members:write` as well, and gives no role that its maker may not give."),
		g.get("/v1/sso/connections/{id}", "getSsoConnection", "Show a connection", "The client secret is never shown."),
		g.change(http.MethodPatch, "/v1/sso/connections/{id}", "changeSsoConnection", "Change a connection",
			"What the body does not name stays. Issuer and client id can't be changed: people are known by them; make another connection. "+
				"With a change of whom it speaks for, and with one that changes nothing, the connection vouches with the rank of who made it. Sessions that could not begin any more after the change end."),
		g.remove("/v1/sso/connections/{id}", "deleteSsoConnection", "Delete a connection", "With the identities that it made known. Those people stay members."),
		people.get("/v1/sso/identities", "listSsoIdentities", "List who is known by single sign-on", ""),
		people.remove("/v1/sso/identities/{id}", "unlinkSsoIdentity", "Forget an identity",
			"For when the issuer knows a person by a new subject: whoever signs in next with that person's address is taken for him."),
	}
}

func registerSSO(api *rest.API, h *ssoHandlers) {
	rest.Handle(api, "listSsoDomains", h.domains)
	rest.Handle(api, "addSsoDomain", h.addDomain, rest.Fails(fault.Conflict), rest.RequestExample(NewSsoDomain{Domain: "example.com"}))
	rest.Handle(api, "getSsoDomain", h.domain)
	rest.Handle(api, "verifySsoDomain", h.verifyDomain, rest.Fails(fault.Conflict))
	rest.Handle(api, "removeSsoDomain", h.removeDomain)
	rest.Handle(api, "listSsoConnections", h.connections)
	rest.Handle(api, "createSsoConnection", h.create, rest.Fails(fault.Conflict), rest.RequestExample(NewSsoConnection{
		Name: "Our directory", Issuer: "https://login.example.com", ClientID: "aiaas", ClientSecret: "…", DefaultRole: "developer",
		GroupsClaim: "groups", GroupRoles: map[string]string{"ai-finance": "finance"},
	}))
	rest.Handle(api, "getSsoConnection", h.connection)
	yes := true
	rest.Handle(api, "changeSsoConnection", h.change, rest.RequestExample(ChangedSsoConnection{Required: &yes, TrustMFA: &yes}))
	rest.Handle(api, "deleteSsoConnection", h.delete)
	rest.Handle(api, "listSsoIdentities", h.identities)
	rest.Handle(api, "unlinkSsoIdentity", h.unlink)
}

type ssoHandlers struct {
	svc       *sso.Admin
	publicURL string
}

// SsoDomain is a domain of e-mail addresses.
type SsoDomain struct {
	ID         string     `json:"id"`
	Domain     string     `json:"domain"`
	Verified   bool       `json:"verified"`
	Record     DNSRecord  `json:"record" doc:"What the DNS has to show."`
	CreatedAt  time.Time  `json:"created_at"`
	VerifiedAt *time.Time `json:"verified_at"`
}

// DNSRecord is a record of the DNS.
type DNSRecord struct {
	Type  string `json:"type" enum:"TXT"`
	Name  string `json:"name" example:"_aiaas-challenge.example.com"`
	Value string `json:"value"`
}

func showDomain(d sso.Domain) SsoDomain {
	return SsoDomain{
		ID: d.ID, Domain: d.Name, Verified: d.Verified(), Record: DNSRecord{Type: "TXT", Name: d.RecordName(), Value: d.RecordValue()},
		CreatedAt: d.CreatedAt, VerifiedAt: moment(d.VerifiedAt),
	}
}

type ssoDomainOutput struct{ Body SsoDomain }

func answerDomain(d sso.Domain, err error) (*ssoDomainOutput, error) {
	if err != nil {
		return nil, err
	}
	return &ssoDomainOutput{Body: showDomain(d)}, nil
}

type ssoDomainsOutput struct{ Body rest.List[SsoDomain] }

func (h *ssoHandlers) domains(ctx context.Context, p authz.Principal, _ *struct{}) (*ssoDomainsOutput, error) {
	list, err := h.svc.ListDomains(ctx, p)
	if err != nil {
		return nil, err
	}
	out := &ssoDomainsOutput{Body: rest.List[SsoDomain]{Data: []SsoDomain{}}}
	for _, d := range list {
		out.Body.Data = append(out.Body.Data, showDomain(d))
	}
	return out, nil
}

// NewSsoDomain is the body that adds a domain.
type NewSsoDomain struct {
	Domain string `json:"domain" minLength:"1" maxLength:"254" example:"example.com"`
}

type addSsoDomainInput struct{ Body NewSsoDomain }

func (h *ssoHandlers) addDomain(ctx context.Context, p authz.Principal, in *addSsoDomainInput) (*ssoDomainOutput, error) {
	return answerDomain(h.svc.AddDomain(ctx, p, in.Body.Domain))
}

func (h *ssoHandlers) domain(ctx context.Context, p authz.Principal, in *idInput) (*ssoDomainOutput, error) {
	return answerDomain(h.svc.GetDomain(ctx, p, in.ID))
}

func (h *ssoHandlers) verifyDomain(ctx context.Context, p authz.Principal, in *idInput) (*ssoDomainOutput, error) {
	return answerDomain(h.svc.VerifyDomain(ctx, p, in.ID))
}

func (h *ssoHandlers) removeDomain(ctx context.Context, p authz.Principal, in *idInput) (*noOutput, error) {
	return &noOutput{}, h.svc.RemoveDomain(ctx, p, in.ID)
}

// SsoConnection is an issuer that the organisation trusts with its people.
type SsoConnection struct {
	ID           string    `json:"id"`
	Name         string    `json:"name"`
	Issuer       string    `json:"issuer"`
	ClientID     string    `json:"client_id"`
	PublicClient bool      `json:"public_client" doc:"It has no client secret."`
	RedirectURI  string    `json:"redirect_uri" doc:"Where the issuer has to send people back to."`
	Domains      []string  `json:"domains" nullable:"false" doc:"The verified domains that it serves; empty: all that no other connection names."`
	DefaultRole  *string   `json:"default_role" doc:"Of who is in no mapped group; null: he is refused."`
	GroupsClaim  *string   `json:"groups_claim"`
	GroupRoles   RoleMap   `json:"group_roles" nullable:"false"`
	Required     bool      `json:"required" doc:"Members with an address of its domains sign in by it only; owners may do otherwise. Needs trust_mfa: who has to show a second factor shows the issuer's."`
	TrustMFA     bool      `json:"trust_mfa" doc:"A second factor that the issuer has asked for counts; else the platform asks for its own."`
	Enabled      bool      `json:"enabled"`
	VouchesAs    string    `json:"vouches_as" doc:"The role of who last said whom it speaks for: it signs in nobody who is as high, save that an owner's signs in everybody."`
	CreatedAt    time.Time `json:"created_at"`
	UpdatedAt    time.Time `json:"updated_at"`
}

// RoleMap is which role a group gives, by group.
type RoleMap map[string]string

func (h *ssoHandlers) show(c sso.Connection) SsoConnection {
	return SsoConnection{
		ID: c.ID, Name: c.Name, Issuer: c.Issuer, ClientID: c.ClientID, PublicClient: c.Secret == "", RedirectURI: sso.RedirectURL(h.publicURL, c.ID),
		Domains: c.Domains, DefaultRole: orNull(c.DefaultRole), GroupsClaim: orNull(c.GroupsClaim), GroupRoles: c.GroupRoles, Required: c.Required,
		TrustMFA: c.TrustMFA, Enabled: c.Enabled, VouchesAs: c.Authority, CreatedAt: c.CreatedAt, UpdatedAt: c.UpdatedAt,
	}
}

type ssoConnectionOutput struct{ Body SsoConnection }

func (h *ssoHandlers) answer(c sso.Connection, err error) (*ssoConnectionOutput, error) {
	if err != nil {
		return nil, err
	}
	return &ssoConnectionOutput{Body: h.show(c)}, nil
}

type ssoConnectionsOutput struct{ Body rest.List[SsoConnection] }

func (h *ssoHandlers) connections(ctx context.Context, p authz.Principal, _ *struct{}) (*ssoConnectionsOutput, error) {
	list, err := h.svc.ListConnections(ctx, p)
	if err != nil {
		return nil, err
	}
	out := &ssoConnectionsOutput{Body: rest.List[SsoConnection]{Data: []SsoConnection{}}}
	for _, c := range list {
		out.Body.Data = append(out.Body.Data, h.show(c))
	}
	return out, nil
}

func (h *ssoHandlers) connection(ctx context.Context, p authz.Principal, in *idInput) (*ssoConnectionOutput, error) {
	return h.answer(h.svc.GetConnection(ctx, p, in.ID))
}

// NewSsoConnection is the body that creates a connection.
type NewSsoConnection struct {
	Name         string   `json:"name" minLength:"1" maxLength:"100"`
	Issuer       string   `json:"issuer" minLength:"1" maxLength:"500" doc:"Its address, exactly as it calls itself."`
	ClientID     string   `json:"client_id" minLength:"1" maxLength:"300"`
	ClientSecret string   `json:"client_secret,omitempty" maxLength:"500" doc:"Left out: a public client, by PKCE alone."`
	Domains      []string `json:"domains,omitempty" maxItems:"50" nullable:"false"`
	DefaultRole  string   `json:"default_role,omitempty" maxLength:"64" doc:"Left out: who is in no mapped group is refused."`
	GroupsClaim  string   `json:"groups_claim,omitempty" maxLength:"100"`
	GroupRoles   RoleMap  `json:"group_roles,omitempty" nullable:"false"`
	Required     bool     `json:"required,omitempty" doc:"Needs trust_mfa."`
	TrustMFA     bool     `json:"trust_mfa,omitempty"`
	Enabled      *bool    `json:"enabled,omitempty" nullable:"false" doc:"Left out: true."`
}

type createSsoConnectionInput struct{ Body NewSsoConnection }

func (h *ssoHandlers) create(ctx context.Context, p authz.Principal, in *createSsoConnectionInput) (*ssoConnectionOutput, error) {
	b := in.Body
	return h.answer(h.svc.CreateConnection(ctx, p, sso.NewConnection{
		Name: b.Name, Issuer: b.Issuer, ClientID: b.ClientID, ClientSecret: b.ClientSecret, Domains: b.Domains, DefaultRole: b.DefaultRole,
		GroupsClaim: b.GroupsClaim, GroupRoles: b.GroupRoles, Required: b.Required, TrustMFA: b.TrustMFA, Enabled: b.Enabled == nil || *b.Enabled,
	}))
}

// ChangedSsoConnection is the body that changes a connection: what is left out stays.
type ChangedSsoConnection struct {
	Name         *string            `json:"name,omitempty" minLength:"1" maxLength:"100" nullable:"false"`
	ClientSecret *string            `json:"client_secret,omitempty" maxLength:"500" nullable:"false"`
	Domains      []string           `json:"domains,omitzero" required:"false" maxItems:"50" nullable:"false" doc:"In place of those before."`
	DefaultRole  rest.Maybe[string] `json:"default_role,omitzero" required:"false" maxLength:"64"`
	GroupsClaim  rest.Maybe[string] `json:"groups_claim,omitzero" required:"false" maxLength:"100"`
	GroupRoles   RoleMap            `json:"group_roles,omitzero" required:"false" nullable:"false" doc:"In place of those before."`
	Required     *bool              `json:"required,omitempty" nullable:"false" doc:"Needs trust_mfa."`
	TrustMFA     *bool              `json:"trust_mfa,omitempty" nullable:"false"`
	Enabled      *bool              `json:"enabled,omitempty" nullable:"false"`
}

type changeSsoConnectionInput struct {
	ID   string `path:"id" maxLength:"100"`
	Body ChangedSsoConnection
}

func (h *ssoHandlers) change(ctx context.Context, p authz.Principal, in *changeSsoConnectionInput) (*ssoConnectionOutput, error) {
	b := in.Body
	return h.answer(h.svc.UpdateConnection(ctx, p, in.ID, sso.Change{
		Name: b.Name, ClientSecret: b.ClientSecret, Domains: b.Domains, DefaultRole: orEmpty(b.DefaultRole), GroupsClaim: orEmpty(b.GroupsClaim),
		GroupRoles: b.GroupRoles, Required: b.Required, TrustMFA: b.TrustMFA, Enabled: b.Enabled,
	}))
}

// orEmpty is what a member sets: null sets "".
func orEmpty(m rest.Maybe[string]) *string {
	if m.Given && m.Value == nil {
		return new(string)
	}
	return m.Value
}

func (h *ssoHandlers) delete(ctx context.Context, p authz.Principal, in *idInput) (*noOutput, error) {
	return &noOutput{}, h.svc.DeleteConnection(ctx, p, in.ID)
}

// SsoIdentity is a person as an issuer knows him.
type SsoIdentity struct {
	ID           string    `json:"id"`
	ConnectionID string    `json:"connection_id"`
	Subject      string    `json:"subject" doc:"The issuer's own name for him."`
	MemberID     string    `json:"member_id"`
	Email        *string   `json:"email" doc:"That the platform knows him by; null where he is no member any more."`
	CreatedAt    time.Time `json:"created_at"`
	LastSeenAt   time.Time `json:"last_seen_at"`
}

type ssoIdentitiesInput struct{ rest.Paging }

type ssoIdentitiesOutput struct{ Body rest.List[SsoIdentity] }

func (h *ssoHandlers) identities(ctx context.Context, p authz.Principal, in *ssoIdentitiesInput) (*ssoIdentitiesOutput, error) {
	after, err := in.After(id.Identity)
	if err != nil {
		return nil, err
	}
	list, err := h.svc.ListIdentities(ctx, p, after, in.Fetch())
	if err != nil {
		return nil, err
	}
	return &ssoIdentitiesOutput{Body: rest.Page(in.Paging, list, func(i sso.Identity) string { return i.ID }, func(i sso.Identity) SsoIdentity {
		return SsoIdentity{
			ID: i.ID, ConnectionID: i.ConnectionID, Subject: i.Subject, MemberID: i.UserID, Email: orNull(i.Email),
			CreatedAt: i.CreatedAt, LastSeenAt: i.SeenAt,
		}
	})}, nil
}

func (h *ssoHandlers) unlink(ctx context.Context, p authz.Principal, in *idInput) (*noOutput, error) {
	return &noOutput{}, h.svc.Unlink(ctx, p, in.ID)
}
