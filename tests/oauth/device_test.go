package oauth_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/tests/harness"
)

func TestDevices(t *testing.T) {
	w := newWorld(t)
	for name, f := range map[string]func(*testing.T, *world){
		"all of it": deviceFlow, "states": deviceStates, "guessing": guessing,
	} {
		t.Run(name, func(t *testing.T) { f(t, w.under(t)) })
	}
	t.Run("flooding", func(t *testing.T) { flooding(t, w.under(t)) }) // the last, for there is one address here
}

func deviceFlow(t *testing.T, w *world) {
	p := w.person(authz.Developer)
	c := w.client("usage:read", "members:write", "openid", "offline_access")
	d, err := c.DeviceAuth(t.Context())
	harness.Must(t, err)
	typed := strings.ToLower(strings.ReplaceAll(d.UserCode, "-", ""))
	var shown struct {
		Client    struct{ ID string }
		Scopes    []string
		UserCode  string `json:"user_code"`
		Address   string
		UserAgent string `json:"user_agent"`
	}
	p.send(http.MethodGet, "/v1/oauth/device/"+typed, "").JSON(t, &shown)
	if shown.UserCode != d.UserCode || shown.Client.ID != "aiaas-cli" || shown.Address != "127.0.0.1" || shown.UserAgent == "" || len(shown.Scopes) != 3 {
		t.Errorf("the page would show %+v", shown)
	}
	if a := p.send(http.MethodPost, "/v1/oauth/device/"+typed+"/approve", ""); a.Status != http.StatusNoContent {
		t.Fatalf("approve: %s", a)
	}
	d.Interval = 1 // the library waits before it asks
	tok, err := c.DeviceAccessToken(t.Context(), d)
	harness.Must(t, err)
	if w.works(tok.AccessToken) != http.StatusOK || tok.RefreshToken == "" || tok.Extra("id_token") == nil {
		t.Errorf("the device has %+v", tok)
	}
	if n := w.Database().Int(t, `SELECT count(*) FROM accounts.sessions WHERE holder_id = $1 AND kind = 'oauth' AND mfa AND means = 'password' AND client = 'AIaaS command line'`, p.id); n != 1 {
		t.Errorf("%d sessions of the device", n)
	}
}

func deviceStates(t *testing.T, w *world) {
	p := w.person(authz.Developer)
	poll := func(code, want string) {
		t.Helper()
		if a := w.form("/oauth/token", polling(code)); a.Status != http.StatusBadRequest || tokens(a).Error != want {
			t.Errorf("%s; want %s", a, want)
		}
	}
	code, user := w.device("usage:read")
	poll(code, "authorization_pending")
	poll(code, "slow_down")
	if n := w.Database().Int(t, `SELECT interval_s FROM accounts.oauth_devices WHERE user_code = $1`, strings.ReplaceAll(user, "-", "")); n != 10 {
		t.Errorf("it must wait %d seconds after it was told to slow down; want 10", n)
	}
	w.Database().Exec(t, `UPDATE accounts.oauth_devices SET polled_at = polled_at - interval '11 seconds'`)
	poll(code, "authorization_pending")
	if a := p.send(http.MethodPost, "/v1/oauth/device/"+user+"/deny", ""); a.Status != http.StatusNoContent {
		t.Fatalf("deny: %s", a)
	}
	if a := p.send(http.MethodPost, "/v1/oauth/device/"+user+"/approve", ""); a.Status != http.StatusNotFound {
		t.Errorf("approved after it was denied: %s", a)
	}
	poll(code, "access_denied")
	poll(code, "invalid_grant")

	late, user := w.device("usage:read")
	w.Database().Exec(t, `UPDATE accounts.oauth_devices SET expires_at = now() WHERE user_code = $1`, strings.ReplaceAll(user, "-", ""))
	if a := p.send(http.MethodPost, "/v1/oauth/device/"+user+"/approve", ""); a.Status != http.StatusNotFound {
		t.Errorf("approved too late: %s", a)
	}
	poll(late, "expired_token")
	poll("aiaas_device_invented", "invalid_grant")
	foreign := polling(code)
	foreign.Set("client_id", "evil")
	if a := w.form("/oauth/token", foreign); tokens(a).Error != "invalid_client" {
		t.Errorf("another client: %s", a)
	}

	_, user = w.device("usage:read")
	nobody := &person{w: w}
	if a := nobody.send(http.MethodGet, "/v1/oauth/device/"+user, ""); a.Status != http.StatusUnauthorized {
		t.Errorf("nobody looks at it: %s", a)
	}
	tok := p.login("usage:read")
	if a := w.call(http.MethodPost, "/v1/oauth/device/"+user+"/approve", "", http.Header{"Authorization": {"Bearer " + tok.AccessToken}}); a.Status != http.StatusForbidden {
		t.Errorf("approved with an access token: %s", a)
	}
	if a := w.form("/oauth/device_authorization", url.Values{"client_id": {"aiaas-cli"}, "scope": {"everything"}}); tokens(a).Error != "invalid_scope" {
		t.Errorf("unknown scope: %s", a)
	}
}

func guessing(t *testing.T, w *world) {
	p, other := w.person(authz.Developer), w.person(authz.Developer)
	_, user := w.device("usage:read")
	for i := range 20 {
		if a := p.send(http.MethodGet, fmt.Sprintf("/v1/oauth/device/BCDFGH%c%c", "BCDFGHJKLMNPQRSTVWXZ"[i], "BCDFGHJKLMNPQRSTVWXZ"[i]), ""); a.Status != http.StatusNotFound {
			t.Fatalf("guess %d: %s", i, a)
		}
	}
	for method, path := range map[string]string{http.MethodGet: "", http.MethodPost: "/approve"} {
		a := p.send(method, "/v1/oauth/device/"+user+path, "")
		if a.Status != http.StatusTooManyRequests || a.Header.Get("Retry-After") == "" {
			t.Errorf("after twenty, also the right one: %s", a)
		}
	}
	if a := other.send(http.MethodGet, "/v1/oauth/device/"+user, ""); a.Status != http.StatusOK {
		t.Errorf("another person: %s", a)
	}
}

func flooding(t *testing.T, w *world) {
	harness.Eventually(t, "an address that asks for many devices is stopped", func() (bool, string) {
		a := w.form("/oauth/device_authorization", url.Values{"client_id": {"aiaas-cli"}, "scope": {"usage:read"}})
		return a.Status == http.StatusTooManyRequests && a.Header.Get("Retry-After") != "" && tokens(a).Error == "temporarily_unavailable", a.String()
	})
	if n := w.Database().Int(t, `SELECT count(*) FROM accounts.oauth_devices`); n > 40 { // thirty, and one more each twenty seconds
		t.Errorf("%d devices wait", n)
	}
	// Who has a network has many addresses; behind a proxy the second process sees them.
	taken := 0
	for i := range 60 {
		a := w.call(http.MethodPost, w.second+"/oauth/device_authorization", "client_id=aiaas-cli&scope=usage%3Aread", http.Header{
			"Content-Type": {"application/x-www-form-urlencoded"}, "X-Forwarded-For": {fmt.Sprintf("2001:db8:1:2:%x::%x", i, i+1)},
		})
		if a.Status == http.StatusOK {
			taken++
		}
	}
	if taken < 30 || taken > 40 {
		t.Errorf("of one network %d devices wait", taken)
	}
	if a := w.call(http.MethodPost, w.second+"/oauth/device_authorization", "client_id=aiaas-cli&scope=usage%3Aread", http.Header{
		"Content-Type": {"application/x-www-form-urlencoded"}, "X-Forwarded-For": {"2001:db8:1:3::1"},
	}); a.Status != http.StatusOK {
		t.Errorf("the network beside: %s", a)
	}
	// What is over is forgotten, however much there is.
	w.Database().Exec(t, `INSERT INTO accounts.oauth_devices (device_hash, user_code, client_id, scopes, openid, offline, address, user_agent, created_at, expires_at, interval_s)
		SELECT sha256(i::text::bytea), 'many ' || i, 'aiaas-cli', '{}', false, false, '', '', now(), now(), 5 FROM generate_series(1, 2500) i`)
	w.Database().Exec(t, `UPDATE accounts.oauth_devices SET expires_at = now() - interval '2 hours'`)
	w.Database().Exec(t, `UPDATE accounts.oauth_requests SET created_at = created_at - interval '2 days'`)
	w.Database().Exec(t, `UPDATE accounts.oauth_grants SET expires_at = now() - interval '2 days'`)
	w.runJob("prune")
	harness.Eventually(t, "pruned", func() (bool, string) {
		n := w.Database().Int(t, `SELECT (SELECT count(*) FROM accounts.oauth_devices) + (SELECT count(*) FROM accounts.oauth_requests) + (SELECT count(*) FROM accounts.oauth_grants) + (SELECT count(*) FROM accounts.oauth_refresh_tokens)`)
		return n == 0, fmt.Sprint(n)
	})
}

// runJob starts a job by hand, as an operator does.
func (w *world) runJob(name string) {
	w.t.Helper()
	a := w.call(http.MethodPost, "/v1/jobs/oauth."+name+"/runs", "{}", http.Header{"Authorization": {"Bearer " + w.PlatformKey}})
	if a.Status >= 300 {
		w.t.Fatalf("run job %s: %s", name, a)
	}
}

func TestKeysAreChangedInTime(t *testing.T) {
	w := newWorld(t)
	p := w.person(authz.Developer)
	first := p.login("usage:read", "offline_access")
	published := func() (kids []string) {
		var set struct {
			Keys []map[string]any `json:"keys"`
		}
		harness.Must(t, json.Unmarshal(w.call(http.MethodGet, w.second+"/oauth/jwks", "", nil).Body, &set))
		for _, k := range set.Keys {
			kids = append(kids, text(k["kid"]))
			if k["d"] != nil || k["alg"] != "ES256" || k["use"] != "sig" || k["crv"] != "P-256" {
				t.Errorf("a key is published as %v", k)
			}
		}
		return kids
	}
	old := w.Database()
	if len(published()) != 1 {
		t.Fatalf("published: %v", published())
	}
	// Thirty days later, less the day that a key is known before it signs.
	old.Exec(t, `UPDATE accounts.oauth_keys SET created_at = now() - interval '29 days', signs_at = now() - interval '29 days'`)
	w.runJob("keys")
	harness.Eventually(t, "a second key", func() (bool, string) {
		n := old.Int(t, `SELECT count(*) FROM accounts.oauth_keys WHERE signs_at > now() + interval '23 hours'`)
		return n == 1, fmt.Sprint(n)
	})
	kid := func(token string) string { return text(headerOf(t, token)["kid"]) }
	tok, err := w.client().TokenSource(t.Context(), &oauth2.Token{RefreshToken: first.RefreshToken}).Token()
	harness.Must(t, err)
	if kid(tok.AccessToken) != kid(first.AccessToken) {
		t.Error("the new key signs before it was published for a day")
	}
	// A day later it signs, and the old one's tokens are good while they last.
	old.Exec(t, `UPDATE accounts.oauth_keys SET signs_at = signs_at - interval '24 hours', ends_at = ends_at - interval '24 hours'`)
	w.Stop(t)
	w.Restart(t)
	next, err := w.client().TokenSource(t.Context(), &oauth2.Token{RefreshToken: tok.RefreshToken}).Token()
	harness.Must(t, err)
	if kid(next.AccessToken) == kid(first.AccessToken) {
		t.Error("the old key signs on")
	}
	for name, text := range map[string]string{"new": next.AccessToken, "old": tok.AccessToken} {
		if s := w.works(text); s != http.StatusOK {
			t.Errorf("a token by the %s key: %d", name, s)
		}
	}
	if n := len(published()); n != 2 {
		harness.Eventually(t, "both are published", func() (bool, string) { time.Sleep(time.Second); return len(published()) == 2, fmt.Sprint(published()) })
	}
	// When nothing that it has signed is good any more, the old one goes.
	old.Exec(t, `UPDATE accounts.oauth_keys SET ends_at = now() - interval '1 second' WHERE kid = $1`, kid(first.AccessToken))
	w.Stop(t)
	w.Restart(t)
	if s := w.works(tok.AccessToken); s != http.StatusUnauthorized {
		t.Errorf("a token by a key that has ended: %d", s)
	}
	w.runJob("prune")
	harness.Eventually(t, "the old key is forgotten", func() (bool, string) {
		n := old.Int(t, `SELECT count(*) FROM accounts.oauth_keys`)
		return n == 1, fmt.Sprint(n)
	})
	if s := w.works(next.AccessToken); s != http.StatusOK {
		t.Errorf("the new key's token: %d", s)
	}
}
