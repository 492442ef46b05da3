package client

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/oauth2"
)

// byBrowser signs in with a browser on this machine, which comes back to a port of it
// with the answer (RFC 8252).
func (p *provider) byBrowser(ctx context.Context, cmd *cobra.Command, scopes []string) (*oauth2.Token, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the browser: %w", err)
	}
	c := p.client(scopes)
	c.RedirectURL = "http://" + listener.Addr().String() + "/callback"
	verifier := oauth2.GenerateVerifier()
	wait := &callback{issuer: p.Issuer, state: rand.Text(), got: make(chan outcome, 1)}
	server := &http.Server{Handler: wait, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }() // it ends with Shutdown
	defer func() { wait.end(ctx, server) }()
	link := c.AuthCodeURL(wait.state, oauth2.S256ChallengeOption(verifier))
	if err := say(cmd.ErrOrStderr(), "Open this address in your browser:\n\n"+link+"\n\nWaiting for your answer. If the browser is on another machine: aiaas login --device"); err != nil {
		return nil, err
	}
	select {
	case o := <-wait.got:
		if o.err != nil {
			return nil, o.err
		}
		tok, err := c.Exchange(ctx, o.code, oauth2.VerifierOption(verifier))
		return tok, said(ctx, "sign in", err)
	case <-ctx.Done():
		return nil, fmt.Errorf("sign in: %w", context.Cause(ctx))
	}
}

// callback takes the browser's answer, once.
type callback struct {
	issuer, state string
	got           chan outcome
}

type outcome struct {
	code string
	err  error
}

// end lets the answer's page arrive before the program goes on.
func (c *callback) end(ctx context.Context, server *http.Server) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if server.Shutdown(ctx) != nil {
		_ = server.Close()
	}
}

// ServeHTTP implements [http.Handler]. What does not have the state is not the answer
// to our question, whoever sends it, and changes nothing.
func (c *callback) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Connection", "close")
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || r.Method != http.MethodGet || r.URL.Path != "/callback" || subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(c.state)) != 1 {
		w.WriteHeader(http.StatusNotFound)
		page(w, "There is nothing here.")
		return
	}
	o := c.read(q)
	select {
	case c.got <- o:
	default: // it was answered before
	}
	if o.err != nil {
		page(w, "You are not signed in. The terminal says why; you can close this window.")
		return
	}
	page(w, "You are signed in. You can close this window.")
}

func page(w http.ResponseWriter, text string) {
	_, _ = fmt.Fprintf(w, "<!doctype html><html lang=\"en\"><title>AIaaS</title><p>%s</p>\n", text) // the person sees whether it has come
}

var errIssuer = errors.New("sign in: the answer is not from the platform that was asked")

// read checks who answers (RFC 9207), and what.
func (c *callback) read(q url.Values) outcome {
	switch {
	case q.Get("iss") != c.issuer:
		return outcome{err: errIssuer}
	case q.Get("error") == "access_denied":
		return outcome{err: errors.New("sign in: you said no")}
	case q.Get("error") != "":
		return outcome{err: fmt.Errorf("sign in: %s (%s)", printable(q.Get("error_description")), printable(q.Get("error")))}
	case q.Get("code") == "":
		return outcome{err: errors.New("sign in: the answer has no code")}
	}
	return outcome{code: q.Get("code")}
}
