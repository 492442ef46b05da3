package rest_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/oauth"
	"github.com/aiaas/aiaas/shared/origin"
	"github.com/aiaas/aiaas/shared/rest"
	"github.com/aiaas/aiaas/shared/session"
	"github.com/aiaas/aiaas/shared/tenant"
)

func nine() time.Time { return time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC) }

// sessions knows one browser's session and one grant.
type sessions struct{}

func browserToken() string { return session.TokenPrefix + strings.Repeat("b", 43) }

func record(kind session.Kind, scopes ...authz.Scope) *session.Record {
	return &session.Record{
		Session: session.Session{ID: "ses_1", OrgID: "org_1", HolderID: "user_1", Kind: kind, Scopes: scopes, ProvedAt: nine()},
		Role:    authz.Owner, HolderActive: true, OrgStatus: tenant.Active,
	}
}

func (sessions) ByToken(_ context.Context, text string) (*session.Record, error) {
	if text != browserToken() {
		return nil, session.ErrUnauthenticated()
	}
	return record(session.Browser), nil
}

func (sessions) ByID(_ context.Context, id string) (*session.Record, error) {
	if id != "ses_1" {
		return nil, session.ErrUnauthenticated()
	}
	return record(session.OAuth, authz.UsageRead, authz.KeysRead), nil
}

// tokens knows what "a.b.c" says, and that "d.e.f" was issued in a session that ended.
type tokens struct{}

func (tokens) Verify(_ context.Context, jwt string) (oauth.Claims, error) {
	switch jwt {
	case "a.b.c":
		return oauth.Claims{SessionID: "ses_1", Scopes: []authz.Scope{authz.UsageRead, authz.BudgetsRead}}, nil
	case "d.e.f":
		return oauth.Claims{SessionID: "ses_2"}, nil
	}
	return oauth.Claims{}, fault.New(fault.Unauthenticated, "")
}

func authentication() *rest.Authentication {
	return &rest.Authentication{
		Keys: authenticator{[]authz.Scope{authz.KeysWrite}}, Sessions: sessions{}, Tokens: tokens{}, Cookie: "aiaas_session", Origins: &origin.Finder{}, Now: nine,
	}
}

func TestWhoCallsByWhat(t *testing.T) {
	t.Parallel()
	cookie := "aiaas_session=" + browserToken()
	for name, tt := range map[string]struct {
		headers [][2]string
		method  authz.Method // "": refused
		code    fault.Code
	}{
		"a key":                              {[][2]string{{"X-Api-Key", "good"}}, authz.ByKey, ""},
		"a session's token":                  {[][2]string{{"Authorization", "Bearer " + browserToken()}}, authz.BySession, ""},
		"a session's cookie":                 {[][2]string{{"Cookie", cookie}}, authz.BySession, ""},
		"an access token":                    {[][2]string{{"Authorization", "Bearer a.b.c"}}, authz.ByToken, ""},
		"a header counts more than a cookie": {[][2]string{{"Cookie", cookie}, {"X-Api-Key", "good"}}, authz.ByKey, ""},
		"also where it is no good":           {[][2]string{{"Cookie", cookie}, {"X-Api-Key", "bad"}}, "", fault.Unauthenticated},
		"nothing":                            {nil, "", fault.Unauthenticated},
		"two that differ":                    {[][2]string{{"X-Api-Key", "good"}, {"Authorization", "Bearer a.b.c"}}, "", fault.Invalid},
		"two cookies":                        {[][2]string{{"Cookie", cookie + "; aiaas_session=x"}}, "", fault.Invalid},
		"a key in the cookie":                {[][2]string{{"Cookie", "aiaas_session=good"}}, "", fault.Unauthenticated},
		"an access token in the cookie":      {[][2]string{{"Cookie", "aiaas_session=a.b.c"}}, "", fault.Unauthenticated},
		"the cookie under another name":      {[][2]string{{"Cookie", "__Host-" + cookie}}, "", fault.Unauthenticated},
		"an access token of what has ended":  {[][2]string{{"Authorization", "Bearer d.e.f"}}, "", fault.Unauthenticated},
		"an access token of somebody else's": {[][2]string{{"Authorization", "Bearer x.y.z"}}, "", fault.Unauthenticated},
		"a hundred KB":                       {[][2]string{{"Authorization", "Bearer " + strings.Repeat("a.b.", 25_000)}}, "", fault.Unauthenticated},
		"another scheme":                     {[][2]string{{"Authorization", "Basic Zm9vOmJhcg=="}}, "", fault.Unauthenticated},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodGet, "/v1/things/a", http.NoBody)
			for _, h := range tt.headers {
				r.Header.Add(h[0], h[1])
			}
			p, err := authentication().Authenticate(r)
			if p.Method != tt.method {
				t.Errorf("authenticated by %q", p.Method)
			}
			if tt.code != "" && (!fault.Is(err, tt.code) || p.Somebody()) {
				t.Errorf("%v, %+v", err, p)
			}
			if tt.code == "" && (err != nil || !p.Somebody()) {
				t.Errorf("%v, %+v", err, p)
			}
		})
	}
}

func TestAnAccessTokenGrantsWhatItAndItsSessionDo(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodGet, "/v1/things/a", http.NoBody)
	r.Header.Set("Authorization", "Bearer a.b.c")
	p, err := authentication().Authenticate(r)
	if err != nil || !slices.Equal(p.Scopes, []authz.Scope{authz.UsageRead}) {
		t.Errorf("%v, %v", p.Scopes, err)
	}
}

var _ rest.Keys = authenticator{}

var _ rest.Sessions = sessions{}

// A page of another site makes a browser send what it wants, with the session's
// cookie: nothing of it is believed, also where nobody has to be anybody.
func TestOtherSitesChangeNothing(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		method, path string
		headers      map[string]string
		refused      bool
	}{
		"a form of another site":        {http.MethodPost, "/v1/things/a", map[string]string{"Sec-Fetch-Site": "cross-site"}, true},
		"one of a sibling site":         {http.MethodPost, "/v1/things/a", map[string]string{"Sec-Fetch-Site": "same-site"}, true},
		"of an old browser":             {http.MethodPost, "/v1/things/a", map[string]string{"Origin": "https://evil.example"}, true},
		"of a sandboxed frame":          {http.MethodPost, "/v1/things/a", map[string]string{"Origin": "null"}, true},
		"our own page":                  {http.MethodPost, "/v1/things/a", map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": "http://example.com"}, false},
		"our own page, an old browser":  {http.MethodPost, "/v1/things/a", map[string]string{"Origin": "http://example.com"}, false},
		"typed by hand":                 {http.MethodPost, "/v1/things/a", map[string]string{"Sec-Fetch-Site": "none"}, false},
		"a program":                     {http.MethodPost, "/v1/things/a", nil, false},
		"a link of another site":        {http.MethodGet, "/public", map[string]string{"Sec-Fetch-Site": "cross-site"}, false},
		"another port of the same host": {http.MethodPost, "/v1/things/a", map[string]string{"Origin": "http://example.com:8081"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ran := false
			api := rest.New(spec(), authentication(), slog.New(slog.DiscardHandler))
			rest.Handle(api, "putThing", func(_ context.Context, _ authz.Principal, in *thingInput) (*thingOutput, error) {
				ran = true
				return &thingOutput{Body: in.Body}, nil
			})
			api.HandleHTTP("public", "text/plain", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { ran = true }))
			r := httptest.NewRequest(tt.method, tt.path, strings.NewReader(`{"name":"abc"}`))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Cookie", "aiaas_session="+browserToken())
			for k, v := range tt.headers {
				r.Header.Set(k, v)
			}
			w := httptest.NewRecorder()
			api.ServeHTTP(w, r)
			if refused := w.Code == http.StatusForbidden; refused != tt.refused || ran == tt.refused {
				t.Errorf("%d %s; ran: %v", w.Code, w.Body, ran)
			}
		})
	}
}

func TestWhoMustProveHimselfAgainIsToldSo(t *testing.T) {
	t.Parallel()
	s := newServer()
	s.put = func(context.Context, authz.Principal, *thingInput) (*thingOutput, error) {
		return nil, authz.ErrStepUp()
	}
	w := s.do(post(`{"name":"abc"}`))
	want := `Bearer realm="aiaas", error="insufficient_user_authentication", max_age=900`
	if w.Code != http.StatusForbidden || w.Header().Get("WWW-Authenticate") != want || !strings.Contains(w.Body.String(), `"reason":"step_up"`) {
		t.Errorf("%d %q %s", w.Code, w.Header().Get("WWW-Authenticate"), w.Body)
	}
	s.put = func(context.Context, authz.Principal, *thingInput) (*thingOutput, error) {
		return nil, apikey.ErrUnauthenticated()
	}
	if w := s.do(post(`{"name":"abc"}`)); w.Header().Get("WWW-Authenticate") != `Bearer realm="aiaas"` {
		t.Errorf("%d %q", w.Code, w.Header().Get("WWW-Authenticate"))
	}
}
