// Package probe is a function for testing hosts: each of its routes, messages
// and jobs does one thing that a host must carry. It reports what it noticed on
// its log, for tests that only see the process from outside.
package probe

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/aiaas/aiaas/shared/function"
)

// Lines of the log, and the setting that makes wiring fail once.
const (
	LogWired  = "probe wired"
	LogLeft   = "probe noticed that its reader left"
	LogEnded  = "probe wrote all"
	LogClosed = "probe closed"
	FailOnce  = "PROBE_FAIL_ONCE"
)

// Spec is the probe's description.
func Spec() function.Spec {
	return function.Spec{
		Name: "probe",
		Routes: []function.Route{
			{Method: "PUT", Path: "/echo/{id}", OperationID: "echo"},
			{Method: "GET", Path: "/panic", OperationID: "panic"},
			{Method: "GET", Path: "/slow", OperationID: "slow"},
			{Method: "POST", Path: "/stream/{how}", OperationID: "stream", Stream: true, DataPlane: true},
		},
		Queues:    []function.Queue{{Name: "probe", Batch: 10}},
		Schedules: []function.Schedule{{Job: "tick", Every: time.Minute}},
		Timeout:   10 * time.Second,
	}
}

// Wire builds the probe. Where [FailOnce] is set its first attempt fails.
func Wire(ctx context.Context, env *function.Env) (function.Function, error) {
	attempts, err := function.Shared(ctx, env, "attempts", func(context.Context) (*int, function.Closer, error) {
		return new(int), func(ctx context.Context) error { env.Log.InfoContext(ctx, LogClosed); return nil }, nil
	})
	if err != nil {
		return function.Function{}, err
	}
	if *attempts++; *attempts == 1 && env.Getenv(FailOnce) != "" {
		return function.Function{}, errors.New("told to fail")
	}
	env.Log.InfoContext(ctx, LogWired)
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /echo/{id}", echo)
	mux.HandleFunc("GET /panic", func(http.ResponseWriter, *http.Request) { panic("told to panic") })
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		w.WriteHeader(http.StatusGatewayTimeout)
	})
	mux.Handle("POST /stream/{how}", streams{env: env})
	return function.Function{
		HTTP:     mux,
		Messages: messages,
		Jobs: map[string]function.Job{
			"tick": func(context.Context) (function.Counts, error) { return nil, nil },
			// The platform kills what does not end.
			"hang": func(context.Context) (function.Counts, error) { select {} },
		},
	}, nil
}

// Echo is the probe's account of a request.
type Echo struct {
	ID    string   `json:"id"`
	Query []string `json:"query"`
	Many  []string `json:"many"`
	Body  []byte   `json:"body"`
	Peer  string   `json:"peer"`
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if r.URL.Query().Has("raw") {
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(body)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(Echo{ // the client may be gone
		ID: r.PathValue("id"), Query: r.URL.Query()["q"], Many: r.Header["X-Many"], Body: body, Peer: r.RemoteAddr,
	})
}

// streams answers in ways that only a streaming host can carry.
type streams struct{ env *function.Env }

// ServeHTTP writes "one", and then what the path asks for.
func (s streams) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	how := r.PathValue("how")
	if how == "panic-first" {
		panic("told to panic")
	}
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, "one")
	switch how {
	case "panic":
		panic("told to panic")
	case "hold": // produces nothing more until the reader leaves
		<-r.Context().Done()
		s.env.Log.InfoContext(r.Context(), LogLeft)
		return
	case "drip":
		s.drip(w, r)
		return
	}
	_, _ = io.WriteString(w, "two")
	s.env.Log.InfoContext(r.Context(), LogEnded)
}

// drip writes until the reader is gone, or a second's worth.
func (s streams) drip(w http.ResponseWriter, r *http.Request) {
	for range 100 {
		time.Sleep(10 * time.Millisecond)
		if _, err := io.WriteString(w, "."); err != nil {
			s.env.Log.InfoContext(r.Context(), LogLeft)
			return
		}
	}
	s.env.Log.InfoContext(r.Context(), LogEnded)
}

// messages fails those that say so.
func messages(_ context.Context, batch []function.Message) (failed []string, err error) {
	for _, m := range batch {
		switch string(m.Body) {
		case "bad":
			failed = append(failed, m.ID)
		case "panic":
			panic("told to panic")
		case "worse":
			return nil, errors.New("told to fail the batch")
		}
	}
	return failed, nil
}
