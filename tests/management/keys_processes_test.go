package management_test

import (
	"context"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/aiaas/aiaas/functions/keys"
	"github.com/aiaas/aiaas/functions/keys/wire"
	"github.com/aiaas/aiaas/shared/function"
)

// patience is how long these tests wait for what takes a moment.
const patience = 30 * time.Second

// process is another process that serves the function keys over a platform's
// database. Its clock is the platform's.
func (p *platform) process(change func(*function.Env)) *platform {
	p.t.Helper()
	settings := map[string]string{"DATABASE_URL": p.url, "AIAAS_DATA_DIR": p.t.TempDir(), "AIAAS_DATABASE_CONNS": "4"}
	env := &function.Env{
		Now: p.clock.Now, Log: slog.New(slog.NewJSONHandler(p.log, nil)), Getenv: func(n string) string { return settings[n] },
		Fatal: func(err error) { p.t.Error(err) },
	}
	change(env)
	p.t.Cleanup(func() {
		if err := env.Close(context.WithoutCancel(p.t.Context())); err != nil {
			p.t.Error(err)
		}
	})
	f, err := wire.Wire(p.t.Context(), env)
	if err != nil {
		p.t.Fatal(err)
	}
	other := *p
	other.env, other.mux = env, http.NewServeMux()
	for _, r := range keys.Spec().Routes {
		other.mux.Handle(r.Pattern(), f.HTTP)
	}
	return &other
}

// until waits for what takes a moment.
func (p *platform) until(what string, done func() bool) {
	p.t.Helper()
	end := time.Now().Add(patience)
	for !done() {
		if time.Now().After(end) {
			p.t.Fatalf("after %s it is still to come %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// The clock stands still, so nothing that a process knows grows old: that the other
// refuses a key can only come from being told.
func TestAnotherProcessIsToldOfWhatBecameOfAKey(t *testing.T) {
	t.Parallel()
	p := start(t)
	other := p.process(func(e *function.Env) { e.Background = true })
	acts := map[string]func(keyID, secret string){
		"revoked":   func(keyID, _ string) { p.do("DELETE", "/v1/api-keys/"+keyID, p.one.admin, "").want(204) },
		"suspended": func(keyID, _ string) { p.do("POST", "/v1/api-keys/"+keyID+"/suspend", p.one.admin, "").want(200) },
		"rotated": func(keyID, _ string) {
			p.do("POST", "/v1/api-keys/"+keyID+"/rotate", p.one.admin, `{"overlap":"0s"}`).want(200)
		},
		"reported": func(_, secret string) { p.do("POST", "/v1/api-keys/revoke-leaked", "", leak(secret)).want(202) },
	}
	for name, act := range acts {
		keyID, secret := p.create(p.one.admin, lister)
		if !other.works(secret) {
			t.Fatalf("%s: it does not work before", name)
		}
		act(keyID, secret)
		if p.works(secret) {
			t.Errorf("%s: it works in the process that did it", name)
		}
		other.until("that a key that was "+name+" is refused", func() bool {
			if !other.works(secret) {
				return true
			}
			// It may have begun to listen after it was told: whoever comes too late finds
			// out by the clock. It is told again.
			p.do("DELETE", "/v1/api-keys/"+keyID, p.one.admin, "").want(204)
			return false
		})
	}
}

// One that is not told finds out by itself: what it knows dies within a second.
func TestAnotherProcessFindsOutByItself(t *testing.T) {
	t.Parallel()
	p := start(t)
	deaf := p.process(func(e *function.Env) { e.Background = false })
	keyID, secret := p.create(p.one.admin, lister)
	if !deaf.works(secret) {
		t.Fatal("it does not work before")
	}
	p.do("DELETE", "/v1/api-keys/"+keyID, p.one.admin, "").want(204)
	p.clock.advance(time.Second)
	if deaf.works(secret) {
		t.Error("it works a second later")
	}
}

// What is noted in the background is not lost when a process ends.
func TestTheLastUseIsKeptWhenAProcessEnds(t *testing.T) {
	t.Parallel()
	p := start(t)
	other := p.process(func(e *function.Env) { e.Background = true })
	keyID, secret := p.create(p.one.admin, lister)
	if !other.works(secret) {
		t.Fatal("it does not work")
	}
	if err := other.env.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	if v := p.do("GET", "/v1/api-keys/"+keyID, p.one.admin, "").want(200); v["last_used_at"] != "2026-10-12T09:30:15Z" {
		t.Errorf("last used %v", v["last_used_at"])
	}
}
