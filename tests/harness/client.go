package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
)

// Call is one HTTP request.
type Call struct {
	Method  string // POST where empty
	Path    string // /v1/chat/completions where empty
	Key     string // none where empty
	Body    string
	Header  http.Header
	Chunked bool // send the body without its length
	// Read, if set, is called with what has been read so far, after each read; the
	// call is given up when it returns false.
	Read func(soFar []byte) bool
}

// Answer is what came back.
type Answer struct {
	Status    int // 0 when no answer began
	Header    http.Header
	Body      []byte
	RequestID string
	// Err is why the answer is not complete: it broke off, or was given up.
	Err error
}

// String is the answer as a failing test should print it.
func (a Answer) String() string {
	body := a.Body
	if len(body) > 600 {
		body = body[:600]
	}
	return fmt.Sprintf("status %d, request %s, error %v: %s", a.Status, a.RequestID, a.Err, body)
}

// Done reports whether the client has all of a successful answer: a stream ends
// with [DONE], a whole one has its full length.
func (a Answer) Done() bool {
	if a.Status != http.StatusOK {
		return false
	}
	if strings.HasPrefix(a.Header.Get("Content-Type"), "text/event-stream") {
		return bytes.HasSuffix(a.Body, []byte("data: [DONE]\n\n"))
	}
	return a.Err == nil
}

// JSON reads the body into v.
func (a Answer) JSON(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(a.Body, v); err != nil {
		t.Fatalf("read answer: %v: %s", err, a)
	}
}

// Code is the code of the problem document; "" where the body is none.
func (a Answer) Code() string {
	var p struct {
		Code string `json:"code"`
	}
	_ = json.Unmarshal(a.Body, &p) // then it has no code
	return p.Code
}

// Do makes a call and reads its answer to the end.
func (g *Gateway) Do(ctx context.Context, c Call) Answer {
	if c.Method == "" {
		c.Method = http.MethodPost
	}
	if c.Path == "" {
		c.Path = "/v1/chat/completions"
	}
	ctx, cancel := context.WithTimeout(ctx, Patience) // an answer that never comes is a failure, not a hang
	defer cancel()
	var body io.Reader = strings.NewReader(c.Body)
	if c.Chunked {
		body = struct{ io.Reader }{body}
	}
	req, err := http.NewRequestWithContext(ctx, c.Method, g.BaseURL+c.Path, body)
	if err != nil {
		return Answer{Err: err}
	}
	maps.Copy(req.Header, c.Header)
	if c.Key != "" {
		req.Header.Set("Authorization", "Bearer "+c.Key)
	}
	if c.Body != "" && req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := g.Client.Do(req)
	if err != nil {
		return Answer{Err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	a := Answer{Status: resp.StatusCode, Header: resp.Header, RequestID: resp.Header.Get("X-Request-Id")}
	a.Body, a.Err = read(resp.Body, cancel, c.Read)
	return a
}

func read(from io.Reader, giveUp func(), more func([]byte) bool) ([]byte, error) {
	var out []byte
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		out = append(out, buf[:n]...)
		switch {
		case err == io.EOF:
			return out, nil
		case err != nil:
			return out, err
		case more != nil && !more(out):
			giveUp()
			return out, context.Canceled
		}
	}
}

// Manage makes a management call that must answer the status, and reads its
// answer into out unless that is nil.
func (g *Gateway) Manage(t testing.TB, c Call, status int, out any) {
	t.Helper()
	a := g.Do(t.Context(), c)
	if a.Status != status || a.Err != nil {
		t.Fatalf("%s %s: want %d, got %s", c.Method, c.Path, status, a)
	}
	if out != nil {
		a.JSON(t, out)
	}
}

// Price is a model's price in USD per million tokens.
type Price struct {
	Input, Cached, Output string
}

// AddModel registers a model with one backend and a price, through the API, and
// returns the backend's id.
func (g *Gateway) AddModel(t testing.TB, model, upstreamURL string, p Price) (backendID string) {
	t.Helper()
	post := func(path string, body map[string]any, out any) {
		t.Helper()
		g.Manage(t, Call{Path: path, Key: g.PlatformKey, Body: encode(t, body)}, http.StatusCreated, out)
	}
	post("/v1/models", map[string]any{"id": model}, nil)
	var b struct {
		ID string `json:"id"`
	}
	post("/v1/models/"+model+"/backends", map[string]any{"protocol": "openai", "base_url": upstreamURL, "upstream_model": "demo"}, &b)
	post("/v1/price-books/default/prices", map[string]any{
		"model": model, "effective_from": "2020-01-01T00:00:00Z",
		"input_usd_per_million": p.Input, "cached_input_usd_per_million": p.Cached, "output_usd_per_million": p.Output,
	}, nil)
	return b.ID
}

// Limits are a key's own limits; 0 sets none.
type Limits struct {
	RequestsPerMinute, TokensPerMinute, ConcurrentRequests int64
}

// CreateKey makes a key with the scopes.
func (g *Gateway) CreateKey(t testing.TB, l Limits, scopes ...string) (id, key string) {
	t.Helper()
	limits := map[string]any{}
	for name, v := range map[string]int64{
		"requests_per_minute": l.RequestsPerMinute, "tokens_per_minute": l.TokensPerMinute, "concurrent_requests": l.ConcurrentRequests,
	} {
		if v > 0 {
			limits[name] = v
		}
	}
	var k struct{ ID, Key string }
	body := map[string]any{"name": t.Name(), "scopes": scopes, "limits": limits}
	g.Manage(t, Call{Path: "/v1/api-keys", Key: g.AdminKey, Body: encode(t, body)}, http.StatusCreated, &k)
	return k.ID, k.Key
}

// RevokeKey revokes a key.
func (g *Gateway) RevokeKey(t testing.TB, id string) {
	t.Helper()
	g.Manage(t, Call{Method: http.MethodDelete, Path: "/v1/api-keys/" + id, Key: g.AdminKey}, http.StatusNoContent, nil)
}

// Budget is a budget as the API shows it.
type Budget struct {
	ID     string `json:"id"`
	Unit   string `json:"unit"`
	Amount string `json:"amount"`
	Spent  string `json:"spent"`
	Held   string `json:"held"`
	Action string `json:"action"`
}

// Holds reports whether anything is reserved on the budget.
func (b Budget) Holds() bool { return strings.Trim(b.Held, "0.") != "" }

// CreateBudget makes a monthly budget; scope has exactly one member.
func (g *Gateway) CreateBudget(t testing.TB, scope map[string]any, unit, amount, action string) string {
	t.Helper()
	var b Budget
	body := map[string]any{"scope": scope, "unit": unit, "amount": amount, "period": "month", "action": action}
	g.Manage(t, Call{Path: "/v1/budgets", Key: g.AdminKey, Body: encode(t, body)}, http.StatusCreated, &b)
	return b.ID
}

// Budgets lists the organisation's budgets.
func (g *Gateway) Budgets(t testing.TB) []Budget {
	t.Helper()
	var list struct {
		Data []Budget `json:"data"`
	}
	g.Manage(t, Call{Method: http.MethodGet, Path: "/v1/budgets?limit=200", Key: g.AdminKey}, http.StatusOK, &list)
	return list.Data
}

// Sums are sums of usage as the API states them.
type Sums struct {
	Model             string `json:"model"`
	ProjectID         string `json:"project_id"`
	APIKeyID          string `json:"api_key_id"`
	Requests          int64  `json:"requests"`
	InputTokens       int64  `json:"input_tokens"`
	CachedInputTokens int64  `json:"cached_input_tokens"`
	OutputTokens      int64  `json:"output_tokens"`
	CostNano          int64  `json:"cost_nano"`
	Currency          string `json:"currency"`
}

// Usage is the answer of /v1/usage.
type Usage struct {
	Data   []Sums `json:"data"`
	Totals Sums   `json:"totals"`
}

// Usage asks for usage; query is as "?group_by=model", or empty.
func (g *Gateway) Usage(t testing.TB, query string) Usage {
	t.Helper()
	var u Usage
	g.Manage(t, Call{Method: http.MethodGet, Path: "/v1/usage" + query, Key: g.AdminKey}, http.StatusOK, &u)
	return u
}

func encode(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	Must(t, err)
	return string(b)
}
