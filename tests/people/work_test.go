package people_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/password"
	"github.com/aiaas/aiaas/shared/session"
	"github.com/aiaas/aiaas/shared/signin"
	"github.com/aiaas/aiaas/shared/throttle"
)

// tap stands between the platform and its database and notes what is asked: each
// statement that is run, by its text or the name that it was prepared under.
type tap struct {
	mu  sync.Mutex
	ran []string
}

// newTap returns a database's address by way of a tap.
func newTap(t *testing.T, databaseURL string) (through string, tapped *tap) {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	network, address := "tcp", u.Host
	if dir := query.Get("host"); dir != "" {
		network, address = "unix", filepath.Join(dir, ".s.PGSQL."+query.Get("port"))
	}
	dir, err := os.MkdirTemp("", "tap") //nolint:usetesting // its name would be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	var listen net.ListenConfig
	ln, err := listen.Listen(t.Context(), "unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	tapped = &tap{}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go tapped.carry(c, network, address)
		}
	}()
	u.Host = ""
	query.Set("host", dir)
	query.Set("port", "5432")
	u.RawQuery = query.Encode()
	return u.String(), tapped
}

func (p *tap) carry(c net.Conn, network, address string) {
	defer func() { _ = c.Close() }()
	var dial net.Dialer
	server, err := dial.DialContext(context.Background(), network, address)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	go func() { _, _ = io.Copy(c, server) }()
	head := make([]byte, 5)
	for first := true; ; first = false {
		kind := head[:1]
		if first { // the message that begins a connection has no type
			kind = nil
		} else if _, err := io.ReadFull(c, kind); err != nil {
			return
		}
		size := head[1:5]
		if _, err := io.ReadFull(c, size); err != nil {
			return
		}
		body := make([]byte, max(0, int(binary.BigEndian.Uint32(size))-4))
		if _, err := io.ReadFull(c, body); err != nil {
			return
		}
		if kind != nil {
			p.note(kind[0], body)
		}
		if _, err := server.Write(slices.Concat(kind, size, body)); err != nil {
			return
		}
	}
}

// note keeps simple queries, and what is bound to be executed.
func (p *tap) note(kind byte, body []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	parts := strings.SplitN(string(body), "\x00", 3)
	switch kind {
	case 'Q':
		p.ran = append(p.ran, parts[0])
	case 'B':
		p.ran = append(p.ran, parts[1])
	}
}

func (p *tap) take() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	ran := p.ran
	p.ran = nil
	return ran
}

// counted counts the hashes that are computed.
type counted struct {
	signin.Hasher

	mu    sync.Mutex
	costs []string // of each hash that was checked, or "new"
}

func (c *counted) Hash(ctx context.Context, text string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.costs = append(c.costs, "new")
	return c.Hasher.Hash(ctx, text)
}

func (c *counted) Verify(ctx context.Context, line password.Line, phc, text string) (ok, renew bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.costs = append(c.costs, "checked")
	return c.Hasher.Verify(ctx, line, phc, text)
}

func (c *counted) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	costs := c.costs
	c.costs = nil
	return costs
}

// heard counts the refusals that the audit hears of.
type heard struct{ n int }

func (h *heard) Note(audit.Denial) { h.n++ }

// TestKnownAndUnknownAddressesTakeTheSameWork signs in as people who are there and who
// are not, and compares what is asked of the database, statement by statement, how many
// hashes are computed, and what the audit hears. The service has no second factors, no
// sessions and no gate: a sign-in that fails asks none.
func TestKnownAndUnknownAddressesTakeTheSameWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.person("ada", w.one, "owner")
	w.stranger("new", w.one, "developer")
	ancient := w.person("ancient", w.one, "developer")
	w.exec(`UPDATE accounts.passwords SET phc = '%s' WHERE user_id = '%s'`, oldHash(t), ancient.id)
	gone := w.person("gone", w.one, "developer")
	w.exec(`DELETE FROM accounts.members WHERE user_id = '%s'`, gone.id)

	through, tapped := newTap(t, w.url)
	db, err := postgres.Open(t.Context(), through, postgres.RoleIdentity, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	hasher, audited := &counted{Hasher: password.NewHasher(password.Standard(), 1)}, &heard{}
	svc := &signin.Service{
		Store: postgres.NewSignIns(db), Hasher: hasher, Denials: audited, Now: w.now,
		Throttle: &throttle.Throttle{Store: postgres.NewThrottles(db), Now: w.now},
	}
	passwords := &signin.Passwords{Service: svc, Keep: postgres.NewSignIns(db)}
	acts := map[string]func(email string, from signin.From) error{
		"sign in": func(email string, from signin.From) error {
			_, err := svc.SignIn(t.Context(), signin.Attempt{Email: email, Password: "wrong", From: from})
			if !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("%s: %v", email, err)
			}
			return nil
		},
		"forgot": func(email string, from signin.From) error { return passwords.Forgot(t.Context(), email, from) },
	}
	networks := 0
	for name, act := range acts {
		var want []string
		for i, email := range []string{"warm@example.com", "nobody@example.com", "ada@example.com", "new@example.com", ancient.email, gone.email, "", "x"} {
			networks++
			from := signin.From{Address: fmt.Sprintf("203.0.113.%d", networks), Device: "d", Kind: session.Browser}
			if err := act(email, from); err != nil {
				t.Fatalf("%s as %q: %v", name, email, err)
			}
			ran, hashes, noted := tapped.take(), hasher.take(), audited.n
			audited.n = 0
			work := append(slices.Clone(ran), fmt.Sprint(hashes, noted))
			switch i {
			case 0: // the connection begins, and statements are prepared
			case 1:
				want = work
				t.Logf("%s: %d statements, hashes %v, %d words to the audit", name, len(ran), hashes, noted)
				if len(ran) != 2 || name == "sign in" && (len(hashes) != 1 || noted != 1) || name == "forgot" && len(hashes) != 0 {
					t.Errorf("%s takes %v", name, work)
				}
			default:
				if d := cmp.Diff(want, work); d != "" {
					t.Errorf("%s as %q (-nobody +this):\n%s", name, email, d)
				}
			}
		}
	}
}
