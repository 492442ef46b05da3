// Package process_test lets people sign in to the command as it runs: the owner of a
// first start, and two processes that share one database.
package process_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aiaas/aiaas/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const (
	owner  = "owner@localhost"
	herons = "eleven purple herons"
)

var (
	said   = regexp.MustCompile(`(?m)^Mail to (\S+): Set a new password  (file://\S+)$`)
	linked = regexp.MustCompile(`/reset-password#token=([A-Za-z0-9_-]+)`)
)

type object = map[string]any

// call makes a call as somebody from an address, and returns its answer.
func call(t *testing.T, g *harness.Gateway, c harness.Call, from string, body any) harness.Answer {
	t.Helper()
	if body != nil {
		text, err := json.Marshal(body)
		harness.Must(t, err)
		c.Body = string(text)
	}
	c.Header = http.Header{"X-Forwarded-For": {from}}
	a := g.Do(t.Context(), c)
	for range 60 { // who is told to come back does
		if a.Status != http.StatusServiceUnavailable {
			break
		}
		time.Sleep(time.Second)
		a = g.Do(t.Context(), c)
	}
	return a
}

func read(t *testing.T, a harness.Answer, status int) (v object) {
	t.Helper()
	if a.Status != status {
		t.Fatalf("want %d: %s", status, a)
	}
	a.JSON(t, &v)
	return v
}

// link asks for a link to set the owner's password, and takes its token from the mail
// whose file the command names.
func link(t *testing.T, g *harness.Gateway) (token string) {
	t.Helper()
	before := len(said.FindAllString(g.Stdout(), -1))
	read(t, call(t, g, harness.Call{Path: "/v1/password/forgot"}, "192.0.2.1", object{"email": owner}), http.StatusAccepted)
	harness.Eventually(t, "mail with a link", func() (bool, string) {
		mails := said.FindAllStringSubmatch(g.Stdout(), -1)
		if len(mails) == before {
			return false, g.Stdout()
		}
		last := mails[len(mails)-1]
		place, err := url.Parse(last[2])
		harness.Must(t, err)
		text, err := os.ReadFile(strings.TrimSuffix(place.Path, ".html") + ".txt")
		harness.Must(t, err)
		found := linked.FindStringSubmatch(string(text))
		if found == nil || last[1] != owner {
			t.Fatalf("the mail to %s says %s", last[1], text)
		}
		token = found[1]
		return true, ""
	})
	return token
}

func TestTheOwnerOfAFirstStartSignsIn(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Options{})
	reset := call(t, g, harness.Call{Path: "/v1/password/reset"}, "192.0.2.1", object{"token": link(t, g), "password": herons})
	if v := read(t, reset, http.StatusOK); v["status"] != "done" {
		t.Fatalf("the reset is %v", v)
	}
	v := read(t, call(t, g, harness.Call{Path: "/v1/sign-in"}, "192.0.2.1", object{"email": owner, "password": herons, "transport": "bearer"}), http.StatusOK)
	token := fmt.Sprint(v["token"])
	if v["status"] != "signed_in" || v["mfa_required"] != true || !strings.HasPrefix(token, "aiaas_session_") {
		t.Fatalf("the sign-in is %v", v)
	}
	me := read(t, call(t, g, harness.Call{Method: http.MethodGet, Path: "/v1/me", Key: token}, "192.0.2.1", nil), http.StatusOK)
	if who, _ := me["owner"].(object); who["email"] != owner {
		t.Errorf("it is %v", me)
	}
	refused := read(t, call(t, g, harness.Call{Method: http.MethodGet, Path: "/v1/members", Key: token}, "192.0.2.1", nil), http.StatusForbidden)
	if refused["reason"] != "mfa" {
		t.Errorf("without a second factor he is told %v", refused)
	}
	out := call(t, g, harness.Call{Path: "/v1/sign-out", Key: token}, "192.0.2.1", nil)
	if out.Status != http.StatusNoContent {
		t.Errorf("signing out: %s", out)
	}
	read(t, call(t, g, harness.Call{Method: http.MethodGet, Path: "/v1/me", Key: token}, "192.0.2.1", nil), http.StatusUnauthorized)
}

// TestTwoProcessesTakeALinkOnce uses one link fifty times at once through two
// processes, and signs in through the one with what was set through the other.
func TestTwoProcessesTakeALinkOnce(t *testing.T) {
	t.Parallel()
	server := harness.StartServer(t)
	env := map[string]string{"DATABASE_URL": server.URL(), "AIAAS_TRUSTED_PROXIES": "127.0.0.1", "AIAAS_SECRET_KEY": harness.AuditKey}
	first := harness.Start(t, harness.Options{Env: env})
	second := harness.Start(t, harness.Options{Env: env, Credentials: &first.Credentials, Functions: []string{"signin", "operations"}})
	token := link(t, first)
	var done atomic.Int32
	var set atomic.Value
	var all sync.WaitGroup
	for i := range 50 {
		g := []*harness.Gateway{first, second}[i%2]
		password := fmt.Sprintf("%s %d", herons, i)
		all.Go(func() {
			a := call(t, g, harness.Call{Path: "/v1/password/reset"}, fmt.Sprintf("192.0.2.%d", i+10), object{"token": token, "password": password})
			switch a.Status {
			case http.StatusOK:
				done.Add(1)
				set.Store(password)
			case http.StatusUnauthorized:
			default:
				t.Error(a)
			}
		})
	}
	all.Wait()
	if n := done.Load(); n != 1 {
		t.Fatalf("%d have set a password by one link", n)
	}
	for i, g := range []*harness.Gateway{first, second} {
		body := object{"email": owner, "password": set.Load(), "transport": "bearer"}
		v := read(t, call(t, g, harness.Call{Path: "/v1/sign-in"}, fmt.Sprintf("192.0.2.%d", i+100), body), http.StatusOK)
		if v["status"] != "signed_in" {
			t.Errorf("process %d: %v", i, v)
		}
	}
}
