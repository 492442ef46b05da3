package authz

import (
	"context"
	"net/netip"
	"slices"
	"time"
)

// Method is how a caller proved who he is.
type Method string

// The methods.
const (
	ByKey     Method = "key"
	BySession Method = "session"
	ByToken   Method = "token"  // an access token of OAuth2, of a person
	ByClient  Method = "client" // an access token of OAuth2, of a program
)

// Subject is who asks, as a decision needs it.
type Subject struct {
	OrgID    string
	OwnerID  string // the member or service account: "user_…", "sa_…"
	Role     Role   // [Custom] for one that the organisation made itself
	Custom   CustomRole
	Scopes   []Scope                // what the credential grants at most
	Projects map[string]ProjectRole // the projects that he is a member of
	KeyIPs   []netip.Prefix         // where the key may be used from; none: anywhere
	Method   Method
	MFA      bool // the second factor was shown
	Recent   bool // he has proved himself a moment ago: within [RecentFor]
}

// RecentFor is how long a proof of oneself is good for sensitive actions.
const RecentFor = 15 * time.Minute

// Resource is what is acted on. The empty one is anything of the organisation.
type Resource struct {
	ProjectID string
	OwnerID   string // whose it is, or the person acted on
	Role      Role   // of the person acted on
	Grants    Role   // the role to be given
}

// Circumstances are those of one request.
type Circumstances struct {
	Address netip.Addr
	Minute  int // of the day, on the clock of the organisation
	Weekday int // 0 is Sunday
}

// Hours are when people may work: on these days, from and up to these minutes of
// the day. No days: at any time.
type Hours struct {
	Days []int // 0 is Sunday
	From int
	To   int
}

// Restrictions are what an organisation demands of everybody in it.
type Restrictions struct {
	IPs      []netip.Prefix // none: from anywhere
	Hours    Hours
	MFARoles []Role // besides those for which the second factor is always asked
}

// Query is a question to a policy: may this subject do this action, here and now?
// A nil Resource asks for the action as such: what does it reach?
type Query struct {
	Subject       Subject
	Action        Action
	Resource      *Resource
	Circumstances Circumstances
	Restrictions  Restrictions
}

// Reason says why a decision is what it is.
type Reason string

// The reasons, in the order in which they are looked for.
const (
	ReasonAllowed   Reason = "allowed"
	ReasonNobody    Reason = "nobody"
	ReasonUnknown   Reason = "unknown_action"
	ReasonScope     Reason = "scope"   // the credential does not grant it
	ReasonRole      Reason = "role"    // the role has no such right
	ReasonAddress   Reason = "address" // not from here
	ReasonHours     Reason = "hours"   // not now
	ReasonMFA       Reason = "mfa"     // not without the second factor
	ReasonReach     Reason = "reach"   // not on this
	ReasonRank      Reason = "rank"    // not on a peer or a superior
	ReasonStepUp    Reason = "step_up" // not without proving oneself again
	ReasonUndefined Reason = "undefined"
)

// Reach is what an action covers: everything in the organisation, what belongs to
// the projects, and what is the subject's own.
type Reach struct {
	All      bool
	Projects []string // in order
	OwnerID  string   // "" where not even his own
}

// Covers reports whether a thing is within reach.
func (r Reach) Covers(projectID, ownerID string) bool {
	return r.All || projectID != "" && slices.Contains(r.Projects, projectID) || ownerID != "" && ownerID == r.OwnerID
}

// Decision answers a query.
type Decision struct {
	Allow     bool
	Reason    Reason
	Scope     Scope // that the action needs
	Reach     Reach
	GrantedBy []Role // the roles that have the right everywhere: they can act, or give it
}

// Policy decides. An error is a denial.
type Policy interface {
	Decide(ctx context.Context, q Query) (Decision, error)
}
