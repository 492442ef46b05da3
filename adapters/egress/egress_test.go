package egress_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	guarded "github.com/aiaas/aiaas/adapters/egress"
	"github.com/aiaas/aiaas/shared/egress"
)

// Whatever a private address is called, nothing is connected to it: the server that
// really listens there hears nothing.
func TestNoNotationReachesThisMachine(t *testing.T) {
	reached := atomic.Int32{}
	l := listen(t, func() { reached.Add(1) })
	_, port, _ := net.SplitHostPort(l)
	d := guarded.Dialer(egress.Rules{}, nil)
	for _, host := range []string{
		"127.0.0.1", "127.0.0.2", "localhost", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1", "::ffff:7f00:1", "::127.0.0.1", "64:ff9b::7f00:1",
		"2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "10.0.0.1", "192.168.0.1", "169.254.169.254", "fe80::1%lo", "100.64.0.1",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(host, port))
		cancel()
		if err == nil {
			_ = conn.Close()
			t.Errorf("%s was connected to", host)
		}
		if errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s was tried", host)
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d connections arrived", n)
	}
}

func TestListedNetworksAreReached(t *testing.T) {
	address := listen(t, func() {})
	d := guarded.Dialer(egress.New(egress.Loopback()...), nil)
	conn, err := d.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if _, err := d.DialContext(t.Context(), "udp", address); !errors.Is(err, egress.ErrRefused) {
		t.Errorf("by UDP: %v", err)
	}
}

// A name server answers with a public address while the name is looked at, and with a
// private one when it is dialled.
func TestANameThatChangesItsMindIsRefusedWhenItIsDialled(t *testing.T) {
	reached := atomic.Int32{}
	_, port, _ := net.SplitHostPort(listen(t, func() { reached.Add(1) }))
	for name, private := range map[string]string{
		"rebinding": "127.0.0.1", "metadata": "169.254.169.254", "mapped": "::ffff:127.0.0.1", "translated": "64:ff9b::7f00:1", "private": "10.0.0.1",
	} {
		t.Run(name, func(t *testing.T) {
			r := resolver(t, "203.0.114.1", private)
			first, err := r.LookupNetIP(t.Context(), "ip", "rebind.example")
			if err != nil || len(first) != 1 || first[0].Unmap() != netip.MustParseAddr("203.0.114.1") {
				t.Fatalf("the first look-up gave %v, %v", first, err)
			}
			for range 2 {
				_, err = guarded.Dialer(egress.Rules{}, r).DialContext(t.Context(), "tcp", net.JoinHostPort("rebind.example", port))
				if !errors.Is(err, egress.ErrRefused) {
					t.Errorf("dial: %v; want it refused", err)
				}
			}
		})
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d connections arrived", n)
	}
}

func TestClient(t *testing.T) {
	secret := listen(t, func() { t.Error("the redirect was followed") })
	redirecting := httptest.NewServer(http.RedirectHandler("http://"+secret+"/", http.StatusTemporaryRedirect))
	defer redirecting.Close()
	limits := guarded.Limits{Timeout: 3 * time.Second, MaxHeader: 4 << 10}
	loopback := egress.New(egress.Loopback()...)

	t.Run("a redirect is an answer", func(t *testing.T) {
		resp := get(t, guarded.Client(loopback, nil, limits), redirecting.URL)
		if resp.err != nil || resp.status != http.StatusTemporaryRedirect {
			t.Errorf("%d, %v", resp.status, resp.err)
		}
	})
	t.Run("without TLS only to listed networks", func(t *testing.T) {
		client := guarded.Client(egress.Rules{}, resolver(t, "8.8.8.8", "8.8.8.8"), limits)
		for _, url := range []string{redirecting.URL, "http://public.example:8080/", "http://8.8.8.8/"} {
			if resp := get(t, client, url); !errors.Is(resp.err, egress.ErrRefused) {
				t.Errorf("%s: %d, %v", url, resp.status, resp.err)
			}
		}
	})
	t.Run("by TLS to no port of another protocol", func(t *testing.T) {
		client := guarded.Client(egress.Rules{}, resolver(t, "8.8.8.8", "8.8.8.8"), limits)
		for _, url := range []string{"https://public.example:25/", "https://8.8.8.8:22/", "https://public.example:80/"} {
			if resp := get(t, client, url); !errors.Is(resp.err, egress.ErrRefused) {
				t.Errorf("%s: %d, %v", url, resp.status, resp.err)
			}
		}
	})
	t.Run("the environment's proxy is not used", func(t *testing.T) {
		t.Setenv("HTTP_PROXY", "http://"+secret)
		t.Setenv("http_proxy", "http://"+secret)
		ok := httptest.NewServer(http.NotFoundHandler())
		defer ok.Close()
		if resp := get(t, guarded.Client(loopback, nil, limits), ok.URL); resp.err != nil || resp.status != http.StatusNotFound {
			t.Errorf("%d, %v", resp.status, resp.err)
		}
	})
	t.Run("no other scheme", func(t *testing.T) {
		if resp := get(t, guarded.Client(loopback, nil, limits), "file:///etc/passwd"); !errors.Is(resp.err, errors.ErrUnsupported) {
			t.Errorf("%d, %v", resp.status, resp.err)
		}
	})
	t.Run("no endless head", func(t *testing.T) {
		long := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("x", 64<<10))
		}))
		defer long.Close()
		if resp := get(t, guarded.Client(loopback, nil, limits), long.URL); resp.err == nil {
			t.Errorf("answered %d", resp.status)
		}
	})
}

type answer struct {
	status int
	err    error
}

func get(t *testing.T, c *http.Client, url string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		return answer{err: err}
	}
	_ = resp.Body.Close()
	return answer{status: resp.StatusCode}
}

// listen accepts connections on loopback and tells of each.
func listen(t *testing.T, accepted func()) (address string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			accepted()
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}
