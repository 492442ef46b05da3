package authz

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/fault"
)

// Principal is an authenticated caller. The zero value is nobody: it grants
// nothing and passes no check.
type Principal struct {
	OrgID     string
	ProjectID string // "" where the credential is not bound to a project
	KeyID     string // the credential
	OwnerID   string // whose it is: a member or a service account
	Role      Role   // of the owner; [Custom] for one that the organisation made
	Custom    CustomRole
	Scopes    []Scope // what the credential grants at most
	Projects  map[string]ProjectRole
	Models    []string // the only models it may use; nil: all of the organisation's
	Method    Method
	MFA       bool
	ProvedAt  time.Time // when the person last proved himself; zero for keys
	Means     string    // how: "password", "passkey", "sso"; "" for keys
	Address   string    // where the request came from; "" where that is not known
	Expires   time.Time // when the credential ends; zero: never
	Replaced  bool      // it was shown a secret that was replaced, and works only for a while

	keyIPs       []netip.Prefix
	restrictions Restrictions
	zone         *time.Location
	now          func() time.Time
	policy       Policy
}

// Bounds are the conditions under which a credential may be used.
type Bounds struct {
	KeyIPs       []netip.Prefix
	Restrictions Restrictions
	Zone         *time.Location // of the organisation; nil is UTC
	Now          func() time.Time
}

// Within returns the principal bound by conditions.
func (p Principal) Within(b Bounds) Principal {
	p.keyIPs, p.restrictions, p.zone, p.now = b.KeyIPs, b.Restrictions, b.Zone, b.Now
	return p
}

// From returns the principal as one who calls from an address.
func (p Principal) From(address string) Principal {
	p.Address = address
	return p
}

// Under returns the principal with the policy that decides what it may do. Without
// one, [Grants] do.
func (p Principal) Under(policy Policy) Principal {
	p.policy = policy
	return p
}

// Internal is the process itself, acting on its operator's word: a member of the
// platform that may do what the scopes say. Name ends up in audit records.
func Internal(org, name string, scopes ...Scope) Principal {
	return Principal{OrgID: org, KeyID: name, OwnerID: name, Role: SystemAdministrator, Scopes: scopes, Method: ByKey}
}

// Actor names the principal in audit records: a key, or who acts without one.
func (p Principal) Actor() string {
	if p.Method == ByKey || p.Method == "" {
		return p.KeyID
	}
	return p.OwnerID
}

// Person returns the id of the person who acts here by a session or by a token that he
// gave to a program; Forbidden for keys and for programs, which have no account of
// their own.
func (p Principal) Person() (userID string, err error) {
	switch {
	case !p.Somebody():
		return "", fault.New(fault.Unauthenticated, "")
	case p.Method != BySession && p.Method != ByToken:
		return "", fault.New(fault.Forbidden, "this is about a person's own account: sign in").With("reason", "person")
	}
	return p.OwnerID, nil
}

// Recent reports whether the person has proved himself a moment ago.
func (p Principal) Recent(now time.Time) bool {
	return !p.ProvedAt.IsZero() && now.Sub(p.ProvedAt) <= RecentFor
}

// RequireRecent returns nil where the person has proved himself a moment ago, else
// what asks him to.
func (p Principal) RequireRecent(now time.Time) error {
	if p.Recent(now) {
		return nil
	}
	return ErrStepUp()
}

// ErrStepUp asks a person to prove himself again, as RFC 9470 has it.
func ErrStepUp() *fault.Error {
	return fault.New(fault.Forbidden, "this needs you to prove yourself again, for the last time is more than %d minutes ago", int(RecentFor.Minutes())).
		With("reason", string(ReasonStepUp)).With("max_age", int(RecentFor.Seconds()))
}

// Somebody reports whether the principal is anybody at all.
func (p Principal) Somebody() bool {
	return p.OrgID != "" && p.KeyID != "" && p.OwnerID != "" && p.Role != ""
}

// Subject is the principal as a policy sees it.
func (p Principal) Subject() Subject {
	s := Subject{
		OrgID: p.OrgID, OwnerID: p.OwnerID, Role: p.Role, Custom: p.Custom, Scopes: p.Scopes, Projects: p.Projects,
		KeyIPs: p.keyIPs, Method: p.Method, MFA: p.MFA, Recent: p.now != nil && p.Recent(p.now()),
	}
	if p.KeyID == "" {
		return Subject{} // no credential, nobody
	}
	return s
}

// Query is the question whether the principal may do an action, here and now.
func (p Principal) Query(a Action, r *Resource) Query {
	q := Query{Subject: p.Subject(), Action: a, Resource: r, Restrictions: p.restrictions}
	q.Circumstances.Address, _ = netip.ParseAddr(p.Address)
	if p.now != nil {
		zone := p.zone
		if zone == nil {
			zone = time.UTC
		}
		at := p.now().In(zone)
		q.Circumstances.Minute, q.Circumstances.Weekday = at.Hour()*60+at.Minute(), int(at.Weekday())
	}
	return q
}

// Decide asks the policy. Where it can't be asked, the answer is no.
func (p Principal) Decide(ctx context.Context, a Action, r *Resource) (Decision, error) {
	policy := p.policy
	if policy == nil {
		policy = Grants{}
	}
	d, err := policy.Decide(ctx, p.Query(a, r))
	if err != nil {
		return Decision{}, fault.Wrap(fault.Unavailable, "ask the access policy", err).After(time.Second)
	}
	return d, nil
}

// Require returns nil when the principal may do the action on everything of its
// organisation, else an error that names the missing right and who has it.
func (p Principal) Require(ctx context.Context, a Action) error {
	d, err := p.Decide(ctx, a, nil)
	switch {
	case err != nil:
		return err
	case !d.Allow:
		return p.refusal(a, d)
	case !d.Reach.All:
		d.Reason, d.GrantedBy = ReasonRole, grantedBy(a)
		return p.refusal(a, d)
	}
	return nil
}

// Reach returns what the action reaches, for operations that list; an error where
// that is nothing.
func (p Principal) Reach(ctx context.Context, a Action) (Reach, error) {
	d, err := p.Decide(ctx, a, nil)
	switch {
	case err != nil:
		return Reach{}, err
	case !d.Allow:
		return Reach{}, p.refusal(a, d)
	}
	return d.Reach, nil
}

// RequireOn returns nil when the principal may do the action on a thing. What is
// out of reach is NotFound, like what does not exist; a peer or a superior is
// Forbidden.
func (p Principal) RequireOn(ctx context.Context, a Action, r Resource) error {
	d, err := p.Decide(ctx, a, &r)
	switch {
	case err != nil:
		return err
	case d.Allow:
		return nil
	case d.Reason == ReasonReach:
		return fault.New(fault.NotFound, "There is nothing of that id.")
	}
	return p.refusal(a, d)
}

// refusal says no in a way that helps.
func (p Principal) refusal(a Action, d Decision) error {
	if d.Reason == ReasonNobody {
		return fault.New(fault.Unauthenticated, "")
	}
	d.GrantedBy = p.inReach(d.GrantedBy)
	return refused(p.Role, a, d).With("permission", string(a)).With("reason", string(d.Reason))
}

func refused(role Role, a Action, d Decision) *fault.Error {
	switch d.Reason {
	case ReasonScope:
		return fault.New(fault.Forbidden, "this credential does not grant %q; %s can make one that does", string(d.Scope), who(d.GrantedBy)).
			With("scope", string(d.Scope)).With("granted_by", names(d.GrantedBy))
	case ReasonAddress:
		return fault.New(fault.Forbidden, "the credential or its organization can't be used from this address; an owner or admin can change its IP allow-list")
	case ReasonHours:
		return fault.New(fault.Forbidden, "the organization allows this during its access hours only; an owner or admin can change them")
	case ReasonMFA:
		return fault.New(fault.Forbidden, "this needs a session with a second factor")
	case ReasonStepUp:
		return ErrStepUp()
	case ReasonRank:
		return fault.New(fault.Forbidden, "nobody acts on a peer or a superior, or gives a role as high as the own; %s is no higher", string(role))
	case ReasonRole, ReasonReach, ReasonUnknown, ReasonUndefined, ReasonNobody, ReasonAllowed:
	}
	return fault.New(fault.Forbidden, "the role %s does not have the right %q; %s can do it, or give a role that has it", string(role), string(a), who(d.GrantedBy)).
		With("granted_by", names(d.GrantedBy))
}

func who(roles []Role) string {
	if len(roles) == 0 {
		return "nobody"
	}
	return strings.Join(names(roles), ", ")
}

func names(roles []Role) []string {
	out := make([]string, len(roles))
	for i, r := range roles {
		out[i] = string(r)
	}
	return out
}

// Has reports whether the credential grants the scope, and its owner's role leaves
// something of it.
func (p Principal) Has(s Scope) bool {
	switch {
	case s == "" || !p.Somebody():
		return false
	case s == AnyScope:
		q := p.Query("", nil)
		return q.addressAllowed()
	}
	return slices.Contains(p.Scopes, s) && slices.Contains(Effective(p.Subject()), s)
}

// RequireScope returns nil where [Principal.Has] does, else an error that names what
// is missing. It is what a route asks before it does any work; what an operation
// asks is an action.
func (p Principal) RequireScope(s Scope) error {
	switch {
	case !p.Somebody():
		return fault.New(fault.Unauthenticated, "")
	case p.Has(s):
		return nil
	case s == AnyScope:
		return refused(p.Role, "", Decision{Reason: ReasonAddress}).With("reason", string(ReasonAddress))
	}
	granted := p.inReach(holders(s))
	f := fault.New(fault.Forbidden, "this credential does not grant %q; %s can make one that does", string(s), who(granted)).With("reason", string(ReasonScope))
	if slices.Contains(p.Scopes, s) {
		f = fault.New(fault.Forbidden, "the role %s has no right that the scope %q stands for; %s have", string(p.Role), string(s), who(granted)).With("reason", string(ReasonRole))
	}
	return f.With("scope", string(s)).With("granted_by", names(granted))
}

// holders are the roles that have, everywhere, some right that a scope stands for.
func holders(s Scope) []Role {
	var out []Role
	for _, a := range Actions() {
		if scope, _ := scopeOf(a); scope == s {
			out = append(out, grantedBy(a)...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// inReach leaves of roles those that there are where the principal is: the platform's
// in the platform's organisation, the others in the others. Where none is left, he is
// told of all: it is a matter of the platform.
func (p Principal) inReach(roles []Role) []Role {
	var out []Role
	for _, r := range roles {
		if r.OfPlatform() == p.Role.OfPlatform() {
			out = append(out, r)
		}
	}
	if len(out) == 0 {
		return roles
	}
	return out
}

// CoversModels reports whether the principal may use every model in want, where
// nil wants all of the organisation's.
func (p Principal) CoversModels(want []string) bool {
	if p.Models == nil {
		return true
	}
	if want == nil {
		return false
	}
	for _, m := range want {
		if !slices.Contains(p.Models, m) {
			return false
		}
	}
	return true
}

// Covers reports whether every scope in want was granted and is of use to the
// principal: a key never hands out more than it has.
func (p Principal) Covers(want []Scope) bool {
	have := Effective(p.Subject())
	for _, s := range want {
		if !p.Somebody() || !slices.Contains(have, s) {
			return false
		}
	}
	return true
}
