package apikey

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/naming"
)

// NewKey is what a key is created from.
type NewKey struct {
	Name        string
	OwnerID     string // "" takes the creator
	ProjectID   string // "" takes the creator's
	Environment Environment
	Scopes      []authz.Scope
	Models      []string       // nil takes the creator's
	IPs         []netip.Prefix // nil takes those of the key that creates it
	Limits      OwnLimits
	ExpiresAt   time.Time
}

// Create makes a key that grants no more than its creator has and its owner may,
// and returns its secret, which is shown this once.
func (s *Service) Create(ctx context.Context, p authz.Principal, n NewKey) (Key, Secret, error) {
	reach, err := p.Reach(ctx, authz.DoKeysCreate) // before anything is looked at
	if err != nil {
		return Key{}, Secret{}, err
	}
	if err := checkSecret(p); err != nil {
		return Key{}, Secret{}, err
	}
	now := s.Now()
	n.fillFrom(p)
	if err := n.check(now); err != nil {
		return Key{}, Secret{}, err
	}
	secret := NewSecret(n.Environment)
	var k Key
	err = s.Store.AddKey(ctx, p.OrgID, Place{OwnerID: n.OwnerID, ProjectID: n.ProjectID, At: now}, func(g Grounds) (Draft, error) {
		if err := n.allowed(ctx, p, reach, g); err != nil {
			return Draft{}, err
		}
		if err := n.fits(p, g, now); err != nil {
			return Draft{}, err
		}
		k = n.key(p, secret, now)
		return Draft{Key: k, Hash: secret.Hash(), By: p.KeyID, Record: created(ctx, p, k)}, nil
	})
	if err != nil {
		return Key{}, Secret{}, err
	}
	return k, secret, nil
}

func (n *NewKey) key(p authz.Principal, secret Secret, now time.Time) Key {
	return Key{
		ID: id.New(id.Key), OrgID: p.OrgID, ProjectID: n.ProjectID, Name: n.Name, Environment: n.Environment,
		Fingerprint: secret.Fingerprint(), Scopes: n.Scopes, Models: n.Models, IPs: n.IPs, Limits: n.Limits, ExpiresAt: n.ExpiresAt,
		Kind: kindOf(n.OwnerID), OwnerID: n.OwnerID, SecretAt: now, SecretBy: p.OwnerID, RotateBy: now.Add(n.Environment.RotateAfter()),
		CreatedBy: p.Actor(), CreatedAt: now,
	}
}

func created(ctx context.Context, p authz.Principal, k Key) audit.Record {
	detail := k.settings()
	detail["project_id"], detail["environment"], detail["fingerprint"] = k.ProjectID, k.Environment, k.Fingerprint
	detail["kind"], detail["owner_id"] = k.Kind, k.OwnerID
	return audit.New(ctx, p, k.CreatedAt, "key.create", k.ID).With(detail)
}

// settings are what of a key can be changed, as they are audited.
func (k Key) settings() map[string]any {
	networks := make([]string, len(k.IPs))
	for i, n := range k.IPs {
		networks[i] = n.String()
	}
	var expires *time.Time
	if !k.ExpiresAt.IsZero() {
		expires = &k.ExpiresAt
	}
	return map[string]any{
		"name": k.Name, "scopes": k.Scopes, "models": k.Models, "ip_allow_list": networks, "expires_at": expires,
		"limits": map[string]*int64{
			"requests_per_minute": k.Limits.RequestsPerMinute, "tokens_per_minute": k.Limits.TokensPerMinute,
			"concurrent_requests": k.Limits.ConcurrentRequests,
		},
	}
}

// kindOf follows from whom a key acts for.
func kindOf(ownerID string) Kind {
	if strings.HasPrefix(ownerID, id.ServiceAccount+"_") {
		return ServiceKey
	}
	return PersonalKey
}

// fillFrom takes from the creator what is not said.
func (n *NewKey) fillFrom(p authz.Principal) {
	if n.OwnerID == "" {
		n.OwnerID = p.OwnerID
	}
	if n.ProjectID == "" {
		n.ProjectID = p.ProjectID
	}
	if n.Environment == "" {
		n.Environment = Production
	}
	if n.Models == nil {
		n.Models = p.Models
	}
	if n.IPs == nil {
		n.IPs = p.Subject().KeyIPs
	}
	if n.ExpiresAt.IsZero() {
		n.ExpiresAt = p.Expires
	}
}

// checkSecret refuses a secret that was replaced: whoever still has it may finish what
// runs, and not make himself at home.
func checkSecret(p authz.Principal) error {
	if p.Replaced {
		return fault.New(fault.Forbidden, "this secret was replaced: keys are made and changed with the new one")
	}
	return nil
}

// outlives refuses an end after that of the key that asks; one without end is after
// every other.
func outlives(p authz.Principal, expires time.Time) error {
	if p.Expires.IsZero() || !expires.IsZero() && !expires.After(p.Expires) {
		return nil
	}
	return fault.New(fault.Forbidden, "a key can't outlive the one that makes or changes it, which expires at %s", p.Expires.UTC().Format(time.RFC3339)).At("expires_at")
}

// check is what can be said without knowing the organisation.
func (n *NewKey) check(now time.Time) error {
	switch {
	case n.Environment != Production && n.Environment != Development:
		return fault.New(fault.Unprocessable, "the environment is \"production\" or \"development\"").At("environment")
	case n.ProjectID == "":
		return fault.New(fault.Unprocessable, "say which project the key's usage counts for").At("project_id")
	case !n.ExpiresAt.IsZero() && !n.ExpiresAt.After(now):
		return fault.New(fault.Unprocessable, "the key would have expired already").At("expires_at")
	}
	if err := checkName(n.Name); err != nil {
		return err
	}
	if err := checkModels(n.Models); err != nil {
		return err
	}
	if err := checkNetworks(n.IPs); err != nil {
		return err
	}
	return n.Limits.check()
}

// allowed decides whether the creator may make a key for this owner, there.
func (n *NewKey) allowed(ctx context.Context, p authz.Principal, reach authz.Reach, g Grounds) error {
	if !g.Owner.Known {
		return fault.New(fault.NotFound, "there is no such member or service account").At("owner")
	}
	on := authz.Resource{OwnerID: g.Owner.ID, Role: g.Owner.Role, ProjectID: g.Project.ID}
	if err := p.RequireOn(ctx, authz.DoKeysCreate, on); err != nil {
		return err
	}
	// Whose reach is not everything makes keys in the projects that are theirs only:
	// the usage counts there.
	if _, member := p.Projects[g.Project.ID]; !g.Project.Known || !reach.All && !member && g.Project.ID != p.ProjectID {
		return fault.New(fault.NotFound, "there is no such project").At("project_id")
	}
	return nil
}

// fits decides whether the organisation has a place for the key.
func (n *NewKey) fits(p authz.Principal, g Grounds, now time.Time) error {
	switch {
	case !g.Owner.Active:
		return fault.New(fault.Unprocessable, "the key's owner is suspended").At("owner")
	case g.Project.Archived:
		return fault.New(fault.Unprocessable, "the project is archived").At("project_id")
	case g.MaxKeys > 0 && g.Keys >= g.MaxKeys:
		return fault.New(fault.Conflict, "the organization has as many keys as its plan allows, %d; revoke one that is not needed, or ask for another plan", g.MaxKeys).
			With("limit", g.MaxKeys)
	}
	for _, err := range []error{
		checkScopes(p, g, n.Scopes, nil),
		checkModelWidth(p, g, n.Models),
		checkReach(p, n.IPs),
		checkLife(g, n.ExpiresAt, now),
		outlives(p, n.ExpiresAt),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// checkScopes holds scopes to what the asker has and the owner may. Those that the
// key has already are not given anew.
func checkScopes(p authz.Principal, g Grounds, want, have []authz.Scope) error {
	if len(want) == 0 {
		return fault.New(fault.Unprocessable, "a key needs at least one scope").At("scopes")
	}
	var added []authz.Scope
	for i, s := range want {
		known := authz.Known(s) || s == authz.Platform && g.OfPlatform
		switch {
		case !known:
			return fault.New(fault.Unprocessable, "there is no scope %q", clip(string(s))).At("scopes")
		case slices.Contains(want[:i], s):
			return fault.New(fault.Unprocessable, "the scope %q stands twice", string(s)).At("scopes")
		case !slices.Contains(have, s):
			added = append(added, s)
		}
	}
	if !p.Covers(added) {
		return fault.New(fault.Forbidden, "a key can't grant more than the key that creates it, which lacks %s", lacking(p, added)).At("scopes")
	}
	if a, exceeds := authz.Exceeding(g.Owner.subject(p.OrgID, added), p.Subject()); exceeds {
		return fault.New(fault.Forbidden, "a key for this owner would have the right %q, which who creates it does not have as widely", string(a)).
			At("scopes").With("permission", string(a))
	}
	may := g.Owner.effective(p.OrgID, want)
	for _, s := range added {
		if !slices.Contains(may, s) {
			return fault.New(fault.Unprocessable, "the key's owner has the role %s, which has no right that the scope %q stands for", string(g.Owner.Role), string(s)).At("scopes")
		}
	}
	return nil
}

// lacking names the scopes that the asker has no use of.
func lacking(p authz.Principal, want []authz.Scope) string {
	var out []string
	for _, s := range want {
		if !p.Covers([]authz.Scope{s}) {
			out = append(out, string(s))
		}
	}
	return strings.Join(out, ", ")
}

// subject is the owner as one who acts with a key of these scopes.
func (o Owner) subject(org string, scopes []authz.Scope) authz.Subject {
	return authz.Subject{OrgID: org, OwnerID: o.ID, Role: o.Role, Custom: o.Custom, Scopes: scopes, Projects: o.Projects}
}

// effective is what of scopes the owner's role leaves.
func (o Owner) effective(org string, scopes []authz.Scope) []authz.Scope {
	return authz.Effective(o.subject(org, scopes))
}

// checkModelWidth holds models to what the asker has and the project may use. What a
// key inherits is no wider than what its maker could use there.
func checkModelWidth(p authz.Principal, g Grounds, models []string) error {
	if !p.CoversModels(models) {
		return fault.New(fault.Forbidden, "a key can't use more models than the key that creates it").At("models")
	}
	for _, m := range models {
		if g.Project.Models != nil && !slices.Contains(g.Project.Models, m) && !slices.Contains(p.Models, m) {
			return fault.New(fault.Unprocessable, "the project may not use the model %q", clip(m)).At("models")
		}
	}
	return nil
}

// checkReach holds networks to those that the asker may call from.
func checkReach(p authz.Principal, networks []netip.Prefix) error {
	if !within(networks, p.Subject().KeyIPs) {
		return fault.New(fault.Forbidden, "a key can't be used from more addresses than the key that creates it").At("ip_allow_list")
	}
	return nil
}

// checkLife holds an expiry to the longest life that the organisation allows,
// counted from when the key is or was made.
func checkLife(g Grounds, expires, made time.Time) error {
	const day = 24 * time.Hour
	if g.MaxDays == 0 {
		return nil
	}
	last := made.Add(time.Duration(g.MaxDays) * day)
	if !expires.IsZero() && !expires.After(last) {
		return nil
	}
	return fault.New(fault.Unprocessable, "keys of this organization live at most %d days: say when it expires, at the latest on %s", g.MaxDays, last.UTC().Format(time.RFC3339)).
		At("expires_at").With("key_max_days", g.MaxDays)
}

const (
	maxName    = 200 // bytes
	maxModels  = 200 // that a key can be restricted to
	maxModelID = 200 // bytes
)

func checkName(name string) error {
	if strings.TrimSpace(name) == "" || len(name) > maxName {
		return fault.New(fault.Unprocessable, "a key needs a name of at most %d bytes", maxName).At("name")
	}
	return naming.Line("name", name, maxName)
}

func checkModels(models []string) error {
	if len(models) > maxModels {
		return fault.New(fault.Unprocessable, "a key names at most %d models", maxModels).At("models")
	}
	for _, m := range models {
		if m == "" || len(m) > maxModelID {
			return fault.New(fault.Unprocessable, "there is no model %q", clip(m)).At("models")
		}
	}
	return nil
}

func (l OwnLimits) check() error {
	for _, v := range []*int64{l.RequestsPerMinute, l.TokensPerMinute, l.ConcurrentRequests} {
		if err := checkLimit(v); err != nil {
			return err
		}
	}
	return nil
}

func checkLimit(v *int64) error {
	if v != nil && *v < 1 {
		return fault.New(fault.Unprocessable, "a limit is at least 1; leave it out for the plan's default").At("limits")
	}
	return nil
}

func clip(s string) string {
	const most = 60
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
