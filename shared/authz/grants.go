package authz

import (
	"context"
	"maps"
	"slices"
)

// Grants is the policy without its engine: it decides by the table that was
// computed from the policy, for places that can't afford to ask it, such as the
// path of a paid request. A conformance test holds both to one answer.
type Grants struct{}

var _ Policy = Grants{}

// Decide implements [Policy]. It never fails.
func (Grants) Decide(_ context.Context, q Query) (Decision, error) {
	scope, known := scopeOf(q.Action)
	d := Decision{Scope: scope}
	width, projects := reachOf(q.Subject, q.Action)
	d.Reach = Reach{All: width == Organization, Projects: projects}
	if width == Own || width == Projects {
		d.Reach.OwnerID = q.Subject.OwnerID
	}
	d.Reason = judge(q, known, scope, d.Reach)
	d.Allow = d.Reason == ReasonAllowed
	if !d.Allow { // nobody asks otherwise, and every paid request comes by here
		d.GrantedBy = grantedBy(q.Action)
	}
	return d, nil
}

func judge(q Query, known bool, scope Scope, reach Reach) Reason {
	s := &q.Subject
	switch {
	case s.OrgID == "" || s.OwnerID == "" || s.Role == "":
		return ReasonNobody
	case !known:
		return ReasonUnknown
	case !slices.Contains(s.Scopes, scope):
		return ReasonScope
	case !reach.All && reach.OwnerID == "" && len(reach.Projects) == 0:
		return ReasonRole
	case !q.addressAllowed():
		return ReasonAddress
	case !q.hourAllowed():
		return ReasonHours
	case !q.mfaSatisfied():
		return ReasonMFA
	case q.Resource != nil && !reach.Covers(q.Resource.ProjectID, q.Resource.OwnerID):
		return ReasonReach
	case q.Resource != nil && !q.outranks():
		return ReasonRank
	case !q.recentlyProved():
		return ReasonStepUp
	}
	return ReasonAllowed
}

// reachOf is what the subject's role, and his roles in projects, give of an action.
func reachOf(s Subject, a Action) (Width, []string) {
	width := roleWidth(s, a)
	var projects []string
	if width == Organization {
		return width, nil
	}
	for id, role := range s.Projects {
		if width == Projects || projectRight(role, a) {
			projects = append(projects, id)
		}
	}
	slices.Sort(projects)
	return width, projects
}

func roleWidth(s Subject, a Action) Width {
	if s.Role != Custom {
		return builtinWidth(s.Role, a)
	}
	narrow := s.Custom.Reach == Own || s.Custom.Reach == Projects
	switch {
	case !customizable(a), !slices.Contains(s.Custom.Permissions, a):
		return everybodyWidth(a)
	case s.Custom.Reach == Organization, narrow && Narrowable(a):
		return wider(everybodyWidth(a), s.Custom.Reach)
	}
	return everybodyWidth(a)
}

func wider(a, b Width) Width {
	order := []Width{Nothing, Own, Projects, Organization}
	if slices.Index(order, a) >= slices.Index(order, b) {
		return a
	}
	return b
}

func (q *Query) addressAllowed() bool {
	if len(q.Subject.KeyIPs) > 0 && !contains(q.Subject.KeyIPs, q.Circumstances.Address) {
		return false
	}
	return len(q.Restrictions.IPs) == 0 || contains(q.Restrictions.IPs, q.Circumstances.Address)
}

// isCall reports whether an action is one of programs, which work at all hours.
func isCall(a Action) bool { return a == DoInference || a == DoModelsRead }

func (q *Query) hourAllowed() bool {
	h := q.Restrictions.Hours
	if isCall(q.Action) || len(h.Days) == 0 {
		return true
	}
	return slices.Contains(h.Days, q.Circumstances.Weekday) && q.Circumstances.Minute >= h.From && q.Circumstances.Minute < h.To
}

func (q *Query) mfaSatisfied() bool {
	s := &q.Subject
	if s.ofProgram() || s.MFA || isCall(q.Action) {
		return true
	}
	return !MFAForced(s.Role, q.Restrictions.MFARoles)
}

// MFAForced reports whether sessions of a role can do nothing without a second factor:
// in every organisation, or because this one names the role.
func MFAForced(role Role, named []Role) bool {
	return role == Owner || role == Admin || role == Finance || role.OfPlatform() || slices.Contains(named, role)
}

// ofProgram reports whether the credential is one that programs use: whoever made it
// had proved himself then, and it can't prove more.
func (s *Subject) ofProgram() bool { return s.Method == ByKey || s.Method == ByClient }

func (q *Query) recentlyProved() bool {
	return q.Subject.ofProgram() || q.Subject.Recent || !sensitive(q.Action)
}

func (q *Query) outranks() bool {
	r, s := q.Resource, &q.Subject
	if r.Role != "" && r.OwnerID != s.OwnerID && !Outranks(s.Role, r.Role) {
		return false
	}
	switch {
	case r.Grants == "", (r.Grants == Owner || r.Grants == SystemAdministrator) && r.Grants == s.Role:
		return true
	}
	return r.Grants.OfPlatform() == s.Role.OfPlatform() && Outranks(s.Role, r.Grants)
}

func known(r Role) bool { return rankOf(r) > 0 }

// Outranks reports whether a is higher than b.
func Outranks(a, b Role) bool { return known(b) && rankOf(a) > rankOf(b) }

// Permissions lists the actions that a role has, with their reach.
func Permissions(s Subject) map[Action]Width {
	out := map[Action]Width{}
	for _, a := range Actions() {
		if w := roleWidth(s, a); w != Nothing {
			out[a] = w
		}
	}
	return out
}

// Effective is what of a credential's scopes its owner's role leaves: those with an
// action that he may do somewhere.
func Effective(s Subject) []Scope {
	have := map[Scope]bool{}
	for _, a := range Actions() {
		scope, _ := scopeOf(a)
		if !slices.Contains(s.Scopes, scope) {
			continue
		}
		if w, projects := reachOf(s, a); w != Nothing || len(projects) > 0 {
			have[scope] = true
		}
	}
	return slices.Sorted(maps.Keys(have))
}

// Exceeding returns the first action that a child could do by its scopes, and its
// parent can't do as widely: whoever makes a credential for another, or gets to see
// its secret, has no more by it than before. What everybody has of his own is left
// out.
func Exceeding(child, parent Subject) (a Action, exceeds bool) {
	for _, a := range Actions() {
		scope, _ := scopeOf(a)
		if !slices.Contains(child.Scopes, scope) {
			continue
		}
		width, projects := reachOf(child, a)
		if width == Nothing && len(projects) == 0 || width == Own && everybodyWidth(a) != Nothing {
			continue
		}
		if !slices.Contains(parent.Scopes, scope) || !spans(parent, child.OwnerID, a, width, projects) {
			return a, true
		}
	}
	return "", false
}

// spans reports whether the parent has an action at least as widely.
func spans(parent Subject, childID string, a Action, width Width, projects []string) bool {
	have, theirs := reachOf(parent, a)
	switch {
	case have == Organization:
		return true
	case width == Organization:
		return false
	case width != Nothing && (have == Nothing || parent.OwnerID != childID): // what is the child's own
		return false
	}
	return !slices.ContainsFunc(projects, func(id string) bool { return !slices.Contains(theirs, id) })
}
