package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/aiaas/aiaas/adapters/opa"
	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/origin"
	"github.com/aiaas/aiaas/shared/rest"
)

// authorisation measures what asking the access policy adds to a management call:
// the same call over loopback, to an operation that does nothing, by a caller of
// full rights; once it asks nothing, once the operation asks the policy.
func authorisation(ctx context.Context, calls int) error {
	policy, err := opa.New(ctx)
	if err != nil {
		return err
	}
	server, err := newAccessServer(ctx, policy)
	if err != nil {
		return err
	}
	defer func() { _ = server.http.Close() }()
	paths := []string{"/unasked", "/asked"}
	times := map[string][]time.Duration{}
	for i := range calls + calls/10 {
		for k := range paths {
			path := paths[(i+k)%2] // in turn: what disturbs the machine disturbs both
			d, err := server.time(ctx, path)
			if err != nil {
				return err
			}
			if i >= calls/10 { // the first are to warm up
				times[path] = append(times[path], d)
			}
		}
	}
	fmt.Printf("\nA management call without and with the access policy, %d calls each in turn; the bound is +1 ms at p95\n\n", calls)
	fmt.Println("| call | p50 | p95 | p99 |")
	fmt.Println("|---|---:|---:|---:|")
	for _, path := range paths {
		slices.Sort(times[path])
	}
	at := func(path string, percent int) time.Duration { return times[path][calls*percent/100] }
	row := func(name string, f func(percent int) time.Duration) {
		fmt.Printf("| %s | %s | %s | %s |\n", name, round(float64(f(50))), round(float64(f(95))), round(float64(f(99))))
	}
	row("asks nothing", func(p int) time.Duration { return at("/unasked", p) })
	row("asks the policy", func(p int) time.Duration { return at("/asked", p) })
	row("added", func(p int) time.Duration { return at("/asked", p) - at("/unasked", p) })
	return nil
}

// knownKey resolves every key to one of an owner.
type knownKey struct{}

func (knownKey) Resolve(context.Context, string) (apikey.Resolved, error) {
	return apikey.Resolved{Record: &apikey.Record{OrgID: "org_1", KeyID: "key_1", OwnerID: "user_1", Role: authz.Owner, Scopes: authz.Scopes()}}, nil
}

type accessServer struct {
	http *http.Server
	base string
}

func newAccessServer(ctx context.Context, policy authz.Policy) (*accessServer, error) {
	spec := function.Spec{Name: "bench", Routes: []function.Route{
		{Method: http.MethodGet, Path: "/unasked", OperationID: "unasked", Summary: "s", Tag: "T", Scope: string(authz.AnyScope)},
		{Method: http.MethodGet, Path: "/asked", OperationID: "asked", Summary: "s", Tag: "T", Scope: string(authz.KeysWrite)},
	}}
	type answer struct {
		Body struct {
			OK bool `json:"ok"`
		}
	}
	auth := &rest.Authentication{Keys: knownKey{}, Policy: policy, Origins: &origin.Finder{}, Now: time.Now}
	api := rest.New(spec, auth, slog.New(slog.DiscardHandler))
	rest.Handle(api, "unasked", func(context.Context, authz.Principal, *struct{}) (*answer, error) { return &answer{}, nil })
	rest.Handle(api, "asked", func(ctx context.Context, p authz.Principal, _ *struct{}) (*answer, error) {
		return &answer{}, p.RequireOn(ctx, authz.DoKeysRevoke, authz.Resource{ProjectID: "proj_1", OwnerID: "user_2", Role: authz.Developer})
	})
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &accessServer{http: &http.Server{Handler: api, ReadHeaderTimeout: time.Minute}, base: "http://" + ln.Addr().String()}
	go func() { _ = s.http.Serve(ln) }()
	return s, nil
}

func (s *accessServer) time(ctx context.Context, path string) (time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+path, http.NoBody)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer any")
	start := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0, err
	}
	took := time.Since(start)
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s: %s", path, resp.Status)
	}
	return took, nil
}
