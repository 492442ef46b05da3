package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/functions/aiaas/client"
	"github.com/aiaas/aiaas/shared/authz"
)

// How far clocks may be apart: budgets, keys' expiry and tokens go by them.
const (
	littleSkew = 2 * time.Second
	muchSkew   = 30 * time.Second
)

func (e *exam) skew(check string, theirs time.Time, precision time.Duration) {
	d := e.now().Sub(theirs).Abs()
	switch {
	case d > muchSkew+precision:
		e.fail(check, "set the clocks by NTP", "%s apart from this machine's", d.Round(time.Second))
	case d > littleSkew+precision:
		e.warn(check, "set the clocks by NTP", "%s apart from this machine's", d.Round(time.Second))
	default:
		e.ok(check, "as this machine's")
	}
}

// checkServer calls the platform. Without a profile only its port can be looked at.
func (e *exam) checkServer(ctx context.Context) {
	if e.profile.BaseURL == "" {
		e.down = true
		e.checkPort(ctx)
		return
	}
	header, _, err := client.Get(ctx, e.profile.BaseURL, "", "/healthz", e.timeout)
	if err != nil {
		e.down = true
		e.fail("server", "start it: aiaas serve", "%s", short(err))
		e.checkPort(ctx)
		return
	}
	e.ok("server", "%s answers", e.profile.BaseURL)
	if at, err := http.ParseTime(header.Get("Date")); err == nil {
		e.skew("server's clock", at, time.Second)
	}
	if _, _, err := client.Get(ctx, e.profile.BaseURL, "", "/readyz", e.timeout); err != nil {
		e.down = true
		e.fail("readiness", "look into its log; most often the database is down, or it is being stopped", "%s", short(err))
		return
	}
	e.ok("readiness", "requests can be served")
	e.checkKeys(ctx)
	e.checkBackends(ctx)
}

// checkKeys uses each key of the profile for what it is there for.
func (e *exam) checkKeys(ctx context.Context) {
	for _, k := range []struct {
		name, key, path string
		scope           authz.Scope
	}{
		{"api key", e.profile.APIKey, "/v1/models", authz.ModelsRead},
		{"admin key", e.profile.AdminKey, "/v1/api-keys?limit=1", authz.KeysRead},
		{"platform key", e.profile.PlatformKey, "/v1/platform/models?limit=1", authz.Platform},
	} {
		if k.key == "" {
			e.warn(k.name, "put one into the profile", "the profile has none")
			continue
		}
		_, _, err := client.Get(ctx, e.profile.BaseURL, k.key, k.path, e.timeout)
		refused, ok := errors.AsType[*client.APIError](err)
		switch {
		case err == nil:
			e.ok(k.name, "valid, and grants %s", k.scope)
		case ok && refused.Status == http.StatusUnauthorized:
			e.fail(k.name, "it has expired, was revoked, or is of another database: put a valid one into the profile", "the platform does not know it")
		case ok && refused.Status == http.StatusForbidden:
			e.fail(k.name, "put one with this scope into the profile", "it does not grant %s", k.scope)
		default:
			e.fail(k.name, "", "%s", short(err))
		}
	}
}

// listed is a model as the doctor looks at it.
type listed struct {
	ID       string
	Disabled bool
	Callable bool
	Backends []struct {
		Base     string `json:"base_url"`
		Disabled bool
	}
}

// checkBackends tries from here whether the catalogue's backends can be reached.
// Nothing is asked of them that would cost anything, and no credential is sent.
func (e *exam) checkBackends(ctx context.Context) {
	seen := map[string]bool{}
	for _, m := range e.models(ctx) {
		if !m.Callable && !m.Disabled {
			e.warn("model "+m.ID, "add a backend (aiaas model add-backend) and a price (aiaas model price), or disable it", "it can't be called")
		}
		for _, b := range m.Backends {
			if !b.Disabled && !seen[b.Base] {
				seen[b.Base] = true
				e.checkBackend(ctx, b.Base)
			}
		}
	}
}

// models are the catalogue's, as far as it can be read: the check of the key has
// said why it can't.
func (e *exam) models(ctx context.Context) (all []listed) {
	for cursor := ""; ; {
		_, body, err := client.Get(ctx, e.profile.BaseURL, e.profile.PlatformKey, "/v1/platform/models?limit=200"+cursor, e.timeout)
		if err != nil {
			return all
		}
		var page struct {
			Data []listed
			Next *string `json:"next_cursor"`
		}
		if err := json.Unmarshal(body, &page); err != nil {
			e.fail("models", "", "the list of models can't be read: %v", err)
			return all
		}
		all = append(all, page.Data...)
		if page.Next == nil {
			return all
		}
		cursor = "&cursor=" + url.QueryEscape(*page.Next)
	}
}

func (e *exam) checkBackend(ctx context.Context, base string) {
	check := "backend " + base
	if base == open.DemoBaseURL {
		e.ok(check, "built in")
		return
	}
	u, err := url.Parse(base)
	if err != nil {
		e.fail(check, "", "its address can't be read")
		return
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	d := net.Dialer{Timeout: e.timeout}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		e.warn(check, "start it, open the way to it, or disable it (aiaas model update-backend); the platform's own machine may reach it nevertheless", "it can't be reached from here: %v", err)
		return
	}
	if err := conn.Close(); err != nil {
		e.warn(check, "", "%v", err)
		return
	}
	e.ok(check, "it can be reached from here")
}
