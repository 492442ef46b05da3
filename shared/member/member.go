// Package member holds the people and the programs of an organisation: who they
// are, what role they have, and the rules by which they change one another.
//
// A person is a member; a program is a service account. Both have a role, may be
// suspended, and own keys that act for them, so one set of rules serves both. It
// also owns the roles that an organisation makes itself, and explains what anybody
// may do and why.
//
// Three rules hold whatever the route: nobody acts on a peer or a superior, nobody
// raises himself, and an organisation always has an active owner. They are decided
// on what is stored, under a lock of the organisation, so that two changes at once
// can't each be fine and together break them.
package member

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
)

// Kind tells people from programs.
type Kind string

// The kinds.
const (
	Person  Kind = "member"
	Program Kind = "service_account"
)

// Prefix is that of the ids of the kind.
func (k Kind) Prefix() string {
	if k == Program {
		return id.ServiceAccount
	}
	return id.User
}

// KindOf is the kind that an id is of.
func KindOf(memberID string) Kind {
	if strings.HasPrefix(memberID, id.ServiceAccount+"_") {
		return Program
	}
	return Person
}

func (k Kind) read() authz.Action {
	if k == Program {
		return authz.DoServiceAccountsRead
	}
	return authz.DoMembersRead
}

func (k Kind) write() authz.Action {
	if k == Program {
		return authz.DoServiceAccountsWrite
	}
	return authz.DoMembersWrite
}

// action is the audited one of the kind.
func (k Kind) action(person, program string) string {
	if k == Program {
		return program
	}
	return person
}

// ErrNone is the answer to an id that is nobody's, or somebody's elsewhere.
func (k Kind) ErrNone() *fault.Error {
	if k == Program {
		return fault.New(fault.NotFound, "there is no such service account")
	}
	return fault.New(fault.NotFound, "there is no such member")
}

// Status is whether somebody may act.
type Status string

// The states.
const (
	Active    Status = "active"
	Suspended Status = "suspended"
)

// Member is a person or a program in an organisation.
type Member struct {
	OrgID       string
	ID          string // "user_…" or "sa_…"
	Kind        Kind
	Email       string // of a person
	Name        string
	Description string // of a program
	Role        string // a built-in one, or the id of one that the organisation made
	Status      Status
	Reason      string                       // why he is suspended, where that was said
	Projects    map[string]authz.ProjectRole // that he belongs to, by id
	Keys        int                          // that are his and not revoked
	AddedBy     string
	CreatedAt   time.Time
	UpdatedAt   time.Time // zero: never
}

// RoleOf is a stored role as the access policy knows it.
func RoleOf(stored string) authz.Role {
	if id.Valid(id.Role, stored) {
		return authz.Custom
	}
	return authz.Role(stored)
}

// top tells whether a role is the highest of its organisation: one must be left.
func top(stored string) bool {
	return stored == string(authz.Owner) || stored == string(authz.SystemAdministrator)
}

// Ref names a member or a service account.
type Ref struct {
	OrgID string
	Kind  Kind
	ID    string
}

// Filter is what of a list is shown: all of it, what belongs to the projects, and
// one by id.
type Filter = authz.Reach

// Standing is what a change is decided on: as it is, under a lock of the
// organisation.
type Standing struct {
	Member    Member // the one to be changed
	Platform  bool   // the organisation is the platform's own
	Roles     map[string]authz.CustomRole
	OtherTops int            // active people of the highest role, besides the one to be changed
	Scopes    []authz.Scope  // what his keys grant, together; not read for an addition
	Known     []apikey.Known // secrets of his keys that others have seen; read for a change only
	Heir      *Member        // who is to have his keys; nil where nobody is named
}

// Store keeps members and service accounts. Every method works within one
// organisation: what belongs to another is NotFound. Changes hold a lock of the
// organisation from before their edit is asked until they are done, and are one
// transaction with their audit records.
type Store interface {
	// Add adds a member, under the id that his e-mail address has already where it
	// has one, and returns him as he stands then. Conflict: he is one already, a
	// service account of that name exists, or there are as many as there may be.
	Add(ctx context.Context, m Member, edit func(Standing) (Member, audit.Record, error)) (Member, error)
	List(ctx context.Context, org string, kind Kind, q Query) ([]Member, error)
	Get(ctx context.Context, r Ref) (Member, error)
	// Change sets name, description, role, status and reason. A nil record means that
	// nothing has changed.
	Change(ctx context.Context, r Ref, edit func(Standing) (Member, *audit.Record, error)) (Member, error)
	// Remove ends a membership, with its roles in projects, and revokes the keys or
	// gives them to the heir. It returns how many keys there were.
	Remove(ctx context.Context, r Ref, heirID string, edit func(Standing) (Removal, error)) (keys int, err error)
}

// Query asks for a part of a list.
type Query struct {
	Filter
	After string // the id of the last one seen; "" from the start
	Limit int
}

// Removal says how a removal is recorded.
type Removal struct {
	At     time.Time
	Record func(keys int) audit.Record
	Key    func(keyID, name, projectID string) audit.Record // of each key that is revoked or given on
}

// Bumper moves an organisation's configuration version on, after a change and
// before its answer, so that no process serves the old state.
type Bumper interface {
	Bump(ctx context.Context, org string) error
}

// widths in order, from narrow to wide.
func rank(w authz.Width) int {
	return slices.Index([]authz.Width{authz.Nothing, authz.Own, authz.Projects, authz.Organization}, w)
}

// inside tells whether one set of rights has nothing that another lacks.
func inside(narrow, wide map[authz.Action]authz.Width) bool {
	for a, w := range narrow {
		if rank(w) > rank(wide[a]) {
			return false
		}
	}
	return true
}
