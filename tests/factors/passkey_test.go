package factors_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	virtual "github.com/descope/virtualwebauthn"
	"github.com/pquerna/otp/totp"

	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/factor"
	"github.com/aiaas/aiaas/shared/id"
)

func codeOf(t *testing.T, secret string, at time.Time) string {
	t.Helper()
	text, err := totp.GenerateCode(secret, at)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// key makes an API key of a member.
func (w *world) key(owner string) string {
	w.t.Helper()
	project := id.New(id.Project)
	w.exec(`INSERT INTO accounts.projects (org_id, project_id, name, created_at) VALUES ('%s', '%s', 'p', now())`, w.org, project)
	_, secret := postgrestest.KeyOf(w.t, w.url, postgrestest.Ownership{Org: w.org, Project: project, Owner: owner}, authz.Scopes()...)
	return secret
}

// device is an authenticator made of software, with one passkey.
type device struct {
	at      virtual.RelyingParty
	options virtual.AuthenticatorOptions
	key     virtual.Credential
}

func newDevice(owner string) *device {
	return &device{
		at:      virtual.RelyingParty{ID: "ai.example.com", Name: "AIaaS", Origin: "https://ai.example.com"},
		options: virtual.AuthenticatorOptions{UserHandle: []byte(owner)},
		key:     ecKey(),
	}
}

func options(t *testing.T, v object) string {
	t.Helper()
	raw, err := json.Marshal(v["options"])
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func (d *device) create(t *testing.T, v object) json.RawMessage {
	t.Helper()
	o, err := virtual.ParseAttestationOptions(options(t, v))
	if err != nil {
		t.Fatal(err)
	}
	return json.RawMessage(virtual.CreateAttestationResponse(d.at, virtual.NewAuthenticatorWithOptions(d.options), d.key, *o))
}

// get signs, and counts.
func (d *device) get(t *testing.T, v object) json.RawMessage {
	t.Helper()
	o, err := virtual.ParseAssertionOptions(options(t, v))
	if err != nil {
		t.Fatal(err)
	}
	d.key.Counter++
	return json.RawMessage(virtual.CreateAssertionResponse(d.at, virtual.NewAuthenticatorWithOptions(d.options), d.key, *o))
}

func (p *person) addPasskey(d *device, name string) (passkeyID string) {
	p.w.t.Helper()
	begun := p.do("POST /v1/me/passkeys/options", nil).want(200)
	v := p.do("POST /v1/me/passkeys", object{"ceremony": begun["ceremony"], "name": name, "credential": d.create(p.w.t, begun)}).want(201)
	p.take(v)
	return member[string](v["passkey"], "id")
}

func TestAPasskeyFromItsCreationToItsRemoval(t *testing.T) {
	t.Parallel()
	w := start(t)
	p := w.person("ann", authz.Developer)
	p.enter()
	before := p.token
	d := newDevice(p.id)
	key := p.addPasskey(d, "laptop")
	w.do(0, "GET /v1/me/factors", before, nil).want(401)
	list := member[[]any](p.do("GET /v1/me/passkeys", nil).want(200), "data")
	if len(list) != 1 || member[string](list[0], "id") != key || member[string](list[0], "name") != "laptop" || member[any](list[0], "last_used_at") != nil {
		t.Errorf("%v", list)
	}

	// as the second factor
	challenge := p.challenge(0)
	asked := w.do(1, "POST /v1/sign-in/passkey/options", "", object{"challenge": challenge}).want(200)
	proof := object{"challenge": challenge, "passkey": object{"ceremony": asked["ceremony"], "credential": d.get(t, asked)}}
	if v := w.do(0, "POST /v1/sign-in/second-factor", "", proof).want(200); !member[bool](v["session"], "mfa") {
		t.Errorf("%v", v)
	}
	proof["challenge"] = p.challenge(0)
	w.do(0, "POST /v1/sign-in/second-factor", "", proof).want(401) // replayed

	// as the whole sign-in
	asked = w.do(0, "POST /v1/sign-in/passkey/options", "", object{}).want(200)
	whole := object{"ceremony": asked["ceremony"], "credential": d.get(t, asked), "transport": "bearer"}
	v := w.do(1, "POST /v1/sign-in/passkey", "", whole).want(200)
	if v["status"] != "signed_in" || !member[bool](v["session"], "mfa") {
		t.Errorf("%v", v)
	}
	w.do(0, "POST /v1/sign-in/passkey", "", whole).want(401) // replayed
	p.take(v)

	// as a step up
	w.clock.advance(16 * time.Minute)
	p.do("POST /v1/me/passkeys/options", nil).want(403)
	asked = p.do("POST /v1/session/step-up/options", nil).want(200)
	p.take(p.do("POST /v1/session/step-up", object{"passkey": object{"ceremony": asked["ceremony"], "credential": d.get(t, asked)}}).want(200))
	p.do("POST /v1/me/passkeys/options", nil).want(200)

	if v := p.do("PATCH /v1/me/passkeys/"+key, object{"name": "work"}).want(200); v["name"] != "work" || v["last_used_at"] == nil {
		t.Errorf("%v", v)
	}
	p.do("PATCH /v1/me/passkeys/pk_0", object{"name": "work"}).want(404)
	p.do("DELETE /v1/me/passkeys/"+key, nil).want(204)
	p.do("DELETE /v1/me/passkeys/"+key, nil).want(404)
	asked = w.do(0, "POST /v1/sign-in/passkey/options", "", object{}).want(200)
	w.do(0, "POST /v1/sign-in/passkey", "", object{"ceremony": asked["ceremony"], "credential": d.get(t, asked)}).want(401)
	if got := w.scalar(`SELECT string_agg(action, ' ' ORDER BY audit_id) FROM accounts.audit_records WHERE actor = '%s' AND action LIKE 'passkey.%%'`, p.id); got != "passkey.create passkey.update passkey.delete" {
		t.Errorf("recorded %s", got)
	}
}

func TestAPasskeyOfAnotherIsOutOfReach(t *testing.T) {
	t.Parallel()
	w := start(t)
	ann, bob := w.person("ann", authz.Developer), w.person("bob", authz.Owner)
	ann.enter()
	bob.enter()
	d := newDevice(ann.id)
	key := ann.addPasskey(d, "laptop")
	bob.do("PATCH /v1/me/passkeys/"+key, object{"name": "mine"}).want(404)
	bob.do("DELETE /v1/me/passkeys/"+key, nil).want(404)
	if list := member[[]any](bob.do("GET /v1/me/passkeys", nil).want(200), "data"); len(list) != 0 {
		t.Errorf("Bob sees %v", list)
	}
	// Ann's device answers what Bob was asked for.
	begun := bob.do("POST /v1/me/passkeys/options", nil).want(200)
	bob.do("POST /v1/me/passkeys", object{"ceremony": begun["ceremony"], "name": "x", "credential": d.create(t, begun)}).want(409)
	// Bob's challenge is answered by Ann's ceremony.
	bob.addPasskey(newDevice(bob.id), "phone")
	challenge, annsChallenge := bob.challenge(0), ann.challenge(0)
	asked := w.do(0, "POST /v1/sign-in/passkey/options", "", object{"challenge": annsChallenge}).want(200)
	w.do(0, "POST /v1/sign-in/second-factor", "", object{
		"challenge": challenge, "passkey": object{"ceremony": asked["ceremony"], "credential": d.get(t, asked)},
	}).want(401)
}

func TestWhatNoPasskeyProves(t *testing.T) {
	t.Parallel()
	w := start(t)
	p := w.person("ann", authz.Developer)
	p.enter()
	good := newDevice(p.id)
	p.addPasskey(good, "laptop")
	for name, spoil := range map[string]func(*device){
		"another origin":     func(d *device) { d.at.Origin = "https://ai.example.com.evil.example" },
		"another domain":     func(d *device) { d.at.ID = "example.com" },
		"no verification":    func(d *device) { d.options.UserNotVerified = true },
		"another key":        func(d *device) { d.key.Key = ecKey().Key },
		"another credential": func(d *device) { d.key.ID = []byte("other") },
		"another owner":      func(d *device) { d.options.UserHandle = []byte(id.New(id.User)) },
		"no owner":           func(d *device) { d.options.UserHandle = nil },
		"a count of before":  func(d *device) { d.key.Counter = 0 },
	} {
		d := *good
		good.key.Counter += 2
		if name == "a count of before" { // the real one has signed since
			asked := w.do(0, "POST /v1/sign-in/passkey/options", "", object{}).want(200)
			w.do(0, "POST /v1/sign-in/passkey", "", object{"ceremony": asked["ceremony"], "credential": good.get(t, asked)}).want(200)
		}
		spoil(&d)
		asked := w.do(0, "POST /v1/sign-in/passkey/options", "", object{}).want(200)
		if a := w.do(0, "POST /v1/sign-in/passkey", "", object{"ceremony": asked["ceremony"], "credential": d.get(t, asked)}); a.Code != 401 {
			t.Errorf("%s signs in: %d %s", name, a.Code, a.Body)
		}
		// What was refused has used its ceremony up.
		if a := w.do(0, "POST /v1/sign-in/passkey", "", object{"ceremony": asked["ceremony"], "credential": good.get(t, asked)}); a.Code != 401 {
			t.Errorf("a ceremony is good after %s: %d %s", name, a.Code, a.Body)
		}
	}
	if got := w.scalar(`SELECT count(*)::text FROM accounts.audit_records WHERE action = 'passkey.refuse' AND outcome = 'denied'`); got != "1" {
		t.Errorf("%s refused copies are recorded", got)
	}
	if got := w.scalar(`SELECT count(*)::text FROM accounts.mails WHERE kind = 'factor.changed' AND data::text LIKE '%%passkey_refused%%'`); got != "1" {
		t.Errorf("the owner is told of %s", got)
	}
}

func TestACeremonyIsOfItsPurposeAndItsTime(t *testing.T) {
	t.Parallel()
	w := start(t)
	p := w.person("ann", authz.Developer)
	p.enter()
	d := newDevice(p.id)
	p.addPasskey(d, "laptop")
	toCreate := p.do("POST /v1/me/passkeys/options", nil).want(200)
	toSignIn := w.do(0, "POST /v1/sign-in/passkey/options", "", object{}).want(200)
	w.do(0, "POST /v1/sign-in/passkey", "", object{"ceremony": toCreate["ceremony"], "credential": d.get(t, toSignIn)}).want(401)
	other := newDevice(p.id)
	p.do("POST /v1/me/passkeys", object{"ceremony": toSignIn["ceremony"], "name": "x", "credential": other.create(t, toCreate)}).want(422)
	w.clock.advance(factor.CeremonyFor)
	p.do("POST /v1/me/passkeys", object{"ceremony": toCreate["ceremony"], "name": "x", "credential": other.create(t, toCreate)}).want(422)
	w.do(0, "POST /v1/sign-in/passkey", "", object{"ceremony": toSignIn["ceremony"], "credential": d.get(t, toSignIn)}).want(401)
}

func TestOfFiftyAnswersOfAPasskeyAtOnceOneSignsIn(t *testing.T) {
	t.Parallel()
	w := start(t)
	p := w.person("ann", authz.Developer)
	p.enter()
	d := newDevice(p.id)
	p.addPasskey(d, "laptop")
	asked := w.do(0, "POST /v1/sign-in/passkey/options", "", object{}).want(200)
	proof := object{"ceremony": asked["ceremony"], "credential": d.get(t, asked), "transport": "bearer"}
	if won := w.race(func(host, _ int) int { return w.do(host, "POST /v1/sign-in/passkey", "", proof).Code }); won != 1 {
		t.Errorf("%d of %d answers at once signed in", won, atOnce)
	}
}

func TestHostileAnswersOfPasskeys(t *testing.T) {
	t.Parallel()
	w := start(t)
	p := w.person("ann", authz.Developer)
	p.enter()
	for i, credential := range []any{nil, "", 5, []int{}, object{}, object{"id": 5}, object{"id": "x", "rawId": "x", "type": "public-key", "response": object{}},
		object{"id": "eA", "rawId": "eA", "type": "public-key", "response": object{"attestationObject": "_____w", "clientDataJSON": "e30"}},
		object{"id": "eA", "rawId": "eA", "type": "public-key", "response": object{"attestationObject": "n39_f39_f39_", "clientDataJSON": "e30", "authenticatorData": "eA", "signature": "eA", "userHandle": "AAAA"}},
	} {
		begun := p.do("POST /v1/me/passkeys/options", nil).want(200)
		if a := p.do("POST /v1/me/passkeys", object{"ceremony": begun["ceremony"], "name": "x", "credential": credential}); a.Code != 422 {
			t.Errorf("%d: added: %d %s", i, a.Code, a.Body)
		}
		asked := w.do(0, "POST /v1/sign-in/passkey/options", "", object{}).want(200)
		if a := w.do(0, "POST /v1/sign-in/passkey", "", object{"ceremony": asked["ceremony"], "credential": credential}); a.Code != 401 && a.Code != 422 {
			t.Errorf("%d: signed in: %d %s", i, a.Code, a.Body)
		}
	}
	for _, ceremony := range []any{"", "cer_1", "cer_\u0000", fmt.Sprintf("cer_%032d", 0)} {
		if a := w.do(0, "POST /v1/sign-in/passkey", "", object{"ceremony": ceremony, "credential": object{}}); a.Code != 401 && a.Code != 422 && a.Code != 400 {
			t.Errorf("ceremony %q: %d %s", ceremony, a.Code, a.Body)
		}
	}
}

// ecKey makes a key whose coordinates have their full length: the library does not pad
// them, so that one key of 128 would be none that a browser sends.
func ecKey() virtual.Credential {
	const whole = 77 // bytes of such a key in COSE
	for {
		if c := virtual.NewCredential(virtual.KeyTypeEC2); len(c.Key.AttestationData()) == whole {
			return c
		}
	}
}
