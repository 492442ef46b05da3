package member

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
)

// SubjectRef names who is asked about: exactly one of its members, or none for the
// caller himself.
type SubjectRef struct {
	MemberID         string
	ServiceAccountID string
	APIKeyID         string
}

func (r SubjectRef) count() int {
	n := 0
	for _, id := range []string{r.MemberID, r.ServiceAccountID, r.APIKeyID} {
		if id != "" {
			n++
		}
	}
	return n
}

// owner is the member or service account that is named; "" for a key or the caller.
func (r SubjectRef) owner() string { return r.MemberID + r.ServiceAccountID }

// isCaller tells whether the principal is asked about.
func (r SubjectRef) isCaller(p authz.Principal) bool {
	return r.count() == 0 || r.APIKeyID == p.KeyID && r.APIKeyID != "" || r.owner() == p.OwnerID && r.owner() != ""
}

// Asked is who is asked about, as the access policy sees him.
type Asked struct {
	Subject      authz.Subject
	Restrictions authz.Restrictions
	Zone         *time.Location
	Inactive     string // why nothing of it may be used at all; "" where it may
}

// Card is how a caller and his organisation are called.
type Card struct {
	OrgID, OrgName, Slug string
	Platform             bool
	Status               string // of the organisation
	Name, Email          string // of the owner of the credential
	RoleID, RoleName     string
	Projects             []Place
}

// Place is a project that somebody belongs to.
type Place struct {
	ID, Name string
	Role     authz.ProjectRole
	Archived bool
}

// Directory tells what decisions are made on. Every method works within one
// organisation: what belongs to another is NotFound.
type Directory interface {
	// Asked reads a member or service account, without scopes, or a key, as they are
	// at a moment.
	Asked(ctx context.Context, org string, r SubjectRef, at time.Time) (Asked, error)
	// Card reads who an owner of credentials is.
	Card(ctx context.Context, org, ownerID string) (Card, error)
	// RoleOf is the stored role of a member or service account, and CheckProject is
	// NotFound unless the project is the organisation's.
	RoleOf(ctx context.Context, org, memberID string) (string, error)
	CheckProject(ctx context.Context, org, projectID string) error
}

// Explainer says what anybody may do, and why.
type Explainer struct {
	Directory Directory
	Policy    authz.Policy
	Now       func() time.Time
}

// Profile is what a caller is and may do.
type Profile struct {
	Card
	Permissions  map[authz.Action]authz.Width
	Effective    []authz.Scope // what of the credential's scopes is of use
	Restrictions authz.Restrictions
	KeyIPs       []netip.Prefix
}

// Me says who the caller is.
func (e *Explainer) Me(ctx context.Context, p authz.Principal) (Profile, error) {
	if !p.Somebody() {
		return Profile{}, fault.New(fault.Unauthenticated, "")
	}
	card, err := e.Directory.Card(ctx, p.OrgID, p.OwnerID)
	if err != nil {
		return Profile{}, err
	}
	s := p.Subject()
	return Profile{
		Card: card, Permissions: authz.Permissions(s), Effective: authz.Effective(s),
		Restrictions: p.Query("", nil).Restrictions, KeyIPs: s.KeyIPs,
	}, nil
}

// Question is a question to the access policy.
type Question struct {
	Subject  SubjectRef
	Action   authz.Action
	Resource *Target // nil: the action as such
	Address  *netip.Addr
	At       time.Time // zero: now
	Method   authz.Method
	MFA      bool
}

// Target is what would be acted on.
type Target struct {
	ProjectID string
	OwnerID   string // whose it is
	MemberID  string // the person or program that is acted on, instead
	Grants    string // the role to be given
}

// Answer is the policy's decision, in its own terms and in plain words.
type Answer struct {
	authz.Decision
	Explanation string
}

// ReasonInactive is the reason where the one who is asked about may do nothing at
// all: he, his key, his project or his organisation is suspended or gone.
const ReasonInactive authz.Reason = "inactive"

// Evaluate asks the access policy a question. Everybody may ask about himself.
func (e *Explainer) Evaluate(ctx context.Context, p authz.Principal, q Question) (Answer, error) {
	if err := e.mayAsk(ctx, p, q); err != nil {
		return Answer{}, err
	}
	query, inactive, err := e.query(ctx, p, q)
	if err != nil {
		return Answer{}, err
	}
	if q.Resource != nil {
		if query.Resource, err = e.resource(ctx, p.OrgID, *q.Resource); err != nil {
			return Answer{}, err
		}
	}
	d, err := e.Policy.Decide(ctx, query)
	if err != nil {
		return Answer{}, fault.Wrap(fault.Unavailable, "ask the access policy", err).After(time.Second)
	}
	if inactive != "" {
		d.Allow, d.Reason = false, ReasonInactive
		return Answer{Decision: d, Explanation: "No: " + inactive + "."}, nil
	}
	return Answer{Decision: d, Explanation: explain(query, d)}, nil
}

func (e *Explainer) mayAsk(ctx context.Context, p authz.Principal, q Question) error {
	switch {
	case !p.Somebody():
		return fault.New(fault.Unauthenticated, "")
	case q.Subject.count() > 1:
		return fault.New(fault.Unprocessable, "a question is about one: a member, a service account or an API key").At("subject")
	case !slices.Contains(authz.Actions(), q.Action):
		return fault.New(fault.Unprocessable, "there is no action %q; GET /v1/policy/permissions lists them", clip(string(q.Action))).At("action")
	case q.Resource != nil && q.Resource.MemberID != "" && q.Resource.OwnerID != "":
		return fault.New(fault.Unprocessable, "a resource is a thing of its owner, or a member; not both").At("resource")
	case !q.Subject.isCaller(p) || q.Resource != nil && q.Resource.MemberID != "" && q.Resource.MemberID != p.OwnerID:
		return p.Require(ctx, authz.DoPolicyEvaluate) // it tells of somebody else
	}
	return nil
}

// query is the question as the policy takes it, and why nothing is allowed whatever
// it answers.
func (e *Explainer) query(ctx context.Context, p authz.Principal, q Question) (authz.Query, string, error) {
	out := p.Query(q.Action, nil)
	ref, himself := q.Subject, q.Subject.count() == 0
	if himself {
		ref = credential(p)
	}
	at := q.At
	if at.IsZero() {
		at = e.Now()
	}
	a, err := e.Directory.Asked(ctx, p.OrgID, ref, at)
	if err != nil {
		return out, "", err
	}
	out.Restrictions = a.Restrictions
	if !himself {
		out.Subject = a.Subject
	}
	if ref.APIKeyID == "" && !himself {
		out.Subject.Scopes = scopesOf(a.Subject.Role) // with no credential in the way
	}
	if q.Method != "" {
		out.Subject.Method = q.Method
	}
	out.Subject.MFA = q.MFA || out.Subject.MFA
	out.Subject.Recent = true // whoever needs to can prove himself again
	switch {
	case q.Address != nil:
		out.Circumstances.Address = *q.Address
	case !himself:
		out.Circumstances.Address = netip.Addr{} // where the caller sits says nothing of another
	}
	at = at.In(a.Zone)
	out.Circumstances.Minute, out.Circumstances.Weekday = at.Hour()*60+at.Minute(), int(at.Weekday())
	return out, a.Inactive, nil
}

// scopesOf are all scopes that somebody with the role can be given.
func scopesOf(r authz.Role) []authz.Scope {
	if r.OfPlatform() {
		return append(authz.Scopes(), authz.Platform)
	}
	return authz.Scopes()
}

// credential is what the caller came with: his key, else himself.
func credential(p authz.Principal) SubjectRef {
	switch {
	case p.Method == authz.ByKey:
		return SubjectRef{APIKeyID: p.KeyID}
	case KindOf(p.OwnerID) == Program:
		return SubjectRef{ServiceAccountID: p.OwnerID}
	}
	return SubjectRef{MemberID: p.OwnerID}
}

func (e *Explainer) resource(ctx context.Context, org string, t Target) (*authz.Resource, error) {
	r := &authz.Resource{ProjectID: t.ProjectID, OwnerID: t.OwnerID}
	if t.ProjectID != "" {
		if err := e.Directory.CheckProject(ctx, org, t.ProjectID); err != nil {
			return nil, err
		}
	}
	if t.MemberID != "" {
		role, err := e.Directory.RoleOf(ctx, org, t.MemberID)
		if err != nil {
			return nil, err
		}
		r.OwnerID, r.Role = t.MemberID, RoleOf(role)
	}
	if t.Grants != "" {
		r.Grants = RoleOf(t.Grants)
		if r.Grants != authz.Custom && !builtIn(r.Grants) {
			return nil, fault.New(fault.Unprocessable, "there is no role %q", clip(t.Grants)).At("resource.grants")
		}
	}
	return r, nil
}

// explain says why, and what could be done about it.
func explain(q authz.Query, d authz.Decision) string {
	role, action := string(q.Subject.Role), string(q.Action)
	switch d.Reason {
	case authz.ReasonAllowed:
		return fmt.Sprintf("Yes: the role %s has %q on %s.", role, action, extent(d.Reach))
	case authz.ReasonScope:
		return fmt.Sprintf("No: the credential does not grant the scope %q that %q needs; make one that does.", string(d.Scope), action)
	case authz.ReasonRole:
		return fmt.Sprintf("No: the role %s does not have %q. %s", role, action, help(d.GrantedBy))
	case authz.ReasonAddress:
		return "No: it is not allowed from this address. The IP allow-lists of the key and the organization say from where; an owner or admin can change them."
	case authz.ReasonHours:
		return "No: it is outside the organization's access hours. An owner or admin can change them."
	case authz.ReasonMFA:
		return fmt.Sprintf("No: the role %s needs a second factor for %q; sign in with one.", role, action)
	case authz.ReasonReach:
		return fmt.Sprintf("No: the role %s has %q on %s only, and this is beyond. %s", role, action, extent(d.Reach), help(d.GrantedBy))
	case authz.ReasonRank:
		return fmt.Sprintf("No: nobody acts on a peer or a superior, or gives a role as high as the own; %s is no higher. Somebody with a higher role can do it.", role)
	case authz.ReasonStepUp:
		return "No: it needs a proof of oneself that is not older than a few minutes."
	case authz.ReasonNobody, authz.ReasonUnknown, authz.ReasonUndefined, ReasonInactive:
	}
	return "No: what the policy does not allow is denied."
}

func help(granted []authz.Role) string {
	if len(granted) == 0 {
		return "No role has it."
	}
	names := make([]string, len(granted))
	for i, r := range granted {
		names[i] = string(r)
	}
	return "Who is " + strings.Join(names, " or ") + " can do it, or give a role that has it."
}

func extent(r authz.Reach) string {
	switch {
	case r.All:
		return "the whole organization"
	case len(r.Projects) > 0 && r.OwnerID != "":
		return fmt.Sprintf("%d projects and what is the own", len(r.Projects))
	case len(r.Projects) > 0:
		return fmt.Sprintf("%d projects", len(r.Projects))
	}
	return "what is the own"
}

// Permission is one line of the table of rights.
type Permission struct {
	Action       authz.Action
	Scope        authz.Scope
	Roles        map[authz.Role]authz.Width // the built-in ones that have it
	ProjectRoles []authz.ProjectRole        // that have it within their project
	Customizable bool                       // a role that an organisation makes can hold it
}

// Permissions is the table of rights, by action. It is the same for everybody.
func Permissions(ctx context.Context) ([]Permission, error) {
	const anyProject = "project"
	var list []Permission
	for _, a := range authz.Actions() {
		p := Permission{Action: a, Roles: map[authz.Role]authz.Width{}}
		for _, r := range append(authz.OrganizationRoles(), authz.PlatformRoles()...) {
			if w := authz.Permissions(authz.Subject{Role: r})[a]; w != authz.Nothing {
				p.Roles[r] = w
			}
		}
		for _, r := range authz.ProjectRoles() {
			d, err := authz.Grants{}.Decide(ctx, authz.Query{Action: a, Subject: authz.Subject{Projects: map[string]authz.ProjectRole{anyProject: r}}})
			if err != nil {
				return nil, err
			}
			p.Scope = d.Scope
			if len(d.Reach.Projects) > 0 {
				p.ProjectRoles = append(p.ProjectRoles, r)
			}
		}
		p.Customizable = checkPermissions([]authz.Action{a}, authz.Organization) == nil
		list = append(list, p)
	}
	return list, nil
}
