package webauthn_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"testing"

	virtual "github.com/descope/virtualwebauthn"

	"github.com/aiaas/aiaas/adapters/webauthn"
	"github.com/aiaas/aiaas/shared/factor"
	"github.com/aiaas/aiaas/shared/fault"
)

const (
	ann = "user_0199c0b2f3a47c1e8d6a5b4c3d2e1f00"
	bob = "user_0199c0b2f3a47c1e8d6a5b4c3d2e1f01"
)

// device is an authenticator made of software, with one passkey.
type device struct {
	at      virtual.RelyingParty // what the browser believes
	options virtual.AuthenticatorOptions
	key     virtual.Credential
	kept    factor.Passkey // by the party
}

func newDevice(owner string) *device {
	return &device{
		at:      virtual.RelyingParty{ID: "example.com", Name: "AIaaS", Origin: "https://example.com"},
		options: virtual.AuthenticatorOptions{UserHandle: []byte(owner)},
		key:     ecKey(),
	}
}

func (d *device) create(t *testing.T, options json.RawMessage) json.RawMessage {
	t.Helper()
	o, err := virtual.ParseAttestationOptions(string(options))
	if err != nil {
		t.Fatal(err)
	}
	return json.RawMessage(virtual.CreateAttestationResponse(d.at, virtual.NewAuthenticatorWithOptions(d.options), d.key, *o))
}

func (d *device) get(t *testing.T, options json.RawMessage) json.RawMessage {
	t.Helper()
	o, err := virtual.ParseAssertionOptions(string(options))
	if err != nil {
		t.Fatal(err)
	}
	return json.RawMessage(virtual.CreateAssertionResponse(d.at, virtual.NewAuthenticatorWithOptions(d.options), d.key, *o))
}

func party(t *testing.T, publicURL string) *webauthn.Party {
	t.Helper()
	p, err := webauthn.New(publicURL, "AIaaS")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func person(userID string, keys ...factor.Passkey) factor.State {
	return factor.State{UserID: userID, Email: "ann@example.com", Passkeys: keys}
}

// registered brings a device's passkey to a party.
func registered(t *testing.T, p *webauthn.Party, d *device, st factor.State) factor.Passkey {
	t.Helper()
	b, err := p.Register(st)
	if err != nil {
		t.Fatal(err)
	}
	key, err := p.Registered(st, factor.Answer{State: b.State, Credential: d.create(t, b.Options)})
	if err != nil {
		t.Fatal(err)
	}
	key.ID = "pk_1"
	d.kept = key
	return key
}

func TestWhatANewPasskeyIsAskedFor(t *testing.T) {
	t.Parallel()
	p := party(t, "https://example.com")
	known := registered(t, p, newDevice(ann), person(ann))
	b, err := p.Register(person(ann, known))
	if err != nil {
		t.Fatal(err)
	}
	var o struct {
		RP                     struct{ ID string }
		User                   struct{ ID, Name string }
		Attestation            string
		AuthenticatorSelection struct {
			ResidentKey, UserVerification string
			RequireResidentKey            bool
		}
		ExcludeCredentials []struct{ ID string }
		Challenge          string
	}
	if err := json.Unmarshal(b.Options, &o); err != nil {
		t.Fatal(err)
	}
	s := o.AuthenticatorSelection
	if o.RP.ID != "example.com" || o.User.Name != "ann@example.com" || o.Attestation != "none" || s.ResidentKey != "required" || !s.RequireResidentKey || s.UserVerification != "required" {
		t.Errorf("options %s", b.Options)
	}
	if len(o.ExcludeCredentials) != 1 || len(o.Challenge) < 43 {
		t.Errorf("it excludes %v, its challenge is %q", o.ExcludeCredentials, o.Challenge)
	}
	again, err := p.Register(person(ann, known))
	if err != nil || string(again.Options) == string(b.Options) {
		t.Errorf("two ceremonies are alike: %v", err)
	}
}

func TestAPasskeyProvesItsOwner(t *testing.T) {
	t.Parallel()
	for kind, drawn := range map[virtual.KeyType]virtual.Credential{
		virtual.KeyTypeEC2: ecKey(), virtual.KeyTypeRSA: virtual.NewCredential(virtual.KeyTypeRSA),
	} {
		p, d := party(t, "https://example.com"), newDevice(ann)
		d.key = drawn
		key := registered(t, p, d, person(ann))
		st := person(ann, key)
		if key.RPID != "example.com" || p.RPID() != "example.com" || string(key.CredentialID) != string(d.key.ID) {
			t.Errorf("%s: registered %+v", kind, key)
		}
		for _, of := range []*factor.State{&st, nil} { // as the second factor, and as the whole sign-in
			b, err := p.Ask(of)
			if err != nil {
				t.Fatal(err)
			}
			d.key.Counter++
			credential := d.get(t, b.Options)
			if owner, err := p.Owner(credential); err != nil || owner != ann {
				t.Errorf("%s: it is of %q, %v", kind, owner, err)
			}
			used, err := p.Verify(st, factor.Answer{State: b.State, Credential: credential})
			if err != nil || used.PasskeyID != "pk_1" || used.SignCount != d.key.Counter || len(used.Record) == 0 {
				t.Errorf("%s: used %+v, %v", kind, used, err)
			}
			st.Passkeys[0].SignCount, st.Passkeys[0].Record = used.SignCount, used.Record
		}
	}
}

func TestWhatIsNoProof(t *testing.T) {
	t.Parallel()
	p := party(t, "https://example.com")
	for name, c := range map[string]flaw{
		"another origin":                  {spoil: func(d *device) { d.at.Origin = "https://evil.example" }, discard: true},
		"another port":                    {spoil: func(d *device) { d.at.Origin = "https://example.com:8443" }, discard: true},
		"without TLS":                     {spoil: func(d *device) { d.at.Origin = "http://example.com" }, discard: true},
		"another domain":                  {spoil: func(d *device) { d.at.ID = "evil.example" }, discard: true},
		"a user who was not verified":     {spoil: func(d *device) { d.options.UserNotVerified = true }, discard: true},
		"a user who was not there":        {spoil: func(d *device) { d.options.UserNotPresent = true }, discard: true},
		"another key":                     {spoil: func(d *device) { d.key.Key = ecKey().Key }},
		"another credential":              {spoil: func(d *device) { d.key.ID = ecKey().ID }},
		"another owner":                   {spoil: func(d *device) { d.options.UserHandle = []byte(bob) }},
		"an answer to another ceremony":   {forge: func(_, old json.RawMessage) json.RawMessage { return old }, discard: true},
		"no JSON":                         {forge: func(json.RawMessage, json.RawMessage) json.RawMessage { return json.RawMessage(`"`) }, discard: true},
		"an empty object":                 {forge: func(json.RawMessage, json.RawMessage) json.RawMessage { return json.RawMessage(`{}`) }, discard: true},
		"null":                            {forge: func(json.RawMessage, json.RawMessage) json.RawMessage { return json.RawMessage(`null`) }, discard: true},
		"a person who has no such key":    {mine: func(st factor.State) factor.State { st.Passkeys = nil; return st }},
		"the key of another person":       {mine: func(st factor.State) factor.State { st.UserID = bob; return st }},
		"a challenge of the client's own": {forge: func(c, _ json.RawMessage) json.RawMessage { return reclient(c) }, discard: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDevice(ann)
			st := person(ann, registered(t, p, d, person(ann)))
			for _, of := range []*factor.State{&st, nil} {
				if err := c.proves(t, p, of, d); !fault.Is(err, fault.Unauthenticated) {
					t.Errorf("proved to be (whole sign-in: %v) by %s: %v", of == nil, name, err)
				}
			}
			if c.discard {
				if err := c.registers(t, p); !fault.Is(err, fault.Unauthenticated) {
					t.Errorf("registered with %s: %v", name, err)
				}
			}
		})
	}
}

// flaw is what is wrong with an answer.
type flaw struct {
	spoil   func(d *device)
	forge   func(credential, old json.RawMessage) json.RawMessage
	mine    func(st factor.State) factor.State
	discard bool // the registration is spoilt by it too
}

// proves answers what one person's passkeys are asked, or any where of is nil.
func (f flaw) proves(t *testing.T, p *webauthn.Party, of *factor.State, d *device) error {
	t.Helper()
	old, err := p.Ask(of)
	if err != nil {
		t.Fatal(err)
	}
	b, err := p.Ask(of)
	if err != nil {
		t.Fatal(err)
	}
	st, spoilt := person(ann, d.kept), *d
	if f.spoil != nil {
		f.spoil(&spoilt)
	}
	credential := spoilt.get(t, b.Options)
	if f.forge != nil {
		credential = f.forge(credential, spoilt.get(t, old.Options))
	}
	if f.mine != nil {
		st = f.mine(st)
	}
	_, err = p.Verify(st, factor.Answer{State: b.State, Credential: credential})
	return err
}

func (f flaw) registers(t *testing.T, p *webauthn.Party) error {
	t.Helper()
	old, err := p.Register(person(ann))
	if err != nil {
		t.Fatal(err)
	}
	b, err := p.Register(person(ann))
	if err != nil {
		t.Fatal(err)
	}
	d := newDevice(ann)
	if f.spoil != nil {
		f.spoil(d)
	}
	credential := d.create(t, b.Options)
	if f.forge != nil {
		credential = f.forge(credential, d.create(t, old.Options))
	}
	_, err = p.Registered(person(ann), factor.Answer{State: b.State, Credential: credential})
	return err
}

// reclient gives an answer other client data: the signature is over those before.
func reclient(credential json.RawMessage) json.RawMessage {
	return regexp.MustCompile(`"clientDataJSON":"[^"]*"`).ReplaceAll(credential, []byte(`"clientDataJSON":"e30"`)) // {}
}

func TestACopyIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		known, signed uint32
		copied        bool
	}{{5, 6, false}, {5, 5, true}, {5, 4, true}, {5, 0, true}, {0, 0, false}, {0, 1, false}} {
		t.Run(fmt.Sprintf("%d after %d", c.signed, c.known), func(t *testing.T) {
			t.Parallel()
			p, d := party(t, "https://example.com"), newDevice(ann)
			key := registered(t, p, d, person(ann))
			key.SignCount = c.known
			st := person(ann, key)
			b, err := p.Ask(&st)
			if err != nil {
				t.Fatal(err)
			}
			d.key.Counter = c.signed
			used, err := p.Verify(st, factor.Answer{State: b.State, Credential: d.get(t, b.Options)})
			if errors.Is(err, factor.ErrCopied) != c.copied || (err != nil) != c.copied || used.PasskeyID != "pk_1" || used.SignCount != c.signed {
				t.Errorf("used %+v, %v", used, err)
			}
		})
	}
}

func TestAPasskeyIsOfThePublicAddress(t *testing.T) {
	t.Parallel()
	for publicURL, want := range map[string]struct{ rpID, origin string }{
		"https://ai.example.com":       {"ai.example.com", "https://ai.example.com"},
		"https://AI.Example.com:443/":  {"ai.example.com", "https://ai.example.com"},
		"https://ai.example.com:8443":  {"ai.example.com", "https://ai.example.com:8443"},
		"http://127.0.0.1:8080":        {"localhost", "http://localhost:8080"},
		"http://127.0.0.9:8080":        {"localhost", "http://localhost:8080"},
		"http://[::1]:8080":            {"localhost", "http://localhost:8080"},
		"http://localhost:8080":        {"localhost", "http://localhost:8080"},
		"http://localhost":             {"localhost", "http://localhost"},
		"https://ai.example.com/path/": {"ai.example.com", "https://ai.example.com"},
	} {
		p, d := party(t, publicURL), newDevice(ann)
		d.at.ID, d.at.Origin = want.rpID, want.origin
		if key := registered(t, p, d, person(ann)); key.RPID != want.rpID || p.RPID() != want.rpID {
			t.Errorf("%s: passkeys of %q; want %q", publicURL, key.RPID, want.rpID)
		}
	}
	for _, publicURL := range []string{"", "example.com", "ftp://example.com", "https://", "https://exa mple.com"} {
		if _, err := webauthn.New(publicURL, "AIaaS"); err == nil {
			t.Errorf("%q is taken for an address", publicURL)
		}
	}
}

func TestWithoutADomainThereAreNoPasskeys(t *testing.T) {
	t.Parallel()
	p := party(t, "http://192.0.2.7:8080")
	st := person(ann)
	_, register := p.Register(st)
	_, ask := p.Ask(&st)
	_, anybody := p.Ask(nil)
	_, registered := p.Registered(st, factor.Answer{})
	_, verify := p.Verify(st, factor.Answer{})
	for i, err := range []error{register, ask, anybody, registered, verify} {
		if !fault.Is(err, fault.Conflict) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if p.RPID() != "" {
		t.Errorf("RPID is %q", p.RPID())
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
