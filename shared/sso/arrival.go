package sso

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/mail"
	"github.com/aiaas/aiaas/shared/member"
	"github.com/aiaas/aiaas/shared/naming"
)

// arriving decides what becomes of an arrival.
type arriving struct {
	ctx   context.Context //nolint:containedctx // of one decision, which asks the access policy often
	a     Arrival
	b     Before
	actor authz.Principal // the connection, with the rank that it vouches with
}

// decide is asked under the lock of the organisation.
func decide(ctx context.Context, a Arrival, b Before) (Admission, error) {
	d := &arriving{ctx: ctx, a: a, b: b, actor: vouching(b.Connection, a.Address)}
	if err := d.believed(); err != nil {
		return Admission{}, err
	}
	if b.Standing.Member.ID == "" {
		return d.join()
	}
	if err := d.mayEnter(); err != nil {
		return Admission{}, err
	}
	return d.enter()
}

// vouching is the connection as it acts on people.
func vouching(c Connection, address string) authz.Principal {
	return authz.Principal{
		OrgID: c.OrgID, KeyID: c.ID, OwnerID: c.ID, Role: member.RoleOf(c.Authority), Scopes: authz.Scopes(),
		Method: authz.ByKey, Address: address,
	}
}

// believed refuses whom the connection has no say about.
func (d *arriving) believed() error {
	c, claims := d.b.Connection, d.a.Claims
	switch {
	case !c.Enabled:
		return refuse(Off, "the connection is disabled")
	case !claims.EmailVerified:
		return refuse(Foreign, "the issuer has not verified the e-mail address")
	case !slices.Contains(c.serves(d.b.Verified), DomainOf(claims.Email)):
		return refuse(Foreign, "the e-mail address is not of a domain that the connection serves")
	case d.b.Standing.Member.ID == "" && (d.b.Departed || d.b.Identity != nil):
		return refuse(WasRemoved, "the person was removed from the organization; somebody has to add him again")
	case d.b.Identity == nil && d.b.Other:
		return refuse(Conflicting, "the issuer knew the person of this address by another subject; unlink that identity if it is the same person")
	}
	return nil
}

// plainAddress tells whether a text is an e-mail address as people here have them.
func plainAddress(text string) bool {
	return mail.CheckAddress(text) == nil && !strings.ContainsFunc(text, func(r rune) bool { return r > unicode.MaxASCII })
}

// serves are the domains that the connection has a say about.
func (c *Connection) serves(verified []string) []string {
	if len(c.Domains) == 0 {
		return verified
	}
	return slices.DeleteFunc(slices.Clone(verified), func(d string) bool { return !slices.Contains(c.Domains, d) })
}

// mayEnter refuses a member who is suspended, or above the rank that the connection
// vouches with.
func (d *arriving) mayEnter() error {
	m := d.b.Standing.Member
	switch highest := d.actor.Role == authz.Owner || d.actor.Role == authz.SystemAdministrator; {
	case m.Status != member.Active:
		return refuse(IsSuspended, "the member is suspended")
	case !highest && !authz.Outranks(d.actor.Role, member.RoleOf(m.Role)):
		return refuse(Outranked, "the connection was set up by somebody who is no higher than the member; an owner can confirm it by changing it")
	}
	return nil
}

// mapped is the highest role that the person's groups give, "" where none does. Roles
// that are gone, or that the connection may not give, are passed over.
func (d *arriving) mapped() string {
	best := ""
	for _, group := range d.a.Claims.Groups {
		role, ok := d.b.Connection.GroupRoles[group]
		if ok && before(role, best) && d.mayGive(role) {
			best = role
		}
	}
	return best
}

func (d *arriving) mayGive(role string) bool {
	return member.MayGive(d.ctx, d.actor, d.b.Standing, role) == nil
}

// before tells whether one role goes before another: the higher rank, of equals the
// one that stands first, of those that the organisation made the older one.
func before(role, other string) bool {
	a, b := member.RoleOf(role), member.RoleOf(other)
	switch {
	case other == "":
		return true
	case authz.Outranks(a, b):
		return true
	case authz.Outranks(b, a):
		return false
	}
	order := append(authz.OrganizationRoles(), authz.PlatformRoles()...)
	if i, j := slices.Index(order, a), slices.Index(order, b); i != j {
		return i < j
	}
	return role < other
}

// join makes somebody a member.
func (d *arriving) join() (Admission, error) {
	given := d.mapped()
	role := given
	if role == "" {
		role = d.b.Connection.DefaultRole
	}
	if role == "" || !d.mayGive(role) {
		return Admission{}, refuse(NoRole, "no group of the person gives a role, and there is no default one")
	}
	m := d.b.Standing.Member
	m.OrgID, m.ID, m.Kind, m.Email = d.a.OrgID, d.b.UserID, member.Person, strings.ToLower(d.a.Claims.Email)
	m.Name, m.Role, m.Status, m.AddedBy, m.CreatedAt = nameOf(d.a.Claims), role, member.Active, d.b.Connection.ID, d.a.At
	joined := d.record("member.add", map[string]any{"role": role, "email": m.Email, "name": m.Name, "connection": d.b.Connection.ID})
	return Admission{Member: m, GivenRole: given, Records: []audit.Record{joined, d.linked()}}, nil
}

// nameOf is what the issuer calls him, where that can be a name here.
func nameOf(c Claims) string {
	name := strings.TrimSpace(c.Name)
	if naming.Name("name", name) != nil {
		return ""
	}
	return name
}

// enter lets a member in, with the role that his groups give now.
func (d *arriving) enter() (Admission, error) {
	m := d.b.Standing.Member
	adm := Admission{Member: m, GivenRole: d.mapped()}
	if d.b.Identity == nil {
		adm.Records = append(adm.Records, d.linked())
	}
	role := adm.GivenRole
	if role == "" {
		var err error
		if role, err = d.ungrouped(); err != nil {
			return Admission{}, err
		}
	}
	if role == m.Role {
		return adm, nil
	}
	next := m
	next.Role = role
	if err := d.mayBecome(next); err != nil {
		adm.GivenRole = d.given() // what was not given can't be taken back
		adm.Records = append(adm.Records, d.record("sso.role_kept", map[string]any{"role": m.Role, "wanted": role, "why": fault.From(err).Detail}))
		return adm, nil
	}
	adm.Member = next
	adm.Records = append(adm.Records, d.record("member.role_change", map[string]any{
		"role": role, "before": m.Role, "name": m.Name, "connection": d.b.Connection.ID,
	}))
	return adm, nil
}

// given is the role that a group gave him last.
func (d *arriving) given() string {
	if d.b.Identity == nil {
		return ""
	}
	return d.b.Identity.GivenRole
}

// ungrouped is the role of a member for whom no group speaks: one that a group gave is
// taken back, one that somebody gave him stays.
func (d *arriving) ungrouped() (string, error) {
	m, fallback := d.b.Standing.Member, d.b.Connection.DefaultRole
	switch {
	case d.given() == "" || d.given() != m.Role:
		return m.Role, nil
	case fallback == "" || !d.mayGive(fallback):
		return "", refuse(NoRole, "the group that gave the member his role is no longer his, and there is no default one")
	}
	return fallback, nil
}

// mayBecome refuses a change that would leave no owner, or let somebody who has seen
// one of his keys do more than he may.
func (d *arriving) mayBecome(next member.Member) error {
	if err := d.b.Standing.LeavesATop(next); err != nil {
		return err
	}
	return d.b.Standing.CheckWidened(next, d.a.At)
}

func (d *arriving) linked() audit.Record {
	return d.record("sso.link", map[string]any{"connection": d.b.Connection.ID, "email": strings.ToLower(d.a.Claims.Email)})
}

func (d *arriving) record(action string, detail map[string]any) audit.Record {
	return audit.New(d.ctx, d.actor, d.a.At, action, d.b.UserID).With(detail)
}

// strong tells whether what the issuer says of how the person proved himself is more
// than one factor: by the values that RFC 8176 registers, and classes that the large
// issuers use.
func (c Claims) strong() bool {
	methods := []string{"mfa", "otp", "hwk", "sc", "fido"}
	classes := []string{
		"https://refeds.org/profile/mfa", "http://schemas.openid.net/pape/policies/2007/06/multi-factor", "phr", "phrh",
		"urn:okta:loa:2fa:any",
	}
	return slices.ContainsFunc(c.Methods, func(m string) bool { return slices.Contains(methods, m) }) ||
		slices.Contains(classes, strings.ToLower(c.Class))
}

// provedAt is when the person proved himself to the issuer: never later than now, and
// long ago where that was not said.
func (c Claims) provedAt(now time.Time) time.Time {
	if c.AuthTime.IsZero() {
		return now.Add(-2 * authz.RecentFor)
	}
	if c.AuthTime.After(now) {
		return now
	}
	return c.AuthTime
}
