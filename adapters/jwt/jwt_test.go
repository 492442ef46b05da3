package jwt_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aiaas/aiaas/adapters/jwt"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/oauth"
)

// keys is one key, and a store that may be down.
type keys struct {
	kid  string
	key  *ecdsa.PrivateKey
	down error
}

func newKeys(t *testing.T, kid string) *keys {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &keys{kid: kid, key: key}
}

func (k *keys) Signing(context.Context) (string, *ecdsa.PrivateKey, error) {
	return k.kid, k.key, k.down
}

func (k *keys) Verifying(_ context.Context, kid string) (*ecdsa.PublicKey, error) {
	switch {
	case k.down != nil:
		return nil, k.down
	case kid != k.kid:
		return nil, fault.New(fault.NotFound, "there is no such key")
	}
	return &k.key.PublicKey, nil
}

const issuer = "https://ai.example.com"

func noon() time.Time { return time.Date(2026, 10, 12, 12, 0, 0, 0, time.UTC) }

func access() oauth.Access {
	return oauth.Access{
		Subject: "user_1", ClientID: oauth.CLI, SessionID: id.New(id.Session), Scopes: []authz.Scope{authz.UsageRead, authz.KeysRead},
		AuthTime: noon().Add(-time.Hour), IssuedAt: noon(), Expires: noon().Add(oauth.AccessLifetime),
	}
}

func TestWhatIsMintedIsVerified(t *testing.T) {
	k := newKeys(t, "k1")
	now := noon()
	tokens := jwt.New(k, issuer, func() time.Time { return now })
	a := access()
	text, err := tokens.MintAccess(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	again, err := tokens.MintAccess(t.Context(), a)
	if err != nil || again == text {
		t.Errorf("two tokens are the same, %v", err)
	}
	got, err := tokens.Verify(t.Context(), text)
	want := oauth.Claims{SessionID: a.SessionID, ClientID: oauth.CLI, Scopes: a.Scopes, Expires: a.Expires}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v %s", err, d)
	}
	none := a
	none.Scopes = nil
	if text, err = tokens.MintAccess(t.Context(), none); err != nil {
		t.Fatal(err)
	}
	if got, err := tokens.Verify(t.Context(), text); err != nil || got.Scopes == nil || len(got.Scopes) != 0 {
		t.Errorf("without scopes: %+v, %v", got, err)
	}
}

func TestATokenIsGoodHereAndNowOnly(t *testing.T) {
	k := newKeys(t, "k1")
	at := func(d time.Duration) func() time.Time { return func() time.Time { return noon().Add(d) } }
	text, err := jwt.New(k, issuer, at(0)).MintAccess(t.Context(), access())
	if err != nil {
		t.Fatal(err)
	}
	identity, err := jwt.New(k, issuer, at(0)).MintIdentity(t.Context(), oauth.Identity{
		Subject: "user_1", ClientID: oauth.CLI, SessionID: id.New(id.Session), AccessToken: text, IssuedAt: noon(), Expires: noon().Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	good := jwt.New(k, issuer, at(0))
	for name, c := range map[string]struct {
		by   *jwt.Tokens
		text string
		ok   bool
	}{
		"as it is":                {good, text, true},
		"a moment before its end": {jwt.New(k, issuer, at(oauth.AccessLifetime-time.Second)), text, true},
		"at its end":              {jwt.New(k, issuer, at(oauth.AccessLifetime)), text, false},
		"clocks that differ":      {jwt.New(k, issuer, at(-5*time.Second)), text, true},
		"before it was issued":    {jwt.New(k, issuer, at(-time.Minute)), text, false},
		"another issuer":          {jwt.New(k, "https://other.example", at(0)), text, false},
		"another platform's key":  {jwt.New(newKeys(t, "k1"), issuer, at(0)), text, false},
		"a key that is gone":      {jwt.New(newKeys(t, "k2"), issuer, at(0)), text, false},
		"an identity token":       {good, identity, false},
		"nothing":                 {good, "", false},
		"a key of the API":        {good, "aiaas_live_x", false},
		"JSON":                    {good, `{"payload":"e30","signatures":[]}`, false},
		"too long":                {good, text + strings.Repeat("A", 5000), false},
	} {
		_, err := c.by.Verify(t.Context(), c.text)
		if (err == nil) != c.ok || err != nil && !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeysThatCanNotBeReadAreNoRefusal(t *testing.T) {
	k := newKeys(t, "k1")
	tokens := jwt.New(k, issuer, noon)
	text, err := tokens.MintAccess(t.Context(), access())
	if err != nil {
		t.Fatal(err)
	}
	k.down = fault.Wrap(fault.Unavailable, "read", errors.New("down"))
	if _, err := tokens.Verify(t.Context(), text); !fault.Is(err, fault.Unavailable) {
		t.Errorf("verify: %v", err)
	}
	if _, err := tokens.MintAccess(t.Context(), access()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("mint: %v", err)
	}
}

func TestTheSetHasPublicHalvesOnly(t *testing.T) {
	k := newKeys(t, "k1")
	set := jwt.Set([]oauth.Key{{KID: "k1", Public: &k.key.PublicKey}})
	if len(set.Keys) != 1 || !set.Keys[0].IsPublic() || set.Keys[0].KeyID != "k1" || set.Keys[0].Algorithm != "ES256" || set.Keys[0].Use != "sig" {
		t.Errorf("%+v", set)
	}
	if empty := jwt.Set(nil); empty.Keys == nil {
		t.Error("no keys are null")
	}
}
