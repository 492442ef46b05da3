package runtimeapi

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// routes is the HTTP surface that a runtime sees.
func (b *Sandbox) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", b.next)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", b.response)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", b.failure)
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", func(w http.ResponseWriter, r *http.Request) {
		b.failInit(r)
		accepted(w)
	})
	mux.HandleFunc("POST /2020-01-01/extension/register", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Lambda-Extension-Identifier", b.server.cfg.Name)
		_, _ = fmt.Fprintf(w, `{"functionName":%q,"functionVersion":"$LATEST","handler":"bootstrap"}`, b.server.cfg.Name)
	})
	mux.HandleFunc("GET /2020-01-01/extension/event/next", func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done() // extensions that ask for no events wait for ever
	})
	return mux
}

func accepted(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, `{"status":"OK"}`)
}

// next hands out one invocation. Its deadline counts from here.
func (b *Sandbox) next(w http.ResponseWriter, r *http.Request) {
	b.mark(Polled)
	var inv *invocation
	select {
	case inv = <-b.server.queue:
	case <-r.Context().Done():
		return
	case <-b.server.closed:
		return
	}
	if !b.take(inv) {
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Lambda-Runtime-Aws-Request-Id", inv.id)
	h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(time.Now().Add(b.server.cfg.Timeout).UnixMilli(), 10))
	h.Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:123456789012:function:"+b.server.cfg.Name)
	h.Set("Lambda-Runtime-Trace-Id", "Root=1-5e1b4151-5ac6c58dc5b0a7d9f0a7d9f0;Parent=53995c3f42cd8ad8;Sampled=0")
	_, _ = w.Write(inv.payload)
}

// take makes the sandbox responsible for an invocation: its exit and its
// time-out are the invocation's from now on.
func (b *Sandbox) take(inv *invocation) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.exited:
		inv.settle(outcome{err: &FunctionError{Type: ExitError, Message: "the sandbox is gone"}})
		return false
	default:
	}
	b.current[inv.id] = inv
	timer := time.AfterFunc(b.server.cfg.Timeout, func() { b.timeOut(inv) })
	go func() {
		<-inv.over
		timer.Stop()
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.current, inv.id)
	}()
	return true
}

func (b *Sandbox) timeOut(inv *invocation) {
	inv.settle(outcome{err: &FunctionError{
		Type:    TimeoutError,
		Message: fmt.Sprintf("RequestId: %s Error: Task timed out after %.2f seconds", inv.id, b.server.cfg.Timeout.Seconds()),
	}})
	inv.end()
	_ = b.Kill() // the process may have ended by itself meanwhile
}

func (b *Sandbox) find(w http.ResponseWriter, r *http.Request) *invocation {
	b.mark(Answered)
	b.mu.Lock()
	inv := b.current[r.PathValue("id")]
	b.mu.Unlock()
	if inv == nil {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}`)
	}
	return inv
}

func (b *Sandbox) failure(w http.ResponseWriter, r *http.Request) {
	inv := b.find(w, r)
	if inv == nil {
		return
	}
	fe := &FunctionError{}
	if err := json.NewDecoder(r.Body).Decode(fe); err != nil {
		fe.Type = r.Header.Get("Lambda-Runtime-Function-Error-Type")
	}
	inv.settle(outcome{err: fe})
	inv.end()
	accepted(w)
}

// response passes an answer on while it arrives, and returns when it has ended
// or its reader has left.
func (b *Sandbox) response(w http.ResponseWriter, r *http.Request) {
	inv := b.find(w, r)
	if inv == nil {
		return
	}
	defer inv.end()
	resp, err := newResponse(inv.id, r)
	if err != nil {
		inv.settle(outcome{err: err})
		_, _ = io.Copy(io.Discard, r.Body)
		accepted(w)
		return
	}
	inv.settle(outcome{response: resp})
	select {
	case <-resp.ended:
	case <-b.exited: // the reader sees the break
	case <-resp.left:
		if b.abandon(w, r, resp) {
			return
		}
	case <-inv.ctx.Done():
		if b.abandon(w, r, resp) {
			return
		}
	}
	accepted(w)
}

// abandon models the reader's leaving before the end. It reports whether the
// connection is gone, and with it the chance to answer.
func (b *Sandbox) abandon(w http.ResponseWriter, r *http.Request, resp *Response) (broken bool) {
	select {
	case <-resp.ended:
		return false
	default:
	}
	// net/http reads a body's rest before it answers, and even before it closes
	// a connection, unless it is told not to or the connection is taken away.
	rc := http.NewResponseController(w)
	switch b.server.cfg.Disconnect {
	case Sever:
		conn, _, err := rc.Hijack()
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		_ = conn.Close()
		return true
	case Answer:
		_ = rc.EnableFullDuplex() // its own writer supports it
	case Drain:
		_, _ = io.Copy(io.Discard, r.Body)
	}
	return false
}
