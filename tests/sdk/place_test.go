package sdk_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/demo"
	"github.com/aiaas/aiaas/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// place is a gateway with all that the tests of a SDK need: models and keys that
// are refused for every reason there is. Its exported members are told to Node.
type place struct {
	gateway  *harness.Gateway
	recorder *recorder

	Demo     string `json:"demo"`     // the built-in model
	Recorded string `json:"recorded"` // its backend remembers what reached it
	Unpriced string `json:"unpriced"`
	Flaky    string `json:"flaky"` // its backend takes orders

	Keys         keys   `json:"keys"`
	Backend      string `json:"backend"`      // where Recorded's backend tells what it remembers
	FlakyControl string `json:"flakyControl"` // where Flaky's backend takes orders
}

// keys are API keys by what is wrong with them.
type keys struct {
	Revoked  string `json:"revoked"`
	Broke    string `json:"broke"`    // its budget covers no request
	NoScope  string `json:"noScope"`  // it may not call models
	DemoOnly string `json:"demoOnly"` // it may call the built-in model only
	Limited  string `json:"limited"`  // to one request a minute
	Refilled string `json:"refilled"` // twenty requests a minute
	Single   string `json:"single"`   // one request at a time
}

// open starts the place. A backend that is silent for two seconds has failed.
func open(t *testing.T) *place {
	t.Helper()
	p := &place{
		gateway:  harness.Start(t, harness.Options{Env: map[string]string{"AIAAS_UPSTREAM_IDLE_TIMEOUT": "2s"}}),
		recorder: record(t),
		Demo:     "demo", Recorded: "lab/recorded", Unpriced: "unpriced", Flaky: "flaky",
	}
	p.Backend = p.recorder.url
	flaky := harness.StartUpstream(t, demo.Config{Control: true})
	p.FlakyControl = strings.TrimSuffix(flaky.URL, "/v1")
	p.addModel(t, p.Recorded, p.Backend+"/v1")
	p.addModel(t, p.Flaky, flaky.URL)
	p.addModel(t, p.Unpriced, flaky.URL)
	for _, id := range []string{p.Recorded, p.Flaky} {
		p.manage(t, p.gateway.PlatformKey, "/v1/price-books/default/prices",
			map[string]any{"model": id, "input_usd_per_million": "1.00", "output_usd_per_million": "4.00"}, nil)
	}
	p.addKeys(t)
	return p
}

// manage creates something and reads the answer into out, unless that is nil.
func (p *place) manage(t *testing.T, key, path string, body map[string]any, out any) {
	t.Helper()
	text, err := json.Marshal(body)
	harness.Must(t, err)
	p.gateway.Manage(t, harness.Call{Path: path, Key: key, Body: string(text)}, http.StatusCreated, out)
}

func (p *place) addModel(t *testing.T, id, backend string) {
	t.Helper()
	platform := p.gateway.PlatformKey
	p.manage(t, platform, "/v1/models", map[string]any{"id": id}, nil)
	p.manage(t, platform, "/v1/models/"+url.PathEscape(id)+"/backends",
		map[string]any{"protocol": "openai", "base_url": backend, "upstream_model": "demo"}, nil)
}

func (p *place) addKeys(t *testing.T) {
	t.Helper()
	key := func(body map[string]any) (id, secret string) {
		var k struct{ ID, Key string }
		body["name"] = "sdk"
		if body["scopes"] == nil {
			body["scopes"] = []string{"inference"}
		}
		p.manage(t, p.gateway.AdminKey, "/v1/api-keys", body, &k)
		return k.ID, k.Key
	}
	limited := func(limit string, n int) string {
		_, secret := key(map[string]any{"limits": map[string]any{limit: n}})
		return secret
	}
	id, secret := key(map[string]any{})
	p.gateway.RevokeKey(t, id)
	p.Keys.Revoked = secret
	id, p.Keys.Broke = key(map[string]any{})
	p.gateway.CreateBudget(t, map[string]any{"api_key_id": id}, "tokens", "1", "block")
	_, p.Keys.NoScope = key(map[string]any{"scopes": []string{"usage:read"}})
	_, p.Keys.DemoOnly = key(map[string]any{"models": []string{p.Demo}})
	p.Keys.Limited = limited("requests_per_minute", 1)
	p.Keys.Refilled = limited("requests_per_minute", 20)
	p.Keys.Single = limited("concurrent_requests", 1)
}

// baseURL is what a SDK is configured with.
func (p *place) baseURL() string { return p.gateway.BaseURL + "/v1" }

// chat makes a chat completion without a SDK.
func (p *place) chat(ctx context.Context, body string, header http.Header) harness.Answer {
	return p.gateway.Do(ctx, harness.Call{Key: p.gateway.APIKey, Body: body, Header: header})
}

// recorder is a backend that remembers what reached it. GET /received/{id} tells
// it by the gateway's request id, GET /outcome/{id} how the request ended.
type recorder struct {
	model *demo.Server
	url   string // without /v1

	mu   sync.Mutex
	seen map[string]received
}

type received struct {
	Headers http.Header     `json:"headers"`
	Body    json.RawMessage `json:"body"`
}

func record(t *testing.T) *recorder {
	t.Helper()
	r := &recorder{model: demo.New(demo.Config{}), seen: map[string]received{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/", r.complete)
	mux.HandleFunc("GET /received/{id}", r.tell)
	mux.HandleFunc("GET /outcome/{id}", r.tellOutcome)
	server := httptest.NewServer(mux)
	r.url = server.URL
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		harness.Must(t, r.model.Close(context.WithoutCancel(t.Context())))
	})
	return r
}

func (r *recorder) complete(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	r.seen[req.Header.Get("X-Request-Id")] = received{Headers: req.Header.Clone(), Body: body}
	r.mu.Unlock()
	req.Body = io.NopCloser(bytes.NewReader(body))
	r.model.ServeHTTP(w, req)
}

func (r *recorder) received(id string) (received, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	got, ok := r.seen[id]
	return got, ok
}

// outcome waits until the request has ended.
func (r *recorder) outcome(id string) (demo.Served, bool) {
	for deadline := time.Now().Add(harness.Patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for _, served := range r.model.Served() {
			if served.RequestID == id {
				return served, true
			}
		}
	}
	return demo.Served{}, false
}

func (r *recorder) tell(w http.ResponseWriter, req *http.Request) {
	if got, ok := r.received(req.PathValue("id")); ok {
		answer(w, got)
		return
	}
	http.NotFound(w, req)
}

func (r *recorder) tellOutcome(w http.ResponseWriter, req *http.Request) {
	if got, ok := r.outcome(req.PathValue("id")); ok {
		answer(w, got)
		return
	}
	http.NotFound(w, req)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // a test that does not read it fails by itself
}
