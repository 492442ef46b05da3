package oauth_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/tests/harness"
)

func TestServiceAccounts(t *testing.T) {
	w := newWorld(t)
	for name, f := range map[string]func(*testing.T, *world){
		"client credentials": clientCredentials, "client secrets": clientSecrets, "introspection": introspection,
	} {
		t.Run(name, func(t *testing.T) { f(t, w.under(t)) })
	}
}

// account makes a service account.
func (w *world) account(role authz.Role) string {
	w.t.Helper()
	account := id.New(id.ServiceAccount)
	w.Database().Exec(w.t, `INSERT INTO accounts.service_accounts (org_id, account_id, name, role, created_by, created_at, updated_at)
		VALUES ($1, $2, $2, $3, 'test', now(), now())`, w.org, account, string(role))
	return account
}

type madeSecret struct {
	ID     string `json:"id"`
	Hint   string `json:"hint"`
	Client string `json:"client_id"`
	Secret string `json:"client_secret"`
}

// secret makes a client secret.
func (p *person) secret(account string) (made madeSecret) {
	p.w.t.Helper()
	a := p.send(http.MethodPost, "/v1/service-accounts/"+account+"/client-secrets", "")
	if a.Status != http.StatusCreated {
		p.w.t.Fatalf("make a secret: %s", a)
	}
	a.JSON(p.w.t, &made)
	return made
}

func clientCredentials(t *testing.T, w *world) {
	p := w.person(authz.Owner)
	account := w.account(authz.Analyst)
	s := p.secret(account)
	for name, style := range map[string]oauth2.AuthStyle{"basic": oauth2.AuthStyleInHeader, "post": oauth2.AuthStyleInParams} {
		c := clientcredentials.Config{ClientID: account, ClientSecret: s.Secret, TokenURL: w.BaseURL + "/oauth/token", AuthStyle: style, Scopes: []string{"usage:read"}}
		tok, err := c.Token(t.Context())
		harness.Must(t, err)
		if tok.RefreshToken != "" || tok.Extra("scope") != "usage:read" || w.works(tok.AccessToken) != http.StatusOK {
			t.Errorf("%s: %+v", name, tok)
		}
		a := w.call(http.MethodGet, "/v1/projects", "", http.Header{"Authorization": {"Bearer " + tok.AccessToken}})
		if a.Status != http.StatusForbidden { // an analyst reads projects, but not by this token
			t.Errorf("%s: beyond its scopes: %s", name, a)
		}
	}
	ask := func(account, secret string, more ...string) harness.Answer {
		return w.form("/oauth/token", mergeParams(url.Values{"grant_type": {"client_credentials"}, "client_id": {account}, "client_secret": {secret}}, more...))
	}
	all := tokens(ask(account, s.Secret))
	if all.Access == "" || strings.Contains(all.Scope, "members:write") || strings.Contains(all.Scope, "platform") || !strings.Contains(all.Scope, "usage:read") {
		t.Errorf("without a scope: %+v", all)
	}
	for name, c := range map[string]struct {
		a    harness.Answer
		want string
	}{
		"beyond its role":        {ask(account, s.Secret, "scope", "members:write"), "invalid_scope"},
		"the platform":           {ask(account, s.Secret, "scope", "platform"), "invalid_scope"},
		"a refresh token":        {ask(account, s.Secret, "scope", "usage:read offline_access"), "invalid_scope"},
		"a wrong secret":         {ask(account, s.Secret[:len(s.Secret)-1]+"_"), "invalid_client"},
		"no secret":              {ask(account, ""), "invalid_client"},
		"another's secret":       {ask(account, p.secret(w.account(authz.Analyst)).Secret), "invalid_client"},
		"nobody":                 {ask(id.New(id.ServiceAccount), s.Secret), "invalid_client"},
		"a person":               {ask(p.id, s.Secret), "invalid_client"},
		"its id as a secret":     {ask(account, s.ID), "invalid_client"},
		"a code by its secret":   {w.form("/oauth/token", mergeParams(redeem("x", "y"), "client_id", account, "client_secret", s.Secret)), "unauthorized_client"},
		"a device by its secret": {w.form("/oauth/device_authorization", url.Values{"client_id": {account}, "client_secret": {s.Secret}}), "unauthorized_client"},
	} {
		got := tokens(c.a)
		if got.Error != c.want || got.Access != "" {
			t.Errorf("%s: %s; want %s", name, c.a, c.want)
		}
		if c.want == "invalid_client" && (c.a.Status != http.StatusUnauthorized || c.a.Header.Get("WWW-Authenticate") == "") {
			t.Errorf("%s: %s without a challenge", name, c.a)
		}
	}
	twice := w.call(http.MethodPost, "/oauth/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {account}, "client_secret": {s.Secret}}.Encode(), http.Header{
		"Content-Type":  {"application/x-www-form-urlencoded"},
		"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(account+":"+s.Secret))},
	})
	if tokens(twice).Error != "invalid_request" {
		t.Errorf("two ways at once: %s", twice)
	}
	harness.Eventually(t, "wrong secrets stand in the audit", func() (bool, string) {
		n := w.Database().Int(t, `SELECT count(*) FROM accounts.audit_records WHERE org_id = $1 AND actor = $2 AND action = 'auth.fail' AND outcome = 'denied'
			AND detail->>'code' = 'invalid_client' AND source_address <> ''`, w.org, account)
		return n > 0, fmt.Sprint(n)
	})
	if n := w.Database().Int(t, `SELECT count(*) FROM accounts.sessions WHERE holder_id = $1 AND kind = 'client' AND means = 'client_secret' AND expires_at <= created_at + interval '1 hour'`, account); n != 3 {
		t.Errorf("%d sessions of the account; want 3 of at most an hour", n)
	}
	if a := p.send(http.MethodPost, "/v1/service-accounts/"+account+"/suspend", `{"reason":"test"}`); a.Status != http.StatusOK {
		t.Fatalf("suspend: %s", a)
	}
	w.dies("the token of a suspended service account", all.Access)
	if a := tokens(ask(account, s.Secret)); a.Error != "invalid_client" {
		t.Errorf("suspended: %+v", a)
	}
}

func clientSecrets(t *testing.T, w *world) {
	owner, admin, developer := w.person(authz.Owner), w.person(authz.Admin), w.person(authz.Developer)
	account := w.account(authz.Analyst)
	path := "/v1/service-accounts/" + account + "/client-secrets"
	first := owner.secret(account)
	if first.Client != account || !strings.HasPrefix(first.Secret, "aiaas_secret_") || !strings.HasSuffix(first.Secret, first.Hint) || len(first.Secret) < 43 {
		t.Errorf("made: %+v", first)
	}
	list := owner.send(http.MethodGet, path, "")
	if list.Status != http.StatusOK || strings.Contains(string(list.Body), first.Secret) || !strings.Contains(string(list.Body), first.ID) {
		t.Errorf("list: %s", list)
	}
	for range 4 {
		admin.secret(account)
	}
	if a := owner.send(http.MethodPost, path, ""); a.Status != http.StatusConflict {
		t.Errorf("a sixth: %s", a)
	}
	if a := owner.send(http.MethodDelete, path+"/"+first.ID, ""); a.Status != http.StatusNoContent {
		t.Errorf("delete: %s", a)
	}
	gone := w.form("/oauth/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {account}, "client_secret": {first.Secret}})
	if tokens(gone).Error != "invalid_client" {
		t.Errorf("a deleted secret: %s", gone)
	}
	for name, c := range map[string]struct {
		a    harness.Answer
		want int
	}{
		"again":                   {owner.send(http.MethodDelete, path+"/"+first.ID, ""), http.StatusNotFound},
		"a developer":             {developer.send(http.MethodPost, path, ""), http.StatusForbidden},
		"a developer lists":       {developer.send(http.MethodGet, path, ""), http.StatusForbidden},
		"no such account":         {owner.send(http.MethodPost, "/v1/service-accounts/"+id.New(id.ServiceAccount)+"/client-secrets", ""), http.StatusNotFound},
		"of a person":             {owner.send(http.MethodPost, "/v1/service-accounts/"+developer.id+"/client-secrets", ""), http.StatusNotFound},
		"of an account above":     {admin.send(http.MethodPost, "/v1/service-accounts/"+w.account(authz.Owner)+"/client-secrets", ""), http.StatusForbidden},
		"of a peer":               {admin.send(http.MethodPost, "/v1/service-accounts/"+w.account(authz.Admin)+"/client-secrets", ""), http.StatusForbidden},
		"nobody":                  {(&person{w: w}).send(http.MethodPost, path, ""), http.StatusUnauthorized},
		"of another organisation": {w.call(http.MethodPost, path, "", http.Header{"Authorization": {"Bearer " + w.AdminKey}}), http.StatusNotFound},
	} {
		if c.a.Status != c.want {
			t.Errorf("%s: %s; want %d", name, c.a, c.want)
		}
	}
	w.Database().Exec(t, `UPDATE accounts.sessions SET proved_at = proved_at - interval '20 minutes' WHERE session_id = $1`, admin.session.ID)
	harness.Eventually(t, "a secret wants a recent proof", func() (bool, string) {
		a := admin.send(http.MethodDelete, path+"/"+first.ID, "")
		return a.Status == http.StatusForbidden && strings.Contains(string(a.Body), `"step_up"`), a.String()
	})
	for action, want := range map[string]int64{"client_secret.create": 5, "client_secret.delete": 1} {
		n := w.Database().Int(t, `SELECT count(*) FROM accounts.audit_records WHERE org_id = $1 AND action = $2 AND detail->>'service_account_id' = $3`, w.org, action, account)
		if n != want {
			t.Errorf("%d records of %s; want %d", n, action, want)
		}
	}
	// Whoever has seen a secret must not get more by it than he has himself: the admin
	// saw one of an analyst's.
	a := owner.send(http.MethodPatch, "/v1/service-accounts/"+account, `{"role":"owner"}`)
	if a.Status != http.StatusConflict && a.Status != http.StatusForbidden {
		t.Errorf("the account of a known secret becomes an owner: %s", a)
	}
}

func introspection(t *testing.T, w *world) {
	p := w.person(authz.Owner)
	account := w.account(authz.Analyst)
	s := p.secret(account)
	inspect := func(account, secret, token string) (status int, v struct {
		Active   bool
		Sub      string
		Scope    string
		ClientID string `json:"client_id"`
	}) {
		a := w.form("/oauth/introspect", url.Values{"client_id": {account}, "client_secret": {secret}, "token": {token}})
		if a.Status == http.StatusOK {
			a.JSON(t, &v)
		}
		return a.Status, v
	}
	tok := p.login("usage:read", "offline_access")
	if status, v := inspect(account, s.Secret, tok.AccessToken); status != 200 || !v.Active || v.Sub != p.id || v.Scope != "usage:read" || v.ClientID != "aiaas-cli" {
		t.Errorf("a good token: %d %+v", status, v)
	}
	for name, text := range map[string]string{"a refresh token": tok.RefreshToken, "nonsense": "x", "a key": w.AdminKey, "a session": p.session.Token} {
		if status, v := inspect(account, s.Secret, text); status != 200 || v.Active || v.Sub != "" {
			t.Errorf("%s: %d %+v", name, status, v)
		}
	}
	if status, _ := inspect(account, "wrong", tok.AccessToken); status != http.StatusUnauthorized {
		t.Errorf("a wrong secret: %d", status)
	}
	if status, _ := inspect("aiaas-cli", "", tok.AccessToken); status != http.StatusBadRequest && status != http.StatusUnauthorized {
		t.Errorf("a public client: %d", status)
	}
	foreign := *w
	foreign.org = id.New(id.Organization)
	w.Database().Exec(t, `INSERT INTO accounts.organizations (org_id, name, created_at) VALUES ($1, 'Other', now())`, foreign.org)
	elsewhere := foreign.account(authz.Owner)
	other := foreign.person(authz.Owner)
	if a := other.send(http.MethodPost, "/v1/service-accounts/"+elsewhere+"/client-secrets", ""); a.Status != http.StatusForbidden { // a peer
		t.Errorf("an owner's account: %s", a)
	}
	lower := foreign.account(authz.Admin)
	key := other.secret(lower)
	if status, v := inspect(lower, key.Secret, tok.AccessToken); status != 200 || v.Active || v.Sub != "" {
		t.Errorf("another organisation's service account is told %d %+v", status, v)
	}
	// Giving back another client's token does nothing, and says nothing.
	if a := w.form("/oauth/revoke", url.Values{"client_id": {lower}, "client_secret": {key.Secret}, "token": {tok.AccessToken}}); a.Status != http.StatusOK {
		t.Errorf("revoke another's token: %s", a)
	}
	if got := w.works(tok.AccessToken); got != http.StatusOK {
		t.Errorf("after another client gave it back: %d", got)
	}
	if a := w.form("/oauth/revoke", url.Values{"client_id": {"aiaas-cli"}, "token": {tok.AccessToken}, "token_type_hint": {"access_token"}}); a.Status != http.StatusOK {
		t.Errorf("revoke: %s", a)
	}
	w.dies("a revoked access token", tok.AccessToken)
	if status, v := inspect(account, s.Secret, tok.AccessToken); status != 200 || v.Active {
		t.Errorf("a revoked token: %d %+v", status, v)
	}
}
