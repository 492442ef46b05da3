package sso

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/egress"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/member"
	"github.com/aiaas/aiaas/shared/naming"
)

const (
	maxIssuer   = 500
	maxClientID = 300
	maxSecret   = 500
	maxClaim    = 100
	maxGroups   = 200
	maxGroup    = 200
)

// NewConnection is what a connection is created from.
type NewConnection struct {
	Name         string
	Issuer       string
	ClientID     string
	ClientSecret string // "" of a public client
	Domains      []string
	DefaultRole  string
	GroupsClaim  string
	GroupRoles   map[string]string
	Required     bool
	TrustMFA     bool
	Enabled      bool
}

// CreateConnection adds an issuer that the organisation trusts with its people, once
// it has answered.
func (s *Admin) CreateConnection(ctx context.Context, p authz.Principal, n NewConnection) (Connection, error) {
	if err := mayConnect(ctx, p); err != nil {
		return Connection{}, err
	}
	c, err := s.draft(p, n)
	if err != nil {
		return Connection{}, err
	}
	if err := s.checkIssuer(ctx, c.Issuer); err != nil {
		return Connection{}, err
	}
	err = s.Connections.CreateConnection(ctx, c, func(now Circumstances) (audit.Record, error) {
		if err := mayMap(ctx, p, now, c); err != nil {
			return audit.Record{}, err
		}
		return audit.New(ctx, p, c.CreatedAt, "sso.connection_create", c.ID).With(c.detail()), nil
	})
	return c, err
}

// mayConnect returns nil where the principal may say whom an issuer speaks for: it
// makes members and gives them roles.
func mayConnect(ctx context.Context, p authz.Principal) error {
	if err := p.Require(ctx, authz.DoSettingsWrite); err != nil {
		return err
	}
	if p.Role == authz.Custom { // the rights of such a role change; a rank to vouch with does not
		return fault.New(fault.Forbidden, "a connection vouches for people with the rank of who sets it up: an owner or admin can do it").
			With("reason", string(authz.ReasonRank))
	}
	return p.Require(ctx, authz.DoMembersWrite)
}

// draft is the connection as it is to be stored.
func (s *Admin) draft(p authz.Principal, n NewConnection) (Connection, error) {
	now := s.Now()
	c := Connection{
		OrgID: p.OrgID, ID: id.New(id.Connection), Name: n.Name, Issuer: n.Issuer, ClientID: n.ClientID, Domains: tidy(n.Domains),
		DefaultRole: n.DefaultRole, GroupsClaim: n.GroupsClaim, GroupRoles: n.GroupRoles, Required: n.Required, TrustMFA: n.TrustMFA,
		Enabled: n.Enabled, Authority: string(p.Role), CreatedBy: p.Actor(), CreatedAt: now, UpdatedAt: now,
	}
	if c.GroupRoles == nil {
		c.GroupRoles = map[string]string{}
	}
	if err := c.check(s.Places); err != nil {
		return c, err
	}
	var err error
	c.Secret, err = s.seal(c.ID, n.ClientSecret)
	return c, err
}

func (s *Admin) seal(connectionID, secret string) (string, error) {
	if secret == "" {
		return "", nil
	}
	if len(secret) > maxSecret || strings.ContainsFunc(secret, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", fault.New(fault.Unprocessable, "a client secret has at most %d visible characters", maxSecret).At("client_secret")
	}
	sealed, err := s.Vault.Seal(secret, connectionID)
	if err != nil {
		return "", fmt.Errorf("seal client secret: %w", err)
	}
	return sealed, nil
}

// checkIssuer says what is wrong with an issuer that can't be used.
func (s *Admin) checkIssuer(ctx context.Context, issuer string) error {
	err := s.Issuers.Check(ctx, issuer)
	if err == nil {
		return nil
	}
	text := "it could not be asked"
	if t, ok := troubled(err); ok {
		text = t.Text
	}
	return fault.New(fault.Unprocessable, "the issuer can't be used: %s", text).At("issuer").With("reason", "issuer")
}

// check refuses what can't be a connection, whoever makes it.
func (c *Connection) check(places egress.Rules) error {
	if err := naming.Name("name", c.Name); err != nil {
		return err
	}
	if err := CheckIssuer(c.Issuer, places); err != nil {
		return err
	}
	if c.ClientID == "" || len(c.ClientID) > maxClientID || naming.Line("client_id", c.ClientID, maxClientID) != nil {
		return fault.New(fault.Unprocessable, "a client id has 1 to %d visible characters", maxClientID).At("client_id")
	}
	return c.checkPeople()
}

// checkPeople refuses what makes no sense about whom the connection speaks for.
func (c *Connection) checkPeople() error {
	if err := naming.Line("groups_claim", c.GroupsClaim, maxClaim); err != nil {
		return err
	}
	switch {
	case len(c.GroupRoles) > maxGroups:
		return fault.New(fault.Unprocessable, "at most %d groups give roles", maxGroups).At("group_roles")
	case c.Required && !c.TrustMFA:
		return fault.New(fault.Unprocessable, "people who must sign in by the connection, and whose role needs a second factor, can show none but the issuer's: required needs trust_mfa").At("trust_mfa")
	case len(c.GroupRoles) > 0 && c.GroupsClaim == "":
		return fault.New(fault.Unprocessable, "groups give roles only where groups_claim names the claim that lists them").At("groups_claim")
	case c.DefaultRole == string(authz.Owner) || authz.Role(c.DefaultRole).OfPlatform():
		return fault.New(fault.Unprocessable, "the role %s is nobody's by default; map a group to it", c.DefaultRole).At("default_role")
	}
	for group := range c.GroupRoles {
		if group == "" || naming.Line("group_roles", group, maxGroup) != nil {
			return fault.New(fault.Unprocessable, "a group has 1 to %d visible characters", maxGroup).At("group_roles")
		}
	}
	return nil
}

// mayMap refuses roles that the principal may not give, and domains that are not
// verified.
func mayMap(ctx context.Context, p authz.Principal, now Circumstances, c Connection) error {
	for _, d := range c.Domains {
		if !slices.Contains(now.Verified, d) {
			return fault.New(fault.Unprocessable, "the organization has not verified the domain %q", d).At("domains")
		}
	}
	now.Standing.Member.Kind = member.Person
	if c.DefaultRole != "" {
		if err := member.MayGive(ctx, p, now.Standing, c.DefaultRole); err != nil {
			return fault.From(err).At("default_role")
		}
	}
	for _, group := range slices.Sorted(maps.Keys(c.GroupRoles)) {
		if err := member.MayGive(ctx, p, now.Standing, c.GroupRoles[group]); err != nil {
			return fault.From(err).At("group_roles")
		}
	}
	return nil
}

// CheckIssuer refuses what can't be the address of an issuer, or may not be connected
// to: it is https, or http in networks that the operator has listed.
func CheckIssuer(text string, places egress.Rules) error {
	u, err := url.Parse(text)
	odd := strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
	switch {
	case err != nil || len(text) > maxIssuer || u.Host == "" || u.User != nil || odd || strings.ContainsAny(text, "?#"):
		return fault.New(fault.Unprocessable, "issuer is an https address without query, fragment or user").At("issuer")
	case u.Scheme == "http" && places.Lists():
	case u.Scheme != "https":
		return fault.New(fault.Unprocessable, "issuer is an https address").At("issuer")
	}
	if err := places.CheckURL(u); err != nil {
		return fault.New(fault.Unprocessable, "issuer: %v", err).At("issuer")
	}
	return nil
}

// detail is the connection as it is audited: never with its secret.
func (c *Connection) detail() map[string]any {
	return map[string]any{
		"name": c.Name, "issuer": c.Issuer, "client_id": c.ClientID, "domains": c.Domains, "default_role": c.DefaultRole,
		"groups_claim": c.GroupsClaim, "group_roles": c.GroupRoles, "required": c.Required, "trust_mfa": c.TrustMFA, "enabled": c.Enabled,
	}
}

// ListConnections returns all connections of the organisation.
func (s *Admin) ListConnections(ctx context.Context, p authz.Principal) ([]Connection, error) {
	if err := p.Require(ctx, authz.DoSettingsRead); err != nil {
		return nil, err
	}
	return s.Connections.ListConnections(ctx, p.OrgID)
}

// GetConnection returns a connection.
func (s *Admin) GetConnection(ctx context.Context, p authz.Principal, connectionID string) (Connection, error) {
	if err := p.Require(ctx, authz.DoSettingsRead); err != nil {
		return Connection{}, err
	}
	return s.Connections.GetConnection(ctx, p.OrgID, connectionID)
}

// Change is what of a connection is to be changed; what is nil stays.
type Change struct {
	Name         *string
	ClientSecret *string // "" makes it a public client
	Domains      []string
	DefaultRole  *string
	GroupsClaim  *string
	GroupRoles   map[string]string
	Required     *bool
	TrustMFA     *bool
	Enabled      *bool
}

func (ch Change) apply(c Connection) Connection {
	set(&c.Name, ch.Name)
	set(&c.DefaultRole, ch.DefaultRole)
	set(&c.GroupsClaim, ch.GroupsClaim)
	set(&c.Required, ch.Required)
	set(&c.TrustMFA, ch.TrustMFA)
	set(&c.Enabled, ch.Enabled)
	if ch.Domains != nil {
		c.Domains = tidy(ch.Domains)
	}
	if ch.GroupRoles != nil {
		c.GroupRoles = ch.GroupRoles
	}
	return c
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// UpdateConnection changes a connection. Whoever changes whom it speaks for, or sends
// a change that changes nothing, is the one whose rank it vouches with from then on.
func (s *Admin) UpdateConnection(ctx context.Context, p authz.Principal, connectionID string, ch Change) (Connection, error) {
	if err := mayConnect(ctx, p); err != nil {
		return Connection{}, err
	}
	var secret *string
	if ch.ClientSecret != nil {
		sealed, err := s.seal(connectionID, *ch.ClientSecret)
		if err != nil {
			return Connection{}, err
		}
		secret = &sealed
	}
	return s.Connections.ChangeConnection(ctx, p.OrgID, connectionID, func(now Circumstances, before Connection) (Connection, audit.Record, error) {
		next := ch.apply(before)
		set(&next.Secret, secret)
		next.UpdatedAt = s.Now()
		if err := next.check(s.Places); err != nil {
			return next, audit.Record{}, err
		}
		if err := mayMap(ctx, p, now, next); err != nil {
			return next, audit.Record{}, err
		}
		if !onlyFormal(before, next) {
			next.Authority = string(p.Role)
		}
		detail := next.detail()
		detail["authority"], detail["secret_changed"] = next.Authority, secret != nil
		return next, audit.New(ctx, p, next.UpdatedAt, "sso.connection_update", connectionID).With(detail), nil
	})
}

// onlyFormal tells whether something has changed, and nothing of whom the connection
// speaks for.
func onlyFormal(before, next Connection) bool {
	same := slices.Equal(before.Domains, next.Domains) && before.DefaultRole == next.DefaultRole && before.GroupsClaim == next.GroupsClaim &&
		maps.Equal(before.GroupRoles, next.GroupRoles) && before.TrustMFA == next.TrustMFA && before.Enabled == next.Enabled
	formal := before.Name != next.Name || before.Secret != next.Secret || before.Required != next.Required
	return same && formal
}

// DeleteConnection ends the trust in an issuer, and forgets whom it made known. Those
// people stay members.
func (s *Admin) DeleteConnection(ctx context.Context, p authz.Principal, connectionID string) error {
	if err := p.Require(ctx, authz.DoSettingsWrite); err != nil {
		return err
	}
	return s.Connections.DeleteConnection(ctx, p.OrgID, connectionID, func(c Connection) audit.Record {
		return audit.New(ctx, p, s.Now(), "sso.connection_delete", c.ID).With(map[string]any{"name": c.Name, "issuer": c.Issuer})
	})
}

// ListIdentities returns a page of whom the organisation knows by its connections.
func (s *Admin) ListIdentities(ctx context.Context, p authz.Principal, after string, limit int) ([]Identity, error) {
	if err := p.Require(ctx, authz.DoMembersRead); err != nil {
		return nil, err
	}
	return s.Identities.ListIdentities(ctx, p.OrgID, after, limit)
}

// Unlink forgets an identity: whoever signs in next with that person's address is taken
// for him. It is for when an issuer knows a person by a new subject.
func (s *Admin) Unlink(ctx context.Context, p authz.Principal, identityID string) error {
	if err := p.Require(ctx, authz.DoMembersWrite); err != nil {
		return err
	}
	return s.Identities.Unlink(ctx, p.OrgID, identityID, func(i Identity, m *member.Member) (audit.Record, error) {
		if m != nil {
			if err := p.RequireOn(ctx, authz.DoMembersWrite, authz.Resource{OwnerID: m.ID, Role: member.RoleOf(m.Role)}); err != nil {
				return audit.Record{}, err
			}
		}
		return audit.New(ctx, p, s.Now(), "sso.unlink", i.UserID).With(map[string]any{"connection": i.ConnectionID, "identity": i.ID}), nil
	})
}

// ErrNoConnection is the answer to an id that is no connection's of the organisation.
func ErrNoConnection() *fault.Error { return fault.New(fault.NotFound, "there is no such connection") }

// ErrNoIdentity is the answer to an id that is no identity's of the organisation.
func ErrNoIdentity() *fault.Error { return fault.New(fault.NotFound, "there is no such identity") }

// tidy lists domains in lower case, each once.
func tidy(domains []string) []string {
	out := make([]string, 0, len(domains))
	for _, d := range domains {
		out = append(out, strings.ToLower(d))
	}
	slices.Sort(out)
	return slices.Compact(out)
}
