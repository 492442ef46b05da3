package apikey_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
)

const (
	adminID   = "user_admin"
	ownerID   = "user_owner"
	devID     = "user_dev"
	programID = "sa_program"
)

// book is keys of one organisation in memory: what a service works with.
type book struct {
	keys    map[string]apikey.Key
	hashes  map[apikey.Hash]string
	owners  map[string]apikey.Owner
	grounds apikey.Grounds // but for the owner
	clock   time.Time
	audit   []audit.Record
	bumps   int
	change  apikey.Change // the last one
	listing apikey.Listing
	err     error
}

func newBook() *book {
	owner := func(id string, r authz.Role) apikey.Owner {
		return apikey.Owner{ID: id, Known: true, Active: true, Role: r}
	}
	return &book{
		keys: map[string]apikey.Key{}, hashes: map[apikey.Hash]string{}, clock: noon(),
		owners: map[string]apikey.Owner{
			adminID: owner(adminID, authz.Admin), ownerID: owner(ownerID, authz.Owner), "user_peer": owner("user_peer", authz.Admin),
			devID: owner(devID, authz.Developer), programID: owner(programID, authz.Developer),
			"user_gone": {ID: "user_gone"}, "user_away": {ID: "user_away", Known: true, Role: authz.Developer},
		},
		grounds: apikey.Grounds{Project: apikey.Project{ID: "proj_1", Known: true}},
	}
}

func (b *book) service() *apikey.Service {
	return &apikey.Service{Store: b, Finder: b, Bump: b, Leaks: apikey.NewThrottle(), Now: func() time.Time { return b.clock }}
}

func (b *book) at(owner, project string) apikey.Grounds {
	g := b.grounds
	g.Owner = b.owners[owner]
	g.Project.ID = project
	g.Project.Known = g.Project.Known && strings.HasPrefix(project, "proj_")
	return g
}

func (b *book) AddKey(_ context.Context, org string, p apikey.Place, draft func(apikey.Grounds) (apikey.Draft, error)) error {
	d, err := draft(b.at(p.OwnerID, p.ProjectID))
	if err != nil {
		return err
	}
	if d.Key.OrgID != org {
		return errors.New("a key of another organisation")
	}
	b.keys[d.Key.ID], b.hashes[d.Hash], b.audit = d.Key, d.Key.ID, append(b.audit, d.Record)
	return b.err
}

func (b *book) ChangeKey(_ context.Context, org, keyID string, change func(apikey.Key, apikey.Grounds) (apikey.Change, error)) error {
	k, ok := b.keys[keyID]
	if !ok || k.OrgID != org {
		return apikey.ErrNoKey()
	}
	c, err := change(k, b.at(k.OwnerID, k.ProjectID))
	if err != nil || c.Record == nil {
		return err
	}
	if c.Secret != nil {
		b.hashes[c.Secret.Hash] = keyID
	}
	b.keys[keyID], b.change, b.audit = c.Key, c, append(b.audit, *c.Record)
	return nil
}

func (b *book) GetKey(_ context.Context, org, keyID string) (apikey.Key, error) {
	if k, ok := b.keys[keyID]; ok && k.OrgID == org {
		return k, nil
	}
	return apikey.Key{}, apikey.ErrNoKey()
}

func (b *book) ListKeys(_ context.Context, _ string, l apikey.Listing) ([]apikey.Key, error) {
	b.listing = l
	return nil, nil
}

func (b *book) FindKey(_ context.Context, h apikey.Hash) (*apikey.Record, error) {
	id, ok := b.hashes[h]
	switch {
	case b.err != nil:
		return nil, b.err
	case !ok:
		return nil, fault.New(fault.NotFound, "")
	}
	k := b.keys[id]
	r := &apikey.Record{KeyID: id, OrgID: k.OrgID, Revoked: !k.RevokedAt.IsZero()}
	return r, nil
}

func (b *book) Bump(context.Context, string) error { b.bumps++; return nil }

// put adds a key of an owner.
func (b *book) put(owner string, change ...func(*apikey.Key)) (keyID string, secret apikey.Secret) {
	secret = apikey.NewSecret(apikey.Production)
	k := apikey.Key{
		ID: "key_of_" + owner, OrgID: "org_1", ProjectID: "proj_1", Name: "n", Environment: apikey.Production, OwnerID: owner,
		Fingerprint: secret.Fingerprint(), Scopes: []authz.Scope{authz.Inference, authz.KeysWrite}, SecretAt: noon(), CreatedAt: noon(),
	}
	for _, c := range change {
		c(&k)
	}
	b.keys[k.ID], b.hashes[secret.Hash()] = k, k.ID
	return k.ID, secret
}

// caller is a member with a key of these scopes.
func caller(id string, role authz.Role, scopes ...authz.Scope) authz.Principal {
	return authz.Principal{OrgID: "org_1", ProjectID: "proj_1", KeyID: "key_caller", OwnerID: id, Role: role, Scopes: scopes, Method: authz.ByKey}
}

func admin() authz.Principal { return caller(adminID, authz.Admin, authz.Scopes()...) }

func fromOffice(p authz.Principal) authz.Principal {
	return p.Within(authz.Bounds{KeyIPs: networks("10.0.0.0/8"), Now: noon}).From("10.1.2.3")
}

func networks(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		out[i] = netip.MustParsePrefix(t)
	}
	return out
}

func plain(change func(*apikey.NewKey)) apikey.NewKey {
	n := apikey.NewKey{Name: "n", Scopes: []authz.Scope{authz.Inference}}
	if change != nil {
		change(&n)
	}
	return n
}

// refusal checks that an error has a code and names a member, and that nothing was
// written.
func (b *book) refusal(t *testing.T, err error, code fault.Code, param string) {
	t.Helper()
	if f := fault.From(err); err == nil || f.Code != code || f.Param != param {
		t.Errorf("%v at %q; want %s at %q", err, f.Param, code, param)
	}
	if len(b.audit) != 0 || b.bumps != 0 {
		t.Errorf("%d audited, %d bumps; want nothing written", len(b.audit), b.bumps)
	}
}

func TestKeysThatMayBeMade(t *testing.T) {
	narrow := caller(adminID, authz.Admin, authz.KeysWrite, authz.Inference)
	tied := admin()
	tied.Models = []string{"a", "b"}
	for _, c := range []struct {
		name string
		by   authz.Principal
		n    apikey.NewKey
	}{
		{"all scopes of one who has them", admin(), plain(func(n *apikey.NewKey) { n.Scopes = authz.Scopes() })},
		{"a scope that its maker has", narrow, plain(nil)},
		{"limits of its own", admin(), plain(func(n *apikey.NewKey) { n.Limits.RequestsPerMinute = new(int64(1)) })},
		{"for development", admin(), plain(func(n *apikey.NewKey) { n.Environment = apikey.Development })},
		{"fewer models than its maker", tied, plain(func(n *apikey.NewKey) { n.Models = []string{"b"} })},
		{"no model at all", tied, plain(func(n *apikey.NewKey) { n.Models = []string{} })},
		{"for a lower member", admin(), plain(func(n *apikey.NewKey) { n.OwnerID = devID })},
		{"for a program", admin(), plain(func(n *apikey.NewKey) { n.OwnerID = programID })},
		{"for networks", admin(), plain(func(n *apikey.NewKey) { n.IPs = networks("192.0.2.0/24", "2001:db8::/32") })},
		{"for a network within its maker's", fromOffice(admin()), plain(func(n *apikey.NewKey) { n.IPs = networks("10.1.0.0/16") })},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBook()
			k, secret, err := b.service().Create(t.Context(), c.by, c.n)
			if err != nil || len(b.keys) != 1 || len(b.audit) != 1 {
				t.Fatalf("%v, %d made, %d audited", err, len(b.keys), len(b.audit))
			}
			if k.OrgID != "org_1" || k.ProjectID != "proj_1" || k.CreatedBy != "key_caller" || k.Fingerprint != secret.Fingerprint() || k.State(noon()) != apikey.Active {
				t.Errorf("key %+v", k)
			}
			if k.RotateBy != noon().Add(k.Environment.RotateAfter()) {
				t.Errorf("its rotation is due %s", k.RotateBy)
			}
			if b.hashes[secret.Hash()] != k.ID {
				t.Error("its hash is not stored")
			}
			if rec := b.audit[0]; rec.Action != "key.create" || rec.Target != k.ID || strings.Contains(fmt.Sprint(rec.Detail), secret.Reveal()) {
				t.Errorf("audit %+v", rec)
			}
		})
	}
}

func TestKeysThatMayNotBeMade(t *testing.T) {
	narrow := caller(adminID, authz.Admin, authz.KeysWrite, authz.Inference)
	tied := admin()
	tied.Models = []string{"a", "b"}
	homeless := admin()
	homeless.ProjectID = ""
	ownReach := caller("user_custom", authz.Custom, authz.Scopes()...)
	ownReach.Custom = authz.CustomRole{Permissions: []authz.Action{authz.DoKeysCreate, authz.DoInference}, Reach: authz.Own}
	for _, c := range []struct {
		name  string
		by    authz.Principal
		n     apikey.NewKey
		code  fault.Code
		param string
	}{
		{"by nobody", authz.Principal{}, plain(nil), fault.Unauthenticated, ""},
		{"by a key without the scope", caller(adminID, authz.Admin, authz.Inference), plain(nil), fault.Forbidden, ""},
		{"by a role without the right", caller(devID, authz.Developer, authz.Scopes()...), plain(nil), fault.Forbidden, ""},
		{"more than its maker has", narrow, plain(func(n *apikey.NewKey) { n.Scopes = []authz.Scope{authz.Inference, authz.UsageRead} }), fault.Forbidden, "scopes"},
		{"more than its owner may", admin(), plain(func(n *apikey.NewKey) { n.OwnerID, n.Scopes = devID, []authz.Scope{authz.MembersWrite} }), fault.Unprocessable, "scopes"},
		{"the platform's scope", admin(), plain(func(n *apikey.NewKey) { n.Scopes = []authz.Scope{authz.Platform} }), fault.Unprocessable, "scopes"},
		{"a scope that no key is given", admin(), plain(func(n *apikey.NewKey) { n.Scopes = []authz.Scope{authz.AnyScope} }), fault.Unprocessable, "scopes"},
		{"a scope that there is not", admin(), plain(func(n *apikey.NewKey) { n.Scopes = []authz.Scope{"everything"} }), fault.Unprocessable, "scopes"},
		{"a scope twice", admin(), plain(func(n *apikey.NewKey) { n.Scopes = []authz.Scope{authz.Inference, authz.Inference} }), fault.Unprocessable, "scopes"},
		{"no scope", admin(), plain(func(n *apikey.NewKey) { n.Scopes = nil }), fault.Unprocessable, "scopes"},
		{"more models than its maker", tied, plain(func(n *apikey.NewKey) { n.Models = []string{"a", "c"} }), fault.Forbidden, "models"},
		{"a model without name", admin(), plain(func(n *apikey.NewKey) { n.Models = []string{""} }), fault.Unprocessable, "models"},
		{"models without end", admin(), plain(func(n *apikey.NewKey) { n.Models = slices.Repeat([]string{"a"}, 201) }), fault.Unprocessable, "models"},
		{"more addresses than its maker", fromOffice(admin()), plain(func(n *apikey.NewKey) { n.IPs = networks("10.0.0.0/7") }), fault.Forbidden, "ip_allow_list"},
		{"all addresses, of one who has not", fromOffice(admin()), plain(func(n *apikey.NewKey) { n.IPs = networks() }), fault.Forbidden, "ip_allow_list"},
		{"networks without end", admin(), plain(func(n *apikey.NewKey) { n.IPs = slices.Repeat(networks("10.0.0.0/8"), 101) }), fault.Unprocessable, "ip_allow_list"},
		{"no name", admin(), plain(func(n *apikey.NewKey) { n.Name = " " }), fault.Unprocessable, "name"},
		{"a long name", admin(), plain(func(n *apikey.NewKey) { n.Name = strings.Repeat("n", 201) }), fault.Unprocessable, "name"},
		{"a name with a line break", admin(), plain(func(n *apikey.NewKey) { n.Name = "a\nb" }), fault.Unprocessable, "name"},
		{"an environment that there is not", admin(), plain(func(n *apikey.NewKey) { n.Environment = "staging" }), fault.Unprocessable, "environment"},
		{"expired", admin(), plain(func(n *apikey.NewKey) { n.ExpiresAt = noon() }), fault.Unprocessable, "expires_at"},
		{"a limit of nothing", admin(), plain(func(n *apikey.NewKey) { n.Limits.ConcurrentRequests = new(int64(0)) }), fault.Unprocessable, "limits"},
		{"for a peer", admin(), plain(func(n *apikey.NewKey) { n.OwnerID = "user_peer" }), fault.Forbidden, ""},
		{"for a superior", admin(), plain(func(n *apikey.NewKey) { n.OwnerID = ownerID }), fault.Forbidden, ""},
		{"for nobody", admin(), plain(func(n *apikey.NewKey) { n.OwnerID = "user_gone" }), fault.NotFound, "owner"},
		{"for one who is suspended", admin(), plain(func(n *apikey.NewKey) { n.OwnerID = "user_away" }), fault.Unprocessable, "owner"},
		{"in no project", admin(), plain(func(n *apikey.NewKey) { n.ProjectID = "gone" }), fault.NotFound, "project_id"},
		{"where no project is known", homeless, plain(nil), fault.Unprocessable, "project_id"},
		{"in a project of others, for oneself", ownReach, plain(func(n *apikey.NewKey) { n.ProjectID = "proj_2" }), fault.NotFound, "project_id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBook()
			b.owners["user_custom"] = apikey.Owner{ID: "user_custom", Known: true, Active: true, Role: authz.Custom, Custom: ownReach.Custom}
			_, secret, err := b.service().Create(t.Context(), c.by, c.n)
			b.refusal(t, err, c.code, c.param)
			if len(b.keys) != 0 || secret != (apikey.Secret{}) {
				t.Errorf("%d made", len(b.keys))
			}
		})
	}
}

func TestWhatAnOrganisationAllowsItsKeys(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		name    string
		grounds func(*apikey.Grounds)
		n       apikey.NewKey
		code    fault.Code // "" where it is made
		param   string
	}{
		{"one key less than the plan has", func(g *apikey.Grounds) { g.MaxKeys, g.Keys = 2, 1 }, plain(nil), "", ""},
		{"as many as the plan has", func(g *apikey.Grounds) { g.MaxKeys, g.Keys = 2, 2 }, plain(nil), fault.Conflict, ""},
		{"a life as long as allowed", func(g *apikey.Grounds) { g.MaxDays = 30 }, plain(func(n *apikey.NewKey) { n.ExpiresAt = noon().Add(30 * day) }), "", ""},
		{"a longer life", func(g *apikey.Grounds) { g.MaxDays = 30 }, plain(func(n *apikey.NewKey) { n.ExpiresAt = noon().Add(30*day + 1) }), fault.Unprocessable, "expires_at"},
		{"a life without end", func(g *apikey.Grounds) { g.MaxDays = 30 }, plain(nil), fault.Unprocessable, "expires_at"},
		{"an archived project", func(g *apikey.Grounds) { g.Project.Archived = true }, plain(nil), fault.Unprocessable, "project_id"},
		{"a model of the project", func(g *apikey.Grounds) { g.Project.Models = []string{"a"} }, plain(func(n *apikey.NewKey) { n.Models = []string{"a"} }), "", ""},
		{"a model that the project has not", func(g *apikey.Grounds) { g.Project.Models = []string{"a"} }, plain(func(n *apikey.NewKey) { n.Models = []string{"b"} }), fault.Unprocessable, "models"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBook()
			c.grounds(&b.grounds)
			_, _, err := b.service().Create(t.Context(), admin(), c.n)
			if c.code != "" {
				b.refusal(t, err, c.code, c.param)
			} else if err != nil || len(b.keys) != 1 {
				t.Errorf("%v, %d made", err, len(b.keys))
			}
		})
	}
}

// Only the platform's own organisation has keys with its scope, and only those who
// have it give it.
func TestTheScopeOfThePlatform(t *testing.T) {
	for _, c := range []struct {
		name string
		by   authz.Principal
		code fault.Code
	}{
		{"by one who has it", caller(ownerID, authz.SystemAdministrator, authz.Platform, authz.KeysWrite), ""},
		{"by one who has not", caller(ownerID, authz.SystemAdministrator, authz.KeysWrite), fault.Forbidden},
	} {
		b := newBook()
		b.grounds.OfPlatform = true
		b.owners[ownerID] = apikey.Owner{ID: ownerID, Known: true, Active: true, Role: authz.SystemAdministrator}
		_, _, err := b.service().Create(t.Context(), c.by, plain(func(n *apikey.NewKey) { n.Scopes = []authz.Scope{authz.Platform} }))
		if c.code != "" {
			b.refusal(t, err, c.code, "scopes")
		} else if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// What is not named is the maker's, not everything.
func TestAKeyInheritsTheBoundsOfItsMaker(t *testing.T) {
	b := newBook()
	by := fromOffice(admin())
	by.Models = []string{"a"}
	k, _, err := b.service().Create(t.Context(), by, plain(nil))
	if err != nil || !slices.Equal(k.Models, []string{"a"}) || !slices.Equal(k.IPs, networks("10.0.0.0/8")) || k.OwnerID != adminID || k.Kind != apikey.PersonalKey {
		t.Errorf("%+v, %v; want its maker's models, networks and owner", k, err)
	}
	if k, _, err = b.service().Create(t.Context(), admin(), plain(func(n *apikey.NewKey) { n.OwnerID = programID })); err != nil || k.Kind != apikey.ServiceKey {
		t.Errorf("of a program: %+v, %v", k, err)
	}
}

// do are all acts on one key, by what they are called in the audit.
func do(s *apikey.Service) map[string]func(context.Context, authz.Principal, string) error {
	name := "other"
	return map[string]func(context.Context, authz.Principal, string) error{
		"key.update": func(ctx context.Context, p authz.Principal, id string) error {
			_, err := s.Update(ctx, p, id, apikey.Patch{Name: &name})
			return err
		},
		"key.suspend": func(ctx context.Context, p authz.Principal, id string) error {
			_, err := s.Suspend(ctx, p, id, "r")
			return err
		},
		"key.resume": func(ctx context.Context, p authz.Principal, id string) error {
			_, err := s.Resume(ctx, p, id, "r")
			return err
		},
		"key.rotate": func(ctx context.Context, p authz.Principal, id string) error {
			_, err := s.Rotate(ctx, p, id, apikey.DefaultOverlap)
			return err
		},
		"key.revoke": func(ctx context.Context, p authz.Principal, id string) error { return s.Revoke(ctx, p, id, "r") },
	}
}

func suspended(k *apikey.Key) { k.SuspendedAt = noon().Add(-time.Hour) }

func TestWhoActsOnWhoseKeys(t *testing.T) {
	acts := func(list ...string) []string { return list }
	all := acts("key.resume", "key.revoke", "key.rotate", "key.suspend", "key.update")
	own := acts("key.revoke", "key.rotate")
	dev := caller(devID, authz.Developer, authz.Scopes()...)
	for _, c := range []struct {
		name  string
		by    authz.Principal
		whose string
		may   []string
		code  fault.Code // of the others
	}{
		{"an admin, those below", admin(), devID, all, ""},
		{"an admin, those of programs", admin(), programID, all, ""},
		{"an admin, his own", admin(), adminID, all, ""},
		{"an admin, a peer's", admin(), "user_peer", nil, fault.Forbidden},
		{"an admin, a superior's", admin(), ownerID, nil, fault.Forbidden},
		{"an admin, those of one who is gone", admin(), "user_gone", all, ""},
		{"an owner, an admin's", caller(ownerID, authz.Owner, authz.Scopes()...), adminID, all, ""},
		{"a developer, his own", dev, devID, own, fault.Forbidden},
		{"a developer, a peer's", dev, programID, nil, fault.NotFound},
		{"a key with reading scopes", caller(adminID, authz.Admin, authz.KeysRead), devID, nil, fault.Forbidden},
		{"nobody", authz.Principal{}, devID, nil, fault.Unauthenticated},
	} {
		for action := range do(newBook().service()) {
			b := newBook()
			keyID, _ := b.put(c.whose, suspended)
			err := do(b.service())[action](t.Context(), c.by, keyID)
			if may := slices.Contains(c.may, action); may != (err == nil) {
				t.Errorf("%s: %s: %v; want that he may: %v", c.name, action, err, may)
			}
			if err == nil {
				if action == "key.suspend" { // it is suspended, and stays so
					continue
				}
				if len(b.audit) != 1 || b.audit[0].Action != action || b.audit[0].Target != keyID || b.bumps != 1 {
					t.Errorf("%s: %s: audited %+v, %d bumps", c.name, action, b.audit, b.bumps)
				}
				continue
			}
			want := c.code
			if c.by.Role == authz.Developer && c.whose != devID && !slices.Contains(own, action) {
				want = fault.Forbidden // his role has no such right at all
			}
			b.refusal(t, err, want, "")
		}
	}
}

func TestKeysOfOthersAreNotThere(t *testing.T) {
	for action, act := range do(newBook().service()) {
		b := newBook()
		b.put(devID, func(k *apikey.Key) { k.OrgID = "org_2" })
		_ = act
		for _, id := range []string{"key_of_" + devID, "key_none"} {
			err := do(b.service())[action](t.Context(), admin(), id)
			b.refusal(t, err, fault.NotFound, "")
			if err.Error() != apikey.ErrNoKey().Error() {
				t.Errorf("%s: %v; want the one answer", action, err)
			}
		}
	}
	b := newBook()
	b.put(ownerID)
	dev := caller(devID, authz.Developer, authz.KeysRead)
	if _, err := b.service().Get(t.Context(), dev, "key_of_"+ownerID); err == nil || err.Error() != apikey.ErrNoKey().Error() {
		t.Errorf("out of reach: %v", err)
	}
	b.put(devID)
	if k, err := b.service().Get(t.Context(), dev, "key_of_"+devID); err != nil || k.OwnerID != devID {
		t.Errorf("his own: %+v, %v", k, err)
	}
}

// Nothing but a revocation is done to a key that has ended; and that once.
func TestWhatHasEndedStaysEnded(t *testing.T) {
	for name, end := range map[string]func(*apikey.Key){
		"revoked": func(k *apikey.Key) { k.RevokedAt = noon().Add(-time.Hour) },
		"expired": func(k *apikey.Key) { k.ExpiresAt = noon() },
	} {
		for action := range do(newBook().service()) {
			b := newBook()
			keyID, _ := b.put(devID, end)
			err := do(b.service())[action](t.Context(), admin(), keyID)
			switch {
			case action != "key.revoke":
				b.refusal(t, err, fault.Conflict, "")
			case err != nil || len(b.audit) != map[string]int{"revoked": 0, "expired": 1}[name] || b.bumps != 1:
				t.Errorf("%s, revoked: %v, %d audited, %d bumps", name, err, len(b.audit), b.bumps)
			}
		}
	}
}

func TestChanging(t *testing.T) {
	var never time.Time
	later, all, few := noon().Add(time.Hour), []string(nil), []string{"a"}
	home, anywhere := networks("192.0.2.0/24"), networks()
	limit, none := new(int64(7)), (*int64)(nil)
	b := newBook()
	keyID, _ := b.put(devID, func(k *apikey.Key) { k.Limits.TokensPerMinute = new(int64(0)) }) // from another time
	for _, c := range []struct {
		name    string
		patch   apikey.Patch
		right   func(apikey.Key) bool
		changed string
	}{
		{"fewer scopes", apikey.Patch{Scopes: []authz.Scope{authz.KeysWrite}}, func(k apikey.Key) bool { return slices.Equal(k.Scopes, []authz.Scope{authz.KeysWrite}) }, "[scopes]"},
		{"another scope", apikey.Patch{Scopes: []authz.Scope{authz.Inference}}, func(k apikey.Key) bool { return slices.Equal(k.Scopes, []authz.Scope{authz.Inference}) }, "[scopes]"},
		{"some models", apikey.Patch{Models: &few}, func(k apikey.Key) bool { return slices.Equal(k.Models, few) }, "[models]"},
		{"all models", apikey.Patch{Models: &all}, func(k apikey.Key) bool { return k.Models == nil }, "[models]"},
		{"a network", apikey.Patch{IPs: &home}, func(k apikey.Key) bool { return slices.Equal(k.IPs, home) }, "[ip_allow_list]"},
		{"no network", apikey.Patch{IPs: &anywhere}, func(k apikey.Key) bool { return k.IPs == nil }, "[ip_allow_list]"},
		{"an end", apikey.Patch{ExpiresAt: &later}, func(k apikey.Key) bool { return k.ExpiresAt.Equal(later) }, "[expires_at]"},
		{"no end", apikey.Patch{ExpiresAt: &never}, func(k apikey.Key) bool { return k.ExpiresAt.IsZero() }, "[expires_at]"},
		{"a limit", apikey.Patch{Limits: apikey.LimitsPatch{RequestsPerMinute: &limit}}, func(k apikey.Key) bool { return *k.Limits.RequestsPerMinute == 7 }, "[limits]"},
		{"no limit", apikey.Patch{Limits: apikey.LimitsPatch{RequestsPerMinute: &none, TokensPerMinute: &none}}, func(k apikey.Key) bool { return k.Limits == (apikey.OwnLimits{}) }, "[limits]"},
	} {
		b.audit, b.bumps = nil, 0
		k, err := b.service().Update(t.Context(), admin(), keyID, c.patch)
		if err != nil || !c.right(k) || !c.right(b.keys[keyID]) || len(b.audit) != 1 || b.bumps != 1 {
			t.Fatalf("%s: %+v, %v, %d audited, %d bumps", c.name, k, err, len(b.audit), b.bumps)
		}
		if got := fmt.Sprint(b.audit[0].Detail["changed"]); got != c.changed {
			t.Errorf("%s: audited as a change of %s", c.name, got)
		}
		if b.change.Secret != nil || k.Fingerprint != b.keys[keyID].Fingerprint {
			t.Errorf("%s: it has another secret", c.name)
		}
		b.audit = nil
		if _, err := b.service().Update(t.Context(), admin(), keyID, c.patch); err != nil || len(b.audit) != 0 || b.bumps != 2 {
			t.Errorf("%s, again: %v, %d audited, %d bumps; want it told, not written", c.name, err, len(b.audit), b.bumps)
		}
	}
}

func TestChangesThatAreRefused(t *testing.T) {
	narrow := caller(adminID, authz.Admin, authz.KeysWrite, authz.Inference)
	tied := fromOffice(admin())
	tied.Models = []string{"a"}
	empty, past, late := "", noon(), noon().Add(31*24*time.Hour)
	all, anywhere, nothing := []string(nil), networks(), new(int64(0))
	for _, c := range []struct {
		name  string
		by    authz.Principal
		patch apikey.Patch
		code  fault.Code
		param string
	}{
		{"no name", admin(), apikey.Patch{Name: &empty}, fault.Unprocessable, "name"},
		{"no scope", admin(), apikey.Patch{Scopes: []authz.Scope{}}, fault.Unprocessable, "scopes"},
		{"a scope that the caller has not", narrow, apikey.Patch{Scopes: []authz.Scope{authz.Inference, authz.UsageRead}}, fault.Forbidden, "scopes"},
		{"a scope that the owner may not", admin(), apikey.Patch{Scopes: []authz.Scope{authz.MembersWrite}}, fault.Unprocessable, "scopes"},
		{"the platform's scope", admin(), apikey.Patch{Scopes: []authz.Scope{authz.Platform}}, fault.Unprocessable, "scopes"},
		{"all models", tied, apikey.Patch{Models: &all}, fault.Forbidden, "models"},
		{"all addresses", tied, apikey.Patch{IPs: &anywhere}, fault.Forbidden, "ip_allow_list"},
		{"an end that is past", admin(), apikey.Patch{ExpiresAt: &past}, fault.Unprocessable, "expires_at"},
		{"a life that is too long", admin(), apikey.Patch{ExpiresAt: &late}, fault.Unprocessable, "expires_at"},
		{"a limit of nothing", admin(), apikey.Patch{Limits: apikey.LimitsPatch{TokensPerMinute: &nothing}}, fault.Unprocessable, "limits"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBook()
			b.grounds.MaxDays = 30
			keyID, _ := b.put(devID)
			_, err := b.service().Update(t.Context(), c.by, keyID, c.patch)
			b.refusal(t, err, c.code, c.param)
		})
	}
}

func TestSuspendingAndResuming(t *testing.T) {
	b := newBook()
	s := b.service()
	keyID, _ := b.put(devID)
	for i, c := range []struct {
		act    func(context.Context, authz.Principal, string, string) (apikey.Key, error)
		state  apikey.State
		audits int
	}{
		{s.Suspend, apikey.Suspended, 1}, {s.Suspend, apikey.Suspended, 1}, {s.Resume, apikey.Active, 2}, {s.Resume, apikey.Active, 2},
	} {
		k, err := c.act(t.Context(), admin(), keyID, "why")
		if err != nil || k.State(noon()) != c.state || len(b.audit) != c.audits || b.bumps != i+1 {
			t.Errorf("%d: %s, %v, %d audited, %d bumps", i, k.State(noon()), err, len(b.audit), b.bumps)
		}
	}
	if _, err := s.Suspend(t.Context(), admin(), keyID, "a\nb"); !fault.Is(err, fault.Unprocessable) {
		t.Errorf("a reason of two lines: %v", err)
	}
}

func TestRotating(t *testing.T) {
	for name, c := range map[string]struct {
		overlap time.Duration
		state   apikey.State
	}{
		"with an overlap": {time.Hour, apikey.Rotating}, "with the longest": {apikey.MaxOverlap, apikey.Rotating}, "at once": {0, apikey.Active},
	} {
		b := newBook()
		keyID, old := b.put(devID, func(k *apikey.Key) { k.RotateBy = noon() })
		r, err := b.service().Rotate(t.Context(), admin(), keyID, c.overlap)
		if err != nil {
			t.Fatal(err)
		}
		until := time.Time{}
		if c.overlap > 0 {
			until = noon().Add(c.overlap)
		}
		if r.Key.ID != keyID || r.Key.State(noon()) != c.state || r.Key.Overlap != until || r.Secret == old || r.Key.Fingerprint != r.Secret.Fingerprint() {
			t.Errorf("%s: %+v", name, r.Key)
		}
		if s := b.change.Secret; s.Hash != r.Secret.Hash() || s.Until != until {
			t.Errorf("%s: stored %+v", name, s)
		}
		if r.Key.SecretAt != noon() || r.Key.RotateBy != noon().Add(apikey.Production.RotateAfter()) || r.Key.RotationOverdue(noon()) {
			t.Errorf("%s: due again %s", name, r.Key.RotateBy)
		}
		if rec := b.audit[0]; strings.Contains(fmt.Sprint(rec), r.Secret.Reveal()) || rec.Detail["previous_fingerprint"] != old.Fingerprint() {
			t.Errorf("%s: audited %+v", name, rec)
		}
	}
	for _, overlap := range []time.Duration{-1, apikey.MaxOverlap + 1} {
		b := newBook()
		keyID, _ := b.put(devID)
		_, err := b.service().Rotate(t.Context(), admin(), keyID, overlap)
		b.refusal(t, err, fault.Unprocessable, "overlap")
	}
}

// A secret is all that its key grants: who sees it has as much already.
func TestNobodyRotatesWhatGrantsMore(t *testing.T) {
	narrow := caller(adminID, authz.Admin, authz.KeysWrite)
	tied, office := admin(), fromOffice(admin())
	tied.Models = []string{"a"}
	itself := narrow
	itself.KeyID = "key_of_" + adminID
	for _, c := range []struct {
		name  string
		by    authz.Principal
		whose string
		key   func(*apikey.Key)
		may   bool
	}{
		{"by one who has as much", admin(), adminID, nil, true},
		{"by itself", itself, adminID, nil, true},
		{"by another of one's own, which grants less", narrow, adminID, nil, false},
		{"by one who has less, a lower one's", narrow, devID, nil, false},
		{"what its owner may not do any more does not count", caller(adminID, authz.Admin, authz.KeysWrite, authz.Inference), devID, func(k *apikey.Key) { k.Scopes = append(k.Scopes, authz.MembersWrite) }, true},
		{"by one tied to models, one that is not", tied, devID, nil, false},
		{"by one tied to models, one that is too", tied, devID, func(k *apikey.Key) { k.Models = []string{"a"} }, true},
		{"by one bound to networks, one that is not", office, devID, nil, false},
		{"by one bound to networks, one that is too", office, devID, func(k *apikey.Key) { k.IPs = networks("10.0.0.0/9") }, true},
	} {
		b := newBook()
		keyID, old := b.put(c.whose)
		if c.key != nil {
			k := b.keys[keyID]
			c.key(&k)
			b.keys[keyID] = k
		}
		r, err := b.service().Rotate(t.Context(), c.by, keyID, 0)
		if c.may {
			if err != nil || r.Secret == old {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		b.refusal(t, err, fault.Forbidden, "")
		if r.Secret != (apikey.Secret{}) {
			t.Errorf("%s: it is shown", c.name)
		}
	}
}

func TestListing(t *testing.T) {
	b := newBook()
	f, page := apikey.Filter{State: apikey.Active, OwnerID: "x"}, apikey.Page{After: "y", Limit: 3}
	if _, err := b.service().List(t.Context(), caller(adminID, authz.Admin, authz.Inference), f, page); !fault.Is(err, fault.Forbidden) {
		t.Errorf("by one who may not: %v", err)
	}
	manager := caller("user_manager", authz.Manager, authz.KeysRead)
	manager.Projects = map[string]authz.ProjectRole{"proj_7": authz.ProjectViewer}
	for _, c := range []struct {
		name string
		by   authz.Principal
		want authz.Reach
	}{
		{"an admin", caller(adminID, authz.Admin, authz.KeysRead), authz.Reach{All: true}},
		{"a manager", manager, authz.Reach{Projects: []string{"proj_7"}, OwnerID: "user_manager"}},
		{"a developer", caller(devID, authz.Developer, authz.KeysRead), authz.Reach{OwnerID: devID}},
	} {
		_, err := b.service().List(t.Context(), c.by, f, page)
		got := b.listing
		if err != nil || got.Filter != f || got.Page != page || got.Now != noon() || got.Reach.All != c.want.All || got.Reach.OwnerID != c.want.OwnerID || !slices.Equal(got.Reach.Projects, c.want.Projects) {
			t.Errorf("%s: asks for %+v, %v; want reach %+v", c.name, got, err, c.want)
		}
	}
}

func TestStates(t *testing.T) {
	hour := time.Hour
	for _, c := range []struct {
		key     apikey.Key
		want    apikey.State
		overdue bool
	}{
		{apikey.Key{}, apikey.Active, false},
		{apikey.Key{ExpiresAt: noon().Add(1), RotateBy: noon().Add(1)}, apikey.Active, false},
		{apikey.Key{RotateBy: noon()}, apikey.Active, true},
		{apikey.Key{Overlap: noon().Add(1)}, apikey.Rotating, false},
		{apikey.Key{Overlap: noon()}, apikey.Active, false},
		{apikey.Key{SuspendedAt: noon().Add(-hour), Overlap: noon().Add(hour), RotateBy: noon()}, apikey.Suspended, true},
		{apikey.Key{ExpiresAt: noon(), SuspendedAt: noon().Add(-hour), RotateBy: noon()}, apikey.Expired, false},
		{apikey.Key{RevokedAt: noon().Add(-1), ExpiresAt: noon().Add(-1), RotateBy: noon()}, apikey.Revoked, false},
	} {
		if got := c.key.State(noon()); got != c.want || c.key.RotationOverdue(noon()) != c.overdue || c.key.Over(noon()) != (c.want == apikey.Expired || c.want == apikey.Revoked) {
			t.Errorf("%+v is %s; want %s", c.key, got, c.want)
		}
	}
}

func TestNetworks(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.0/24": "192.0.2.0/24", "192.0.2.7": "192.0.2.7/32", "2001:db8::/32": "2001:db8::/32", "2001:db8::1": "2001:db8::1/128",
		"0.0.0.0/0": "0.0.0.0/0", "::ffff:192.0.2.7": "192.0.2.7/32", "::ffff:192.0.2.0/120": "192.0.2.0/24",
		"192.0.2.7/24": "", "": "", "localhost": "", "192.0.2": "", "192.0.2.0/33": "", "192.0.2.0/-1": "", "fe80::1%eth0": "", "::ffff:0.0.0.0/95": "",
		"0300.0.2.1": "", "192.0.2.0/024": "", "192.0.2.7;": "", "192.0.2.7,192.0.2.8": "",
	} {
		got, err := apikey.ParseNetworks([]string{text})
		switch {
		case want == "" && (fault.From(err).Code != fault.Unprocessable || fault.From(err).Param != "ip_allow_list"):
			t.Errorf("%q: %v, %v; want it refused", text, got, err)
		case want != "" && (err != nil || fmt.Sprint(got) != "["+want+"]"):
			t.Errorf("%q: %v, %v; want %s", text, got, err, want)
		}
	}
}
