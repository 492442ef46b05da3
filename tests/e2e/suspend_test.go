package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aiaas/aiaas/functions/organizations/wire"
	"github.com/aiaas/aiaas/shared/fresh"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/tests/harness"
)

// organization is one that a test has made, and its first key.
type organization struct{ id, project, key string }

// path is that of one of its platform routes.
func (o organization) path(rest string) string { return "/v1/organizations/" + o.id + rest }

func (p *platform) organization(t *testing.T, more string) organization {
	t.Helper()
	var made struct {
		ID        string
		ProjectID string `json:"project_id"`
		Key       struct{ Key string }
	}
	p.Manage(t, p.administration(http.MethodPost, "/v1/organizations", `{"name":"Example","owner":{"email":"ada@example.com"}`+more+`}`), http.StatusCreated, &made)
	return organization{made.ID, made.ProjectID, made.Key.Key}
}

// administration is a call of a platform route.
func (p *platform) administration(method, path, body string) harness.Call {
	return harness.Call{Method: method, Path: path, Key: p.PlatformKey, Body: body}
}

// document is a problem without what is new in each.
func document(t *testing.T, a harness.Answer) string {
	t.Helper()
	var doc map[string]any
	a.JSON(t, &doc)
	delete(doc, "request_id")
	return fmt.Sprint(a.Status, doc)
}

// TestASuspendedOrganizationIsRefusedAtOnce: every request that begins after the
// answer gets what an unknown key gets, on every route; what runs already ends.
func TestASuspendedOrganizationIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{})
	unknown := p.APIKey[:11] + strings.Repeat("0", 49)
	answers := func(key string) (out []string) {
		for _, c := range []harness.Call{
			{Body: chat("")}, {Body: chat(`,"stream":true`)}, {Method: http.MethodGet, Path: "/v1/models"},
			{Method: http.MethodGet, Path: "/v1/usage"}, {Method: http.MethodGet, Path: "/v1/organization"}, {Method: http.MethodGet, Path: "/v1/api-keys"},
		} {
			c.Key = key
			out = append(out, document(t, p.Do(t.Context(), c)))
		}
		return out
	}
	refusals := fmt.Sprint(answers(unknown))
	for name, c := range map[string]struct{ stop, resume string }{
		"suspended": {"/suspend", "/activate"},
		"closed":    {"/close", "/activate"},
	} {
		o := p.organization(t, "")
		if a := p.chat(t.Context(), o.key, ""); !a.Done() {
			t.Fatal(a)
		}
		running := p.streams(t, 2, `,"demo":{"tokens":10,"interval_ms":50}`, o.key)
		p.Manage(t, p.administration(http.MethodPost, o.path(c.stop), `{"reason":"unpaid"}`), http.StatusOK, nil)
		if got := fmt.Sprint(answers(o.key)); got != refusals {
			t.Errorf("%s: %s; an unknown key gets %s", name, got, refusals)
		}
		parallel(32, 8, func(int) { refused(t, p.chat(t.Context(), o.key, ""), http.StatusUnauthorized, "invalid_api_key") })
		for range 2 {
			if a := <-running; !a.Done() {
				t.Errorf("%s: a stream that ran before: %s", name, a)
			}
		}
		p.Manage(t, p.administration(http.MethodPost, o.path(c.resume), ``), http.StatusOK, nil)
		if a := p.chat(t.Context(), o.key, ""); !a.Done() {
			t.Errorf("%s, and resumed: %s", name, a)
		}
	}

	trial := p.organization(t, `,"trial_ends_at":"`+time.Now().Add(3*time.Second).UTC().Format(time.RFC3339Nano)+`"`)
	if a := p.chat(t.Context(), trial.key, ""); !a.Done() {
		t.Fatal(a)
	}
	harness.Eventually(t, "the trial's end", func() (bool, string) {
		a := p.chat(t.Context(), trial.key, "")
		return a.Status == http.StatusUnauthorized, a.String()
	})
	if got := fmt.Sprint(answers(trial.key)); got != refusals {
		t.Errorf("expired: %s; an unknown key gets %s", got, refusals)
	}
}

// TestASuspensionReachesAnotherProcess suspends in one process, and asks another
// that serves from the same database: it refuses within a second.
func TestASuspensionReachesAnotherProcess(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{})
	o := p.organization(t, "")
	administration := beside(t, p.Gateway)
	for round := range 3 {
		for _, move := range []struct {
			path   string
			status int
		}{{"/suspend", http.StatusUnauthorized}, {"/activate", http.StatusOK}} {
			p.chat(t.Context(), o.key, "") // it knows the key as it was
			r := httptest.NewRequest(http.MethodPost, o.path(move.path), strings.NewReader(`{"reason":"unpaid"}`))
			r.Header.Set("Authorization", "Bearer "+p.PlatformKey)
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			administration.ServeHTTP(w, r)
			if w.Code != http.StatusOK {
				t.Fatalf("%s: %d %s", move.path, w.Code, w.Body)
			}
			time.Sleep(fresh.TTL) // the promise itself
			if a := p.chat(t.Context(), o.key, ""); a.Status != move.status {
				t.Errorf("round %d, a second after %s: %s", round, move.path, a)
			}
		}
	}
}

// beside runs the function that administers organisations in this process, on a
// gateway's database.
func beside(t *testing.T, g *harness.Gateway) http.Handler {
	t.Helper()
	settings := map[string]string{"DATABASE_URL": g.Database().URL, "AIAAS_DATA_DIR": t.TempDir(), "AIAAS_DATABASE_CONNS": "2"}
	env := &function.Env{
		Now: func() time.Time { return time.Now().UTC() }, Log: slog.New(slog.DiscardHandler),
		Getenv: func(name string) string { return settings[name] }, Fatal: func(err error) { t.Error(err) },
	}
	t.Cleanup(func() { harness.Must(t, env.Close(context.WithoutCancel(t.Context()))) })
	f, err := wire.Wire(t.Context(), env)
	harness.Must(t, err)
	return f.HTTP
}

// TestLimitsOfPlanAndOrganization: what the platform sets counts at once, and shows in
// the headers; an organisation's own go before its plan's.
func TestLimitsOfPlanAndOrganization(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{})
	limits := func(org, key int) string {
		return fmt.Sprintf(`{"requests_per_minute":%d,"tokens_per_minute":0,"concurrent_requests":0,"key_requests_per_minute":%d,"key_tokens_per_minute":0,"key_concurrent_requests":0}`, org, key)
	}
	plan := func(org, key int) {
		t.Helper()
		p.Manage(t, p.administration(http.MethodPut, "/v1/plans/metal", `{"name":"Metal","limits":`+limits(org, key)+`,"max_members":0,"max_projects":0,"max_keys":0}`), http.StatusOK, nil)
	}
	o := p.organization(t, "")
	seen := func(want string) {
		t.Helper()
		a := p.chat(t.Context(), o.key, "")
		if got := a.Header.Get("X-Ratelimit-Limit-Requests"); !a.Done() || got != want {
			t.Errorf("a limit of %q requests; want %s: %s", got, want, a)
		}
	}
	seen("100") // the starter plan's, of each key
	plan(0, 70)
	p.Manage(t, p.administration(http.MethodPatch, o.path(""), `{"plan":"metal"}`), http.StatusOK, nil)
	seen("70")
	plan(60, 70)
	seen("60") // the narrower
	p.Manage(t, p.administration(http.MethodPatch, o.path(""), `{"limits":{"requests_per_minute":40,"key_requests_per_minute":50}}`), http.StatusOK, nil)
	seen("40")
	p.Manage(t, p.administration(http.MethodPatch, o.path(""), `{"limits":{"requests_per_minute":0,"key_requests_per_minute":50}}`), http.StatusOK, nil)
	seen("50") // 0 is none
	p.Manage(t, p.administration(http.MethodPatch, o.path(""), `{"limits":{}}`), http.StatusOK, nil)
	seen("60")
}

// TestWhichModelsThereAre: what an organisation is not entitled to is as if it did
// not exist, in lists and when it is called; and a change counts at once.
func TestWhichModelsThereAre(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{})
	o := p.organization(t, "")
	listed := func() string {
		t.Helper()
		var list struct{ Data []struct{ ID string } }
		p.Manage(t, harness.Call{Method: http.MethodGet, Path: "/v1/models", Key: o.key}, http.StatusOK, &list)
		var ids []string
		for _, m := range list.Data {
			ids = append(ids, m.ID)
		}
		return strings.Join(ids, " ")
	}
	// answers are those of a call and of a look, with the model's name taken out.
	answers := func(name string) string {
		t.Helper()
		called := p.Do(t.Context(), harness.Call{Key: o.key, Body: strings.Replace(chat(""), model, name, 1)})
		shown := p.Do(t.Context(), harness.Call{Method: http.MethodGet, Path: "/v1/models/" + name, Key: o.key})
		if called.Done() && shown.Done() {
			return "served"
		}
		return strings.ReplaceAll(document(t, called)+document(t, shown), name, "NAME")
	}
	unknown := answers("no-such-model")
	both := model + " demo"
	for _, c := range []struct {
		name, method, path, body string
		want                     string // the models listed
	}{
		{"at first", http.MethodGet, o.path("/models"), ``, both},
		{"restricted", http.MethodPatch, "/v1/models/" + model, `{"restricted":true}`, "demo"},
		{"granted", http.MethodPut, o.path("/models"), `{"allowed":null,"granted":["` + model + `"]}`, both},
		{"only granted", http.MethodPut, o.path("/models"), `{"allowed":[],"granted":["` + model + `"]}`, model},
		{"allowed, but not granted", http.MethodPut, o.path("/models"), `{"allowed":["` + model + `"],"granted":[]}`, ""},
		{"open again", http.MethodPatch, "/v1/models/" + model, `{"restricted":false}`, model},
		{"none at all", http.MethodPut, o.path("/models"), `{"allowed":[],"granted":[]}`, ""},
		{"all again", http.MethodPut, o.path("/models"), `{"allowed":null,"granted":[]}`, both},
		{"only one in the project", http.MethodPatch, "/v1/projects/" + o.project, `{"models":["demo"]}`, "demo"},
		{"restricted, one in the project", http.MethodPatch, "/v1/models/demo", `{"restricted":true}`, ""},
		{"granted to the organisation", http.MethodPut, o.path("/models"), `{"allowed":null,"granted":["demo"]}`, "demo"},
		{"all in the project", http.MethodPatch, "/v1/projects/" + o.project, `{"models":null}`, both},
	} {
		call := p.administration(c.method, c.path, c.body)
		if strings.HasPrefix(c.path, "/v1/projects/") {
			call.Key = o.key
		}
		p.Manage(t, call, http.StatusOK, nil)
		if got := listed(); got != c.want {
			t.Errorf("%s: listed are %q; want %q", c.name, got, c.want)
		}
		for _, name := range []string{"demo", model} {
			want := unknown
			if strings.Contains(" "+c.want+" ", " "+name+" ") {
				want = "served"
			}
			if got := answers(name); got != want {
				t.Errorf("%s: %s: %s; want %s", c.name, name, got, want)
			}
		}
	}
}

// TestRestrictionsBindPrograms: an IP allow-list binds calls of models, and says so;
// access hours do not.
func TestRestrictionsBindPrograms(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{})
	o := p.organization(t, "")
	set := func(body string) {
		t.Helper()
		p.Manage(t, harness.Call{Method: http.MethodPatch, Path: "/v1/organization", Key: o.key, Body: body}, http.StatusOK, nil)
	}
	set(`{"settings":{"ip_allow_list":["127.0.0.0/8","::1"]}}`)
	if a := p.chat(t.Context(), o.key, ""); !a.Done() {
		t.Error(a)
	}
	today := int(time.Now().UTC().Weekday())
	hours, err := json.Marshal([]int{(today + 2) % 7, (today + 3) % 7, (today + 4) % 7})
	harness.Must(t, err)
	set(`{"settings":{"access_hours":{"days":` + string(hours) + `,"from":"00:00","to":"24:00"}},"force":true}`)
	if a := p.chat(t.Context(), o.key, ""); !a.Done() {
		t.Errorf("outside access hours: %s", a)
	}
	a := p.Do(t.Context(), harness.Call{Method: http.MethodGet, Path: "/v1/organization", Key: o.key})
	refusedBy(t, a, "hours")

	closed := p.organization(t, "")
	o = closed
	set(`{"settings":{"ip_allow_list":["198.51.100.0/24"]},"force":true}`)
	refusedBy(t, p.chat(t.Context(), o.key, ""), "address")
	refusedBy(t, p.Do(t.Context(), harness.Call{Method: http.MethodGet, Path: "/v1/organization", Key: o.key}), "address")
}

func refusedBy(t *testing.T, a harness.Answer, reason string) {
	t.Helper()
	var doc struct{ Reason, Detail string }
	a.JSON(t, &doc)
	if a.Status != http.StatusForbidden || doc.Reason != reason || doc.Detail == "" {
		t.Errorf("want 403 by %s, got %s", reason, a)
	}
}
