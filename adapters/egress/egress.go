// Package egress opens connections to addresses that somebody else has named. The
// rules of shared/egress are asked with the address that is about to be connected
// to, for each attempt at each address of a name: nothing that happens before, be it
// a notation, a redirect or a name server that changes its mind, leads around them.
package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"github.com/aiaas/aiaas/shared/egress"
)

const dialTimeout = 5 * time.Second

// Dialer is a dialer whose connections obey the rules. resolver may be nil: then
// names are resolved as the system does.
func Dialer(rules egress.Rules, resolver *net.Resolver) *net.Dialer {
	return guarded(rules.Check, resolver)
}

func guarded(check func(netip.Addr) error, resolver *net.Resolver) *net.Dialer {
	return &net.Dialer{
		Timeout: dialTimeout, KeepAlive: 30 * time.Second, Resolver: resolver,
		ControlContext: func(_ context.Context, network, address string, _ syscall.RawConn) error {
			// The resolver's own packets are none of this: they don't come through here.
			if network != "tcp4" && network != "tcp6" {
				return fmt.Errorf("dial by %s: %w", network, egress.ErrRefused)
			}
			ap, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("dial %s: %w", address, egress.ErrRefused)
			}
			return check(ap.Addr())
		},
	}
}

// Limits bound what a client takes.
type Limits struct {
	Timeout   time.Duration // of a whole exchange
	MaxHeader int64         // of an answer, in bytes
}

// Client is an HTTP client for addresses that tenants name: by TLS to the public
// Internet, to ports that web servers have; without TLS, and to any port, in the
// listed networks only. It follows no redirect, uses no proxy, and keeps no
// connection, nor a cookie, between two exchanges.
func Client(rules egress.Rules, resolver *net.Resolver, l Limits) *http.Client {
	return &http.Client{
		Timeout:       l.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &bySchema{
			secure: transport(web(rules, resolver), l),
			plain:  transport(guarded(listedOnly(rules), resolver).DialContext, l),
		},
	}
}

// listedOnly refuses all but the listed networks.
func listedOnly(rules egress.Rules) func(netip.Addr) error {
	return func(ip netip.Addr) error {
		if !rules.Listed(ip) {
			return fmt.Errorf("%s is reached by https only: %w", ip, egress.ErrRefused)
		}
		return rules.Check(ip)
	}
}

type dial func(ctx context.Context, network, address string) (net.Conn, error)

// web dials public addresses at ports that web servers have: below 1024 there are
// other protocols' servers, which may read a request as one of their own.
func web(rules egress.Rules, resolver *net.Resolver) dial {
	public, listed := guarded(rules.Check, resolver), guarded(listedOnly(rules), resolver)
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("dial %s: %w", address, err)
		}
		n, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
		if err != nil {
			return nil, fmt.Errorf("dial %s: %w", address, err)
		}
		if n < 1024 && n != 443 {
			return listed.DialContext(ctx, network, address)
		}
		return public.DialContext(ctx, network, address)
	}
}

func transport(d dial, l Limits) *http.Transport {
	return &http.Transport{
		Proxy: nil, DialContext: d, TLSHandshakeTimeout: dialTimeout, ForceAttemptHTTP2: true, DisableKeepAlives: true,
		DisableCompression: true, MaxResponseHeaderBytes: l.MaxHeader, ResponseHeaderTimeout: l.Timeout,
	}
}

type bySchema struct{ secure, plain http.RoundTripper }

// RoundTrip sends a request by what its scheme demands.
func (b *bySchema) RoundTrip(r *http.Request) (*http.Response, error) {
	switch r.URL.Scheme {
	case "https":
		return b.secure.RoundTrip(r) //nolint:wrapcheck // a transport's error is the client's
	case "http":
		return b.plain.RoundTrip(r) //nolint:wrapcheck // a transport's error is the client's
	}
	return nil, fmt.Errorf("scheme %q: %w", r.URL.Scheme, errors.ErrUnsupported)
}
