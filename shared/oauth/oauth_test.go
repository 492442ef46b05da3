package oauth_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/oauth"
)

func TestCodesGoToTheClientsOwnAddressesOnly(t *testing.T) {
	cli, web := oauth.Clients()[0], oauth.Client{Redirects: []string{"https://app.example/back?x=1", "http://localhost:9/cb"}}
	for address, want := range map[string]bool{
		"http://127.0.0.1/callback": true, "http://127.0.0.1:1/callback": true, "http://127.0.0.1:65535/callback": true,
		"http://127.0.0.1:0/callback": false, "http://127.0.0.1:65536/callback": false, "http://127.0.0.1:01/callback": false, "http://127.0.0.1:/callback": false,
		"http://127.0.0.1:+1/callback": false, "http://127.0.0.1:1 /callback": false, "http://127.0.0.1:1@evil/callback": false, "http://127.0.0.1evil/callback": false,
		"http://127.0.0.1:1/callback/": false, "http://127.0.0.1:1/x/callback": false, "http://127.0.0.1:1/callback?": false, "http://127.0.0.1:1/callback#": false,
		"https://127.0.0.1/callback": false, "HTTP://127.0.0.1/callback": false, "http://localhost/callback": false, "http://[::1]/callback": false, "": false,
		"https://app.example/back?x=1": false,
	} {
		if got := cli.Takes(address); got != want {
			t.Errorf("the command, %q: %v", address, got)
		}
	}
	for address, want := range map[string]bool{
		"https://app.example/back?x=1": true, "http://localhost:9/cb": true,
		"https://app.example/back?x=2": false, "https://app.example/back": false, "https://app.example/back?x=1&y": false, "https://APP.example/back?x=1": false,
		"https://app.example:443/back?x=1": false, "http://localhost:10/cb": false, "http://127.0.0.1/callback": false, "": false,
	} {
		if got := web.Takes(address); got != want {
			t.Errorf("an application, %q: %v", address, got)
		}
	}
}

// Whatever is taken for a loopback address leads to this machine for any reader of
// URLs.
func TestALoopbackAddressIsOne(t *testing.T) {
	cli := oauth.Clients()[0]
	rapid.Check(t, func(t *rapid.T) {
		address := rapid.OneOf(
			rapid.StringMatching(`http://127\.0\.0\.1[:@/0-9a-z.#?\\]{0,8}/callback`), rapid.StringMatching(`http://127\.0\.0\.1:[0-9]{1,6}/callback`),
		).Draw(t, "address")
		if !cli.Takes(address) {
			return
		}
		rest := strings.TrimSuffix(strings.TrimPrefix(address, "http://127.0.0.1"), "/callback")
		if strings.Trim(rest, ":0123456789") != "" || strings.Count(rest, ":") > 1 {
			t.Fatalf("%q is taken", address)
		}
	})
}

func TestScopesAreOurOwnAndTheProtocols(t *testing.T) {
	for text, want := range map[string]string{
		"":                            "",
		"usage:read":                  "usage:read",
		"usage:read usage:read":       "usage:read",
		"openid usage:read":           "usage:read openid",
		"offline_access openid":       "openid offline_access",
		"platform":                    "platform",
		"offline_access keys:write":   "keys:write offline_access",
		"any":                         "invalid_scope",
		"everything":                  "invalid_scope",
		"USAGE:READ":                  "invalid_scope",
		"profile":                     "invalid_scope",
		"usage:read,keys:read":        "invalid_scope",
		"usage:read \"><script>évil ": "invalid_scope",
	} {
		asked, err := oauth.ParseScopes(strings.Fields(text))
		got := strings.Join(asked.Words(), " ")
		if e, ok := oauth.AsProtocolError(err); ok {
			got = string(e.Reason)
			if strings.ContainsFunc(e.Detail, func(r rune) bool { return r > '~' }) || strings.Contains(strings.Trim(strings.TrimPrefix(e.Detail, "there is no scope "), `"`), `"`) {
				t.Errorf("%q is sent back as %q", text, e.Detail)
			}
		}
		if got != want {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
	if v := oauth.Vocabulary(); slices.Contains(v, string(authz.AnyScope)) || len(v) != len(authz.Scopes())+3 {
		t.Errorf("the vocabulary is %v", v)
	}
}

func TestAQuestionHasPKCE(t *testing.T) {
	good := func() oauth.Ask {
		return oauth.Ask{Scopes: []string{"usage:read"}, State: "s", Challenge: strings.Repeat("A", 43), Method: "S256"}
	}
	if err := good().Check(); err != nil {
		t.Errorf("a good one: %v", err)
	}
	for name, c := range map[string]struct {
		change func(*oauth.Ask)
		want   oauth.Reason
	}{
		"none":            {func(a *oauth.Ask) { a.Challenge, a.Method = "", "" }, oauth.InvalidRequest},
		"plain":           {func(a *oauth.Ask) { a.Method = "plain" }, oauth.InvalidRequest},
		"no method":       {func(a *oauth.Ask) { a.Method = "" }, oauth.InvalidRequest},
		"short":           {func(a *oauth.Ask) { a.Challenge = "A" }, oauth.InvalidRequest},
		"long":            {func(a *oauth.Ask) { a.Challenge += "A" }, oauth.InvalidRequest},
		"another letter":  {func(a *oauth.Ask) { a.Challenge = a.Challenge[1:] + "=" }, oauth.InvalidRequest},
		"a huge state":    {func(a *oauth.Ask) { a.State = strings.Repeat("s", 1001) }, oauth.InvalidRequest},
		"a huge nonce":    {func(a *oauth.Ask) { a.Nonce = strings.Repeat("s", 1001) }, oauth.InvalidRequest},
		"an unknown word": {func(a *oauth.Ask) { a.Scopes = []string{"x"} }, oauth.InvalidScope},
	} {
		a := good()
		c.change(&a)
		if e, ok := oauth.AsProtocolError(a.Check()); !ok || e.Reason != c.want {
			t.Errorf("%s: %v; want %s", name, e, c.want)
		}
	}
}

func TestKeysFollowOneAnother(t *testing.T) {
	now := time.Date(2026, 10, 12, 12, 0, 0, 0, time.UTC)
	key := func(ago time.Duration) oauth.Key { return oauth.Key{SignsAt: now.Add(-ago)} }
	for name, c := range map[string]struct {
		keys []oauth.Key
		due  bool
		at   time.Duration // from now
	}{
		"the first, at once":                      {nil, true, 0},
		"a young one":                             {[]oauth.Key{key(time.Hour)}, false, 0},
		"a moment before":                         {[]oauth.Key{key(oauth.KeyPeriod - oauth.KeyLead - time.Second)}, false, 0},
		"in time to be known for its lead":        {[]oauth.Key{key(oauth.KeyPeriod - oauth.KeyLead)}, true, oauth.KeyLead},
		"long overdue, and known first":           {[]oauth.Key{key(2 * oauth.KeyPeriod)}, true, oauth.KeyLead},
		"the next is known already":               {[]oauth.Key{key(-oauth.KeyLead), key(oauth.KeyPeriod - oauth.KeyLead)}, false, 0},
		"in whatever order":                       {[]oauth.Key{key(oauth.KeyPeriod), key(time.Hour)}, false, 0},
		"the youngest counts, however old others": {[]oauth.Key{key(3 * oauth.KeyPeriod), key(2 * oauth.KeyPeriod)}, true, oauth.KeyLead},
	} {
		at, due := oauth.NextKey(c.keys, now)
		if due != c.due || due && !at.Equal(now.Add(c.at)) {
			t.Errorf("%s: %v from %s", name, due, at)
		}
	}
	if end := oauth.KeyEnds(now); end.Before(now.Add(oauth.AccessLifetime)) {
		t.Errorf("a key ends at %s, while its tokens last", end)
	}
}

func TestUserCodesAreShownInTwoHalves(t *testing.T) {
	if got := oauth.ShowUserCode("BCDFGHJK"); got != "BCDF-GHJK" {
		t.Error(got)
	}
}
