package oauth_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/session"
	"github.com/aiaas/aiaas/tests/harness"
)

// What somebody approved in a session is worth nothing once that session has ended,
// however it did: else whoever holds the code or the device outlives the act that was
// to shut him out.
func TestApprovalsEndWithTheirSession(t *testing.T) {
	w := newWorld(t)
	for name, end := range map[string]func(owner, p *person){
		"the password is reset": func(_, p *person) {
			_, err := p.w.sessions.EndAll(p.w.t.Context(), p.id, "", "reset")
			harness.Must(p.w.t, err)
		},
		"an admin ends all": func(owner, p *person) {
			owner.does(http.MethodDelete, "/v1/members/"+p.id+"/sessions", "")
		},
		"suspension and return": func(owner, p *person) {
			owner.does(http.MethodPost, "/v1/members/"+p.id+"/suspend", `{"reason":"stolen"}`)
			owner.does(http.MethodPost, "/v1/members/"+p.id+"/reactivate", "")
		},
		"signed out": func(_, p *person) { p.does(http.MethodPost, "/v1/sign-out", "") },
	} {
		t.Run(name, func(t *testing.T) {
			w := w.under(t)
			owner, p := w.person(authz.Owner), w.person(authz.Developer)
			device, user := w.device("usage:read", "offline_access")
			p.does(http.MethodPost, "/v1/oauth/device/"+user+"/approve", "")
			code, verifier := p.code("usage:read", "offline_access")
			late, user := w.device("usage:read")
			end(owner, p)
			p.signIn(session.Start{Means: session.Password, MFA: true}) // another session brings nothing back
			for _, at := range []string{"", w.second} {
				if got := tokens(w.form(at+"/oauth/token", polling(device))); got.Error != "invalid_grant" || got.Access != "" {
					t.Errorf("the device is given %+v", got)
				}
				if got := tokens(w.form(at+"/oauth/token", redeem(code, verifier))); got.Error != "invalid_grant" || got.Access != "" {
					t.Errorf("the code is worth %+v", got)
				}
			}
			if n := w.Database().Int(t, `SELECT count(*) FROM accounts.sessions WHERE holder_id = $1 AND kind = 'oauth'`, p.id); n != 0 {
				t.Errorf("%d sessions have begun", n)
			}
			p.does(http.MethodPost, "/v1/oauth/device/"+user+"/approve", "")
			if got := tokens(w.form("/oauth/token", polling(late))); got.Access == "" {
				t.Errorf("what he approves in the new one: %+v", got)
			}
		})
	}
}

// does is a request of the person's browser that must succeed.
func (p *person) does(method, path, body string) {
	p.w.t.Helper()
	if a := p.send(method, path, body); a.Status >= http.StatusMultipleChoices {
		p.w.t.Fatalf("%s %s: %s", method, path, a)
	}
}

// A secret that somebody gets by a credential which another knows, the other may know
// too: it is no way round what the other may have.
func TestASecretIsKnownToWhoeverKnowsWhatItWasMadeBy(t *testing.T) {
	w := newWorld(t)
	w.Database().Exec(t, `INSERT INTO accounts.projects (org_id, project_id, name, created_at) VALUES ($1, 'proj_1', 'p', now())`, w.org)
	const newKey = `{"name":"k","project_id":"proj_1","scopes":["models:read","members:write","members:read","keys:write","keys:read","settings:write","settings:read"]}`
	for name, f := range map[string]func(evil *person, bot string) (forget []string){
		"a client secret by a token": func(evil *person, bot string) []string {
			token, first := evil.tokenOf(bot)
			made := evil.w.made(token, "/v1/service-accounts/"+bot+"/client-secrets", "")
			return []string{"/v1/service-accounts/" + bot + "/client-secrets/" + first, "/v1/service-accounts/" + bot + "/client-secrets/" + made.ID}
		},
		"a client secret by a token of such a secret": func(evil *person, bot string) []string {
			token, first := evil.tokenOf(bot)
			path := "/v1/service-accounts/" + bot + "/client-secrets/"
			second := evil.w.made(token, strings.TrimSuffix(path, "/"), "")
			evil.does(http.MethodDelete, path+first, "")
			token = evil.w.tokenBy(bot, second.Secret)
			third := evil.w.made(token, strings.TrimSuffix(path, "/"), "")
			evil.does(http.MethodDelete, path+second.ID, "")
			return []string{"", path + third.ID}
		},
		"a key by a token": func(evil *person, bot string) []string {
			token, first := evil.tokenOf(bot)
			made := evil.w.made(token, "/v1/api-keys", newKey)
			return []string{"/v1/service-accounts/" + bot + "/client-secrets/" + first, "/v1/api-keys/" + made.ID}
		},
		"a client secret by a key": func(evil *person, bot string) []string {
			key := evil.made("/v1/api-keys", strings.TrimSuffix(newKey, "}")+`,"owner":{"service_account_id":"`+bot+`"}}`)
			made := evil.w.made(key.Key, "/v1/service-accounts/"+bot+"/client-secrets", "")
			return []string{"/v1/api-keys/" + key.ID, "/v1/service-accounts/" + bot + "/client-secrets/" + made.ID}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.under(t)
			owner, evil, bot := w.person(authz.Owner), w.person(authz.Admin), w.bot()
			forget := f(evil, bot)
			if forget[0] != "" { // what he got it by is gone, and so is who saw that
				evil.does(http.MethodDelete, forget[0], "")
			}
			raise := func() harness.Answer {
				return owner.send(http.MethodPatch, "/v1/service-accounts/"+bot, `{"role":"owner"}`)
			}
			if a := raise(); a.Status != http.StatusConflict && a.Status != http.StatusForbidden {
				t.Errorf("the account whose secret an admin knows becomes an owner: %s", a)
			}
			owner.does(http.MethodDelete, forget[1], "") // it was that secret which stood in the way
			if a := raise(); a.Status != http.StatusOK {
				t.Errorf("once nobody knows a secret: %s", a)
			}
		})
	}
}

// bot is a service account with a role of its own, that makes keys and secrets.
func (w *world) bot() string {
	w.t.Helper()
	role := id.New(id.Role)
	w.Database().Exec(w.t, `INSERT INTO accounts.roles VALUES ($1, $2, $2, '', '{service_accounts.write,service_accounts.read,keys.create,keys.read,settings.write,settings.read}', 'organization', 'test', now(), now())`, w.org, role)
	return w.account(authz.Role(role))
}

type madeThing struct {
	ID     string `json:"id"`
	Key    string `json:"key"`
	Secret string `json:"client_secret"`
}

// made makes a key or a client secret by a bearer's token.
func (w *world) made(bearer, path, body string) (made madeThing) {
	w.t.Helper()
	a := w.call(http.MethodPost, path, body, http.Header{"Authorization": {"Bearer " + bearer}})
	if a.Status != http.StatusCreated {
		w.t.Fatalf("%s: %s", path, a)
	}
	a.JSON(w.t, &made)
	return made
}

// made makes a key or a client secret from the person's browser.
func (p *person) made(path, body string) (made madeThing) {
	p.w.t.Helper()
	a := p.send(http.MethodPost, path, body)
	if a.Status != http.StatusCreated {
		p.w.t.Fatalf("%s: %s", path, a)
	}
	a.JSON(p.w.t, &made)
	return made
}

// tokenOf gives an account a client secret, and returns a token of it with the secret's
// id.
func (p *person) tokenOf(account string) (token, secretID string) {
	p.w.t.Helper()
	s := p.secret(account)
	return p.w.tokenBy(account, s.Secret), s.ID
}

func (w *world) tokenBy(account, secret string) string {
	w.t.Helper()
	a := w.form("/oauth/token", map[string][]string{"grant_type": {"client_credentials"}, "client_id": {account}, "client_secret": {secret}})
	got := tokens(a)
	if got.Access == "" {
		w.t.Fatalf("a token of a client secret: %s", a)
	}
	return got.Access
}
