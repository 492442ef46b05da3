package demo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
)

// Config says how a model is served. The zero value serves the model "demo".
type Config struct {
	// Now is the clock that answers are dated by. Without one all are dated
	// 2026-01-01, which keeps them the same from run to run.
	Now func() time.Time
	Log *slog.Logger // nil for none; never given a prompt
	// Models are the names that are served; "demo" by default.
	Models []string
	// APIKey, unless empty, is the bearer token that callers must show.
	APIKey string
	// Behaviour is how requests that say nothing are treated.
	Behaviour Behaviour
	// Control opens POST /_demo/behave. For tests only.
	Control bool
	Limits  Limits
}

// Limits bound what a caller may ask for; a zero takes the default named here.
type Limits struct {
	Body      int64         // bytes of a request: 8 MiB
	Tokens    int           // of one choice: 4,096
	Choices   int           // of one answer: 8
	Delay     time.Duration // each delay_ms, ttft_ms, interval_ms: 60 s
	Duration  time.Duration // of a request that waits or stalls: 5 min
	GiantLine int64         // bytes: 16 MiB
	Active    int64         // requests at once, more are answered 503: 4,096
	Log       int           // requests that Served remembers: 16,384
}

func (l Limits) orDefaults() Limits {
	return Limits{
		Body:      or(l.Body, 8<<20),
		Tokens:    or(l.Tokens, 4096),
		Choices:   or(l.Choices, 8),
		Delay:     or(l.Delay, time.Minute),
		Duration:  or(l.Duration, 5*time.Minute),
		GiantLine: or(l.GiantLine, 16<<20),
		Active:    or(l.Active, 4096),
		Log:       or(l.Log, 16384),
	}
}

func or[T int | int64 | time.Duration](v, otherwise T) T {
	if v <= 0 {
		return otherwise
	}
	return v
}

// Server is the demo model. It is an http.Handler, and serves itself after
// Start. It is safe for concurrent use.
type Server struct {
	now     func() time.Time
	log     *slog.Logger
	models  []string
	keySum  []byte // nil when no key is asked for
	control bool
	limits  Limits

	journal journal
	prefix  string // of the answers' ids, another one for each server and second
	seq     atomic.Int64
	buffers sync.Pool

	base  Behaviour
	mu    sync.Mutex
	next  Behaviour // what was told over base
	times int       // requests that next is still for; 0 for all

	draining chan struct{} // closed when Close begins: stalls end
	stopped  chan struct{} // closed when its time is up: all waits end
	drain    sync.Once
	stop     sync.Once

	serving sync.WaitGroup
	http    *http.Server // nil until Start
}

// New makes a model. It serves nothing by itself until Start.
func New(cfg Config) *Server {
	s := &Server{
		now: cfg.Now, log: cfg.Log, models: slices.Clone(cfg.Models), control: cfg.Control,
		limits: cfg.Limits.orDefaults(), base: cfg.Behaviour, next: cfg.Behaviour,
		draining: make(chan struct{}), stopped: make(chan struct{}),
	}
	if s.now == nil {
		s.now = func() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if len(s.models) == 0 {
		s.models = []string{"demo"}
	}
	if cfg.APIKey != "" {
		sum := sha256.Sum256([]byte(cfg.APIKey))
		s.keySum = sum[:]
	}
	s.journal.size = s.limits.Log
	s.prefix = "chatcmpl-" + strconv.FormatInt(s.now().UnixNano(), 36) + "-"
	s.buffers.New = func() any { return &buffers{} }
	return s
}

// buffers are what a request needs of memory for reading and writing.
type buffers struct {
	in  bytes.Buffer
	out []byte
}

const keptBytes = 256 << 10 // larger buffers are left to the collector

func (s *Server) putBuffers(b *buffers) {
	if b.in.Cap() > keptBytes || cap(b.out) > keptBytes {
		return
	}
	b.in.Reset()
	s.buffers.Put(b)
}

// Behave tells the model how to treat the next requests (times of them; all if
// it is 0) that say nothing else themselves. It replaces what was told before,
// and fails for what is past a cap.
func (s *Server) Behave(b Behaviour, times int) error {
	if times < 0 {
		return refuse("times", "times must not be negative.")
	}
	if err := b.check(s.limits); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next, s.times = s.base.over(b), times
	return nil
}

// current is the behaviour for one more request.
func (s *Server) current() Behaviour {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.next
	if s.times > 0 {
		if s.times--; s.times == 0 {
			s.next = s.base
		}
	}
	return b
}

// Served is what was served, in the order in which it ended, as far as the log
// reaches back.
func (s *Server) Served() []Served { return s.journal.served() }

// Stats is the sum of what was served.
func (s *Server) Stats() Stats { return s.journal.totals() }

// WaitIdle returns when no request is being answered, so that Served is
// complete: a client may hold an answer's last byte before it is in the log.
func (s *Server) WaitIdle(ctx context.Context) error {
	return s.journal.wait(ctx)
}

// ServeHTTP answers by the last "/v1" in the path, or the whole path.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if i := strings.LastIndex(path, "/v1/"); i >= 0 {
		path = path[i+len("/v1"):]
	}
	switch {
	case path == "/chat/completions":
		s.only(w, r, http.MethodPost, s.complete)
	case path == "/models":
		s.only(w, r, http.MethodGet, s.listModels)
	case strings.HasPrefix(path, "/models/"):
		s.only(w, r, http.MethodGet, s.showModel)
	case path == "/_demo/log":
		s.only(w, r, http.MethodGet, s.showLog)
	case path == "/_demo/stats":
		s.only(w, r, http.MethodGet, func(w http.ResponseWriter, _ *http.Request) { s.document(w, s.Stats()) })
	case path == "/_demo/behave" && s.control:
		s.only(w, r, http.MethodPost, s.behave)
	default:
		unknown := refuse("", "Unknown request URL: "+r.Method+" "+strings.ToValidUTF8(r.URL.Path, "?")+".")
		unknown.status, unknown.code = http.StatusNotFound, "unknown_url"
		unknown.write(w)
	}
}

// only asks for the method and, of callers that need one, for the key.
func (s *Server) only(w http.ResponseWriter, r *http.Request, method string, next http.HandlerFunc) {
	if r.Method != method {
		w.Header().Set("Allow", method)
		wrong := refuse("", "Not allowed to "+r.Method+" here; use "+method+".")
		wrong.status, wrong.code = http.StatusMethodNotAllowed, "method_not_supported"
		wrong.write(w)
		return
	}
	if s.keySum != nil {
		shown := sha256.Sum256([]byte(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")))
		if subtle.ConstantTimeCompare(shown[:], s.keySum) != 1 {
			denied := refuse("", "Incorrect API key provided.")
			denied.status, denied.code = http.StatusUnauthorized, "invalid_api_key"
			denied.write(w)
			return
		}
	}
	next(w, r)
}

func (s *Server) complete(w http.ResponseWriter, r *http.Request) {
	if !s.journal.begin(s.limits.Active) {
		busy := told(http.StatusServiceUnavailable, 1)
		busy.message = "The demo model is overloaded."
		busy.write(w)
		return
	}
	mem, _ := s.buffers.Get().(*buffers)
	e := &exchange{
		server: s, w: w, flusher: http.NewResponseController(w), buf: mem.out[:0],
		rec: Served{
			ID: s.prefix + strconv.FormatInt(s.seq.Add(1), 10), At: s.now().UTC(),
			RequestID: clip(r.Header.Get("X-Request-Id")),
		},
	}
	w.Header().Set("X-Request-Id", e.rec.ID)
	defer func() { s.journal.end(e.rec) }()
	if err := s.receive(w, r, e, &mem.in); err != nil {
		e.refuse(err)
	} else {
		e.serve(r.Context(), mem.in.Bytes())
	}
	mem.out = e.buf
	s.putBuffers(mem)
	s.log.DebugContext(r.Context(), "served", "id", e.rec.ID, "request_id", e.rec.RequestID,
		"outcome", string(e.rec.Outcome), "status", e.rec.Status)
	if e.abort {
		panic(http.ErrAbortHandler) // the documented way to end a connection early
	}
}

// receive reads the body and the instructions outside of it.
func (s *Server) receive(w http.ResponseWriter, r *http.Request, e *exchange, in *bytes.Buffer) error {
	if err := s.readBody(w, r, in); err != nil {
		return err
	}
	e.behaviour = s.current()
	said, some, err := headerBehaviour(r.Header)
	if some {
		e.headers = &said
	}
	return err
}

// readBody takes JSON only: so no page of another origin can make a browser call.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, in *bytes.Buffer) error {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		wrong := refuse("", "The Content-Type must be application/json.")
		wrong.status, wrong.code = http.StatusUnsupportedMediaType, "unsupported_content_type"
		return wrong
	}
	_, err := in.ReadFrom(http.MaxBytesReader(w, r.Body, s.limits.Body))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		long := refuse("", fmt.Sprintf("The request is larger than %d bytes.", s.limits.Body))
		long.status, long.code = http.StatusRequestEntityTooLarge, "request_too_large"
		return long
	case err != nil:
		return refuse("", "The request body ended early.")
	}
	return nil
}

// clip bounds what the log keeps of a caller's text.
func clip(s string) string {
	const most = 128
	return strings.ToValidUTF8(s[:min(len(s), most)], "?")
}

func (s *Server) has(model string) bool { return slices.Contains(s.models, model) }

func (s *Server) appendModel(b []byte, model string) []byte {
	b = appendString(append(b, `{"id":`...), model)
	return append(b, `,"object":"model","created":1767225600,"owned_by":"aiaas"}`...)
}

func (s *Server) listModels(w http.ResponseWriter, _ *http.Request) {
	b := []byte(`{"object":"list","data":[`)
	for i, m := range s.models {
		if i > 0 {
			b = append(b, ',')
		}
		b = s.appendModel(b, m)
	}
	writeJSON(w, http.StatusOK, append(b, "]}"...))
}

func (s *Server) showModel(w http.ResponseWriter, r *http.Request) {
	_, model, _ := strings.Cut(r.URL.Path, "/models/")
	if !s.has(model) {
		missing := refuse("model", "The model '"+strings.ToValidUTF8(model, "?")+"' does not exist.")
		missing.status, missing.code = http.StatusNotFound, "model_not_found"
		missing.write(w)
		return
	}
	writeJSON(w, http.StatusOK, s.appendModel(nil, model))
}

// showLog waits for running requests first when the query says "idle".
func (s *Server) showLog(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Has("idle") && s.WaitIdle(r.Context()) != nil {
		return // the caller has left
	}
	s.document(w, s.Served())
}

func (s *Server) document(w http.ResponseWriter, doc any) {
	b, err := json.Marshal(doc)
	if err != nil {
		told(http.StatusInternalServerError, never).write(w)
		return
	}
	writeJSON(w, http.StatusOK, b)
}

// behave takes a Behaviour with one member more: times.
func (s *Server) behave(w http.ResponseWriter, r *http.Request) {
	var in bytes.Buffer
	var order struct {
		Behaviour
		Times int `json:"times"`
	}
	err := s.readBody(w, r, &in)
	if err == nil {
		if err = json.Unmarshal(in.Bytes(), &order, json.RejectUnknownMembers(true)); err != nil {
			err = refuseJSON("", err)
		}
	}
	if err == nil {
		err = s.Behave(order.Behaviour, order.Times)
	}
	if bad, ok := errors.AsType[*refusal](err); ok {
		bad.write(w)
		return
	}
	s.log.InfoContext(r.Context(), "behaviour changed", "times", order.Times)
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) isStopped() bool {
	select {
	case <-s.stopped:
		return true
	default:
		return false
	}
}

// Start serves on a loopback address (a free port of 127.0.0.1 when addr is
// empty) until Close, and returns the base URL that an OpenAI client takes,
// ending in /v1. The context is for starting only.
func (s *Server) Start(ctx context.Context, addr string) (baseURL string, err error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	if !loopback(addr) {
		return "", fmt.Errorf("start demo model on %q: not a loopback address", addr)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.http != nil || s.isStopped() {
		return "", errors.New("start demo model: started before")
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return "", fmt.Errorf("start demo model: %w", err)
	}
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      s.limits.Duration + time.Minute, // ends a client that does not read
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	server := s.http
	s.serving.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.log.ErrorContext(context.WithoutCancel(ctx), "demo model ended", "error", err)
		}
	})
	return "http://" + listener.Addr().String() + "/v1", nil
}

func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Close ends stalls, lets running answers end until the context's deadline, then
// cuts them. It also ends the waits of requests served without Start.
func (s *Server) Close(ctx context.Context) error {
	s.drain.Do(func() { close(s.draining) })
	s.mu.Lock()
	server := s.http
	s.mu.Unlock()
	var err error
	if server != nil {
		err = server.Shutdown(ctx)
	} else {
		err = s.journal.wait(ctx)
	}
	s.stop.Do(func() { close(s.stopped) })
	if server != nil && err != nil {
		_ = server.Close() // its listener is closed already
		err = errors.Join(err, s.journal.wait(context.WithoutCancel(ctx)))
	}
	s.serving.Wait()
	if err != nil {
		return fmt.Errorf("close demo model, running answers were cut: %w", err)
	}
	return nil
}
