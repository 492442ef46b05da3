package rest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/origin"
	"github.com/aiaas/aiaas/shared/rest"
)

func spec() function.Spec {
	return function.Spec{Name: "things", Routes: []function.Route{
		{Method: "POST", Path: "/v1/things/{id}", OperationID: "putThing", Tag: "T", Summary: "s", Scope: "keys:write", Status: 201},
		{Method: "GET", Path: "/v1/things", OperationID: "listThings", Tag: "T", Summary: "s", Scope: "keys:read"},
		{Method: "GET", Path: "/public", OperationID: "public", Tag: "T", Summary: "s"},
	}}
}

// authenticator knows one key.
type authenticator struct{ scopes []authz.Scope }

func (a authenticator) Resolve(_ context.Context, text string) (apikey.Resolved, error) {
	if text != "good" {
		return apikey.Resolved{}, apikey.ErrUnauthenticated()
	}
	return apikey.Resolved{Record: &apikey.Record{OrgID: "org_1", KeyID: "key_1", OwnerID: "user_1", Role: authz.Owner, Scopes: a.scopes}}, nil
}

// Authenticate implements rest.Authenticator.
func (a authenticator) Authenticate(r *http.Request) (authz.Principal, error) {
	return (&rest.Authentication{Keys: a, Origins: &origin.Finder{}, Now: time.Now}).Authenticate(r)
}

type thing struct {
	Name   string `json:"name" minLength:"2"`
	Secret string `json:"secret,omitempty" maxLength:"5"`
	Count  int64  `json:"count,omitempty"`
}

type thingInput struct {
	ID   string `path:"id"`
	Body thing
}

type thingOutput struct{ Body thing }

type server struct {
	api *rest.API
	log *strings.Builder
	put func(context.Context, authz.Principal, *thingInput) (*thingOutput, error)
}

func newServer() *server {
	s := &server{log: &strings.Builder{}}
	s.put = func(_ context.Context, _ authz.Principal, in *thingInput) (*thingOutput, error) {
		return &thingOutput{Body: in.Body}, nil
	}
	s.api = rest.New(spec(), authenticator{[]authz.Scope{authz.KeysWrite}}, slog.New(slog.NewTextHandler(s.log, nil)))
	rest.Handle(s.api, "putThing", func(ctx context.Context, p authz.Principal, in *thingInput) (*thingOutput, error) {
		return s.put(ctx, p, in)
	})
	return s
}

func (s *server) do(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.api.ServeHTTP(w, r)
	return w
}

func post(body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/v1/things/a%2Fb", strings.NewReader(body))
	r.Header.Set("X-Api-Key", "good")
	r.Header.Set("Content-Type", "application/json; charset=UTF-8")
	return r
}

func TestAnOperationGetsWhoAsksForWhatUnderWhichID(t *testing.T) {
	s := newServer()
	var seen string
	s.put = func(ctx context.Context, p authz.Principal, in *thingInput) (*thingOutput, error) {
		seen = strings.Join([]string{p.OrgID, p.KeyID, in.ID, in.Body.Name, audit.RequestID(ctx)}, " ")
		return &thingOutput{Body: in.Body}, nil
	}
	w := s.do(post(`{"name":"<&>","count":9007199254740993}`))
	if want := "org_1 key_1 a/b <&> " + w.Header().Get("X-Request-Id"); seen != want || !id.Valid(id.Request, w.Header().Get("X-Request-Id")) {
		t.Errorf("the operation saw %q; want %q", seen, want)
	}
	if got := strings.TrimSpace(w.Body.String()); w.Code != 201 || got != `{"name":"<&>","count":9007199254740993}` {
		t.Errorf("%d %s", w.Code, got)
	}
}

func TestErrorsOfOperationsBecomeProblems(t *testing.T) {
	for _, c := range []struct {
		err        error
		status     int
		body       []string
		header     string
		log, blank string
	}{
		{fault.New(fault.Conflict, "taken").At("name"), 409, []string{`"code":"conflict"`, `"detail":"taken"`, `{"member":"name","message":"taken"}`}, "", "", ""},
		{fmt.Errorf("wrapped: %w", fault.New(fault.NotFound, "gone")), 404, []string{`"detail":"gone"`}, "", "", "wrapped"},
		{fault.Wrap(fault.Unavailable, "query", errors.New("dial 10.0.0.7")).After(1500 * time.Millisecond), 503, []string{`"retry_after":2`}, "2", "dial 10.0.0.7", "10.0.0.7"},
		{errors.New("password=hunter"), 500, []string{`"code":"internal_error"`}, "", "hunter", "hunter"},
	} {
		s := newServer()
		s.put = func(context.Context, authz.Principal, *thingInput) (*thingOutput, error) { return nil, c.err }
		w := s.do(post(`{"name":"ab"}`))
		if w.Code != c.status || w.Header().Get("Content-Type") != fault.ContentType || w.Header().Get("Retry-After") != c.header {
			t.Errorf("%v: %d %v", c.err, w.Code, w.Header())
		}
		for _, part := range append(c.body, `"request_id":"`+w.Header().Get("X-Request-Id")+`"`, `"instance":"/v1/things/a%2Fb"`) {
			if !strings.Contains(w.Body.String(), part) {
				t.Errorf("%v: %s lacks %s", c.err, w.Body, part)
			}
		}
		if c.blank != "" && strings.Contains(w.Body.String(), c.blank) {
			t.Errorf("the answer says %q: %s", c.blank, w.Body)
		}
		if logged := s.log.String(); (logged != "") != (c.log != "") || !strings.Contains(logged, c.log) {
			t.Errorf("%v: logged %q; want %q", c.err, logged, c.log)
		}
	}
}

func TestAPanicIsAnsweredAndLoggedNotShown(t *testing.T) {
	s := newServer()
	s.put = func(context.Context, authz.Principal, *thingInput) (*thingOutput, error) {
		panic("sk-secret at 0xdead")
	}
	w := s.do(post(`{"name":"ab"}`))
	if w.Code != 500 || w.Header().Get("Content-Type") != fault.ContentType || strings.Contains(w.Body.String(), "0xdead") || strings.Contains(w.Body.String(), ".go") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if !strings.Contains(s.log.String(), "0xdead") || !strings.Contains(s.log.String(), "rest_test.go") || !strings.Contains(s.log.String(), w.Header().Get("X-Request-Id")) {
		t.Errorf("logged %q; want the value, the stack and the request", s.log)
	}
	if w = s.do(post(`{"name":"ab"}`)); w.Code != 500 {
		t.Errorf("afterwards: %d", w.Code)
	}
}

func TestAClientThatLeavesIsNoFailureOfOurs(t *testing.T) {
	s := newServer()
	ctx, leave := context.WithCancel(t.Context())
	s.put = func(ctx context.Context, _ authz.Principal, _ *thingInput) (*thingOutput, error) {
		leave()
		return nil, fmt.Errorf("query: %w", ctx.Err())
	}
	s.do(post(`{"name":"abc"}`).WithContext(ctx))
	if s.log.Len() != 0 {
		t.Errorf("the operator is told %s", s.log)
	}
}

func TestAFlawedBodyIsNamedAndNotRepeated(t *testing.T) {
	for body, want := range map[string]struct {
		status int
		detail string
	}{
		`{"name":"a"}`:                              {422, "name: expected length >= 2"},
		`{"name":"ab","secret":"sk-very-long"}`:     {422, "secret: expected length <= 5"},
		`{"name":5}`:                                {422, "name: expected string"},
		`{"name":"ab","sk-very-long":1}`:            {422, "sk-very-long: unexpected property"},
		`{"name":"ab","count":1.5}`:                 {422, "count: expected integer"},
		`{"name":"ab","count":9223372036854775808}`: {422, ""},
		`{"name":"ab","Name":"cd"}`:                 {422, "there is no such member: Name"},
		`{"name":"ab","name":"cd"}`:                 {400, "a member stands twice: name"},
		`{"name":"ab"`:                              {400, "not valid JSON at byte 12"},
		`{"name":"ab"}x`:                            {400, "not valid JSON at byte 13"},
		"{\"name\":\"\xc3\x28\"}":                   {400, "not valid JSON at byte 9"},
		`{"name":"a\u0000"}`:                        {400, "a text has a NUL character"},
		`{"name":"a\\u0000"}`:                       {201, ""},
	} {
		w := newServer().do(post(body))
		var v struct{ Detail string }
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		if w.Code != want.status || !strings.HasPrefix(v.Detail, want.detail) {
			t.Errorf("%s: %d %q; want %d %q", body, w.Code, v.Detail, want.status, want.detail)
		}
		if w.Code != 201 && strings.Contains(w.Body.String(), `"sk-very-long"}`) {
			t.Errorf("the answer repeats a value: %s", w.Body)
		}
	}
}

func TestABodyThatBreaksOffIsTheClientsProblem(t *testing.T) {
	s := newServer()
	r := httptest.NewRequest(http.MethodPost, "/v1/things/x", iotest.ErrReader(errors.New("connection reset")))
	r.Header = post("").Header
	if w := s.do(r); w.Code != 400 || strings.Contains(w.Body.String(), "reset") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// A stranger's body is never read: nobody unknown makes us work.
func TestNothingIsReadOfAStranger(t *testing.T) {
	s := newServer()
	read := false
	r := httptest.NewRequest(http.MethodPost, "/v1/things/x", readerFunc(func([]byte) (int, error) { read = true; return 0, errors.New("read") }))
	r.Header.Set("X-Api-Key", "bad")
	if w := s.do(r); w.Code != 401 || read {
		t.Errorf("%d, read is %v", w.Code, read)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestAHandlerThatAsksWithoutAnAPIGetsNobody(t *testing.T) {
	api := rest.New(spec(), authenticator{}, slog.New(slog.DiscardHandler))
	rest.Handle(api, "public", func(ctx context.Context, p authz.Principal, _ *struct{}) (*thingOutput, error) {
		return &thingOutput{}, p.Require(ctx, authz.DoKeysRead)
	})
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/public", http.NoBody)
	r.Header.Set("X-Api-Key", "good") // a public route asks for no key, so it has no caller
	api.ServeHTTP(w, r)
	if w.Code != 401 {
		t.Errorf("%d: a public route has a caller", w.Code)
	}
}

func TestOnlyRoutesOfTheSpecAreBoundAndOnce(t *testing.T) {
	bind := func(api *rest.API, op string) (panicked bool) {
		defer func() { panicked = recover() != nil }()
		rest.Handle(api, op, func(context.Context, authz.Principal, *struct{}) (*struct{}, error) { return nil, nil }) //nolint:nilnil // never called
		return false
	}
	api := rest.New(spec(), authenticator{}, slog.New(slog.DiscardHandler))
	if bind(api, "public") || !bind(api, "public") || !bind(api, "unknown") {
		t.Error("a route was bound twice, or is not in the spec")
	}
	if got := strings.Join(api.Unbound(), " "); got != "putThing listThings" {
		t.Errorf("unbound %q", got)
	}
}

func TestPagesFollowEachOther(t *testing.T) {
	ids := []string{id.New(id.Key), id.New(id.Key), id.New(id.Key)}
	same := func(s string) string { return s }
	first := rest.Page(rest.Paging{Limit: 2}, ids, same, same)
	if len(first.Data) != 2 || first.NextCursor == nil {
		t.Fatalf("first page %+v", first)
	}
	after, err := rest.Paging{Cursor: *first.NextCursor}.After(id.Key)
	if err != nil || after != ids[1] {
		t.Errorf("the cursor stands for %q, %v; want %q", after, err, ids[1])
	}
	if last := rest.Page(rest.Paging{Limit: 2}, ids[:2], same, same); len(last.Data) != 2 || last.NextCursor != nil {
		t.Errorf("a page that is just full has a next: %+v", last)
	}
	if empty := rest.Page(rest.Paging{Limit: 2}, nil, same, same); empty.Data == nil || empty.NextCursor != nil {
		t.Errorf("an empty page %+v; want an empty list", empty)
	}
	if after, err := (rest.Paging{}).After(id.Key); err != nil || after != "" {
		t.Errorf("without a cursor: %q, %v", after, err)
	}
	if _, err := (rest.Paging{Cursor: *first.NextCursor}).After(id.Budget); !fault.Is(err, fault.Invalid) {
		t.Errorf("a cursor of another list: %v; want Invalid", err)
	}
}

func TestTheSameDocumentGivesTheSameBytes(t *testing.T) {
	render := func() string {
		doc := rest.NewDocument("t", "1", "d", rest.Tag{Name: "T"})
		rest.Describe[thingInput, thingOutput](doc.API(spec()), "putThing", rest.RequestExample(thing{Name: "ab"}), rest.Fails(fault.Conflict))
		out, err := doc.JSON()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	one := render()
	for range 5 {
		if render() != one {
			t.Fatal("two renderings differ")
		}
	}
	for _, part := range []string{`"409"`, `"401"`, `"413"`, `"415"`, `"422"`, `"example": {`, `"additionalProperties": false`} {
		if !strings.Contains(one, part) {
			t.Errorf("the document lacks %s", part)
		}
	}
	if strings.Contains(one, "ErrorModel") {
		t.Error("the document has the framework's own error")
	}
}
