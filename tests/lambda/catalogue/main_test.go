package catalogue_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/demo"
	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/session"
	"github.com/aiaas/aiaas/tests/lambda/fleet"
	"github.com/aiaas/aiaas/tests/runtimeapi"
)

// built is the folder with the bootstraps.
var built string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	dir, err := os.MkdirTemp("", "bootstraps")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary folder
	script, err := filepath.Abs("../../../infra/tools/build-lambda.sh")
	if err != nil {
		panic(err)
	}
	build := exec.Command(script)
	build.Env = append(os.Environ(), "LAMBDA_DIR="+dir)
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	built = dir
	return postgrestest.Run(m)
}

// platform is a founded platform whose functions run as Lambdas.
type platform struct {
	*fleet.Fleet

	t        *testing.T
	database string
	folder   string // of local files
	keys     apikey.Credentials
	leaver   string // the secret of an organisation's key
	sessions map[as]string
	secret   string // of an app that waits for its first code
	model    *demo.Server
	log      *output
}

// modelID is the model that is there, served by the test's own demo server.
const modelID = "model"

// start starts a platform. For the functions in cold no process is started.
func start(t *testing.T, cold ...string) *platform {
	t.Helper()
	p := &platform{t: t, database: postgrestest.New(t), folder: t.TempDir(), model: demo.New(demo.Config{Control: true}), log: &output{}}
	keys, err := fleet.Found(t.Context(), p.database, time.Now().UTC())
	if err != nil {
		t.Fatal(err)
	}
	p.keys = keys
	p.Fleet, err = fleet.Start(t.Context(), fleet.Config{
		Dir: built, Env: append(fleet.Environment(p.database, p.folder), "AIAAS_DNS_SERVER="+nameServer(t)), Output: p.log, Cold: cold,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if t.Failed() {
			t.Logf("log of the processes:\n%s", p.log)
		}
	})
	p.serve(modelID, p.model)
	return p
}

// serve adds a model that a handler answers.
func (p *platform) serve(id string, backend http.Handler) {
	p.t.Helper()
	srv := httptest.NewServer(backend)
	p.t.Cleanup(srv.Close)
	if err := p.AddModel(p.t.Context(), p.keys.PlatformKey, id, srv.URL+"/v1"); err != nil {
		p.t.Fatal(err)
	}
}

// sandbox starts one more process of a function.
func (p *platform) sandbox(name string) *runtimeapi.Sandbox {
	p.t.Helper()
	s, err := p.Start(p.t.Context(), name)
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

// reply is what an HTTP client gets; err is how the body ended.
type reply struct {
	status int
	header http.Header
	body   []byte
	err    error
}

func (p *platform) request(ctx context.Context, method, target, key, body string) *http.Request {
	p.t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, p.URL+target, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	switch cookie, browser := strings.CutPrefix(key, asCookie); {
	case browser:
		req.Header.Set("Cookie", session.CookieName(p.URL)+"="+cookie)
	case key != "":
		req.Header.Set("Authorization", "Bearer "+key)
	}
	switch {
	case strings.HasPrefix(target, "/oauth/") && method == http.MethodPost:
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	case body != "":
		req.Header.Set("Content-Type", "application/json")
	}
	return req
}

func (p *platform) do(method, target, key, body string) reply {
	p.t.Helper()
	// What leads on is an answer.
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(p.request(p.t.Context(), method, target, key, body))
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	return reply{status: resp.StatusCode, header: resp.Header, body: got, err: err}
}

// chat asks a model and returns the request's id.
func (p *platform) chat(model string, stream bool) (requestID string, got reply) {
	p.t.Helper()
	got = p.do("POST", "/v1/chat/completions", p.keys.APIKey.Reveal(), chatBody(model, stream))
	return got.header.Get("X-Request-Id"), got
}

func chatBody(model string, stream bool) string {
	return `{"model":"` + model + `","stream":` + strconv.FormatBool(stream) + `,"messages":[{"role":"user","content":"Hello there"}]}`
}

// problem fails the test unless the reply is a problem document of ours, with
// OpenAI's error object where the route is of the data plane.
func (r reply) problem(t *testing.T, status int, code string, dataPlane bool) {
	t.Helper()
	var doc struct {
		Type, Title, Code string
		Status            int
		RequestID         string `json:"request_id"`
		Error             *struct{ Message, Type, Code string }
	}
	if err := errors.Join(r.err, json.Unmarshal(r.body, &doc)); err != nil {
		t.Errorf("status %d: %v: %s", r.status, err, r.body)
		return
	}
	if r.status != status || doc.Status != status || doc.Code != code || doc.Title == "" || !strings.HasSuffix(doc.Type, code) {
		t.Errorf("status %d: %s; want %d %s", r.status, r.body, status, code)
	}
	if ct := r.header.Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("content type %q", ct)
	}
	if doc.RequestID == "" {
		t.Errorf("no request id: %s", r.body)
	}
	if hasObject := doc.Error != nil && doc.Error.Message != "" && doc.Error.Type != "" && doc.Error.Code != ""; hasObject != dataPlane {
		t.Errorf("OpenAI's error object: %v; want %v: %s", hasObject, dataPlane, r.body)
	}
}

// scalar returns the one value that a query finds.
func (p *platform) scalar(sql string) string {
	p.t.Helper()
	return postgrestest.Scalar(p.t, p.database, "SELECT ("+sql+")::text")
}

// job runs a job of a function and fails the test unless it ended well.
func (p *platform) job(name, job string) {
	p.t.Helper()
	var done struct{ Job string }
	if err := p.event(name, json.RawMessage(`{"job":"`+job+`"}`), &done); err != nil || done.Job != job {
		p.t.Fatalf("job %s of %s: %q, %v", job, name, done.Job, err)
	}
}

// event sends a function an event and decodes its answer.
func (p *platform) event(name string, event, answer any) error {
	p.t.Helper()
	resp, err := p.Lambda(name).Invoke(p.t.Context(), event)
	if err != nil {
		return err
	}
	return resp.JSON(answer)
}

// output is the processes' log as it grows.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// again starts a second set of processes and a gateway on the same platform.
func (p *platform) again(t *testing.T) *fleet.Fleet {
	t.Helper()
	f, err := fleet.Start(t.Context(), fleet.Config{Dir: built, Env: fleet.Environment(p.database, t.TempDir()), Output: p.log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return f
}
