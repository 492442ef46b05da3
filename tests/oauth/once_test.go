package oauth_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/tests/harness"
)

// parallel is how often something that is good once is used at the same moment.
const parallel = 50

func TestWhatIsGoodOnce(t *testing.T) {
	w := newWorld(t)
	for name, f := range map[string]func(*testing.T, *world){
		"an authorization code, at once": manyCodes, "a code, again": codeAgain,
		"a refresh token, at once": manyRefreshes, "a refresh token, again": refreshAgain,
		"a device code, at once": manyDevices, "one answer to a request": oneAnswer,
	} {
		t.Run(name, func(t *testing.T) { f(t, w.under(t)) })
	}
}

// all sends the same form fifty times at once, to both processes, and returns the
// answers that have tokens, and the errors by number.
func (w *world) all(params url.Values) (good []tokenAnswer, errs map[string]int) {
	w.t.Helper()
	errs = map[string]int{}
	var mu sync.Mutex
	var group sync.WaitGroup
	begin := make(chan struct{})
	for i := range parallel {
		address := "/oauth/token"
		if i%2 == 1 {
			address = w.second + address
		}
		group.Go(func() {
			<-begin
			a := w.form(address, params)
			got := tokens(a)
			mu.Lock()
			defer mu.Unlock()
			if a.Status == http.StatusOK && got.Access != "" {
				good = append(good, got)
				return
			}
			if a.Status != http.StatusBadRequest {
				w.t.Errorf("an answer of its own: %s", a)
			}
			errs[got.Error]++
		})
	}
	close(begin)
	group.Wait()
	return good, errs
}

func manyCodes(t *testing.T, w *world) {
	p := w.person(authz.Developer)
	for range 3 {
		before := w.audited("oauth.code_reuse")
		code, verifier := p.code("usage:read", "offline_access")
		good, errs := w.all(redeem(code, verifier))
		if len(good) != 1 || errs["invalid_grant"] != parallel-1 {
			t.Fatalf("%d succeeded, the others: %v", len(good), errs)
		}
		w.dies("what was issued for a code that was used again", good[0].Access)
		if a := tokens(w.form("/oauth/token", refreshing(good[0].Refresh))); a.Error != "invalid_grant" {
			t.Errorf("its refresh token: %+v", a)
		}
		if n := w.audited("oauth.code_reuse"); n != before+1 {
			t.Errorf("%d records of it; want one", n-before)
		}
	}
	if n := w.Database().Int(t, `SELECT count(*) FROM accounts.sessions WHERE holder_id = $1 AND kind = 'oauth' AND ended_at IS NULL`, p.id); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
}

func codeAgain(t *testing.T, w *world) {
	p := w.person(authz.Developer)
	code, verifier := p.code("usage:read", "offline_access")
	first := tokens(w.form("/oauth/token", redeem(code, verifier)))
	other := p.login("usage:read")
	if w.works(first.Access) != http.StatusOK {
		t.Fatal("the code gives nothing")
	}
	// Whoever shows it again need not know anything else.
	if a := tokens(w.form(w.second+"/oauth/token", redeem(code, oauth2.GenerateVerifier()))); a.Error != "invalid_grant" {
		t.Errorf("again: %+v", a)
	}
	w.dies("what was issued before", first.Access)
	if s := w.works(other.AccessToken); s != http.StatusOK {
		t.Errorf("the person's other grant answers %d", s)
	}
	late, verifier := p.code("usage:read")
	w.Database().Exec(t, `UPDATE accounts.oauth_requests SET code_expires = now() WHERE user_id = $1 AND used_at IS NULL`, p.id)
	if a := tokens(w.form("/oauth/token", redeem(late, verifier))); a.Error != "invalid_grant" {
		t.Errorf("a code that has expired: %+v", a)
	}
}

func manyRefreshes(t *testing.T, w *world) {
	p := w.person(authz.Developer)
	for range 3 {
		before := w.audited("oauth.refresh_reuse")
		tok := p.login("usage:read", "offline_access")
		good, errs := w.all(refreshing(tok.RefreshToken))
		if len(good) != 1 || errs["invalid_grant"] != parallel-1 {
			t.Fatalf("%d succeeded, the others: %v", len(good), errs)
		}
		w.dies("the family of a token that was used again", good[0].Access)
		w.dies("its first access token", tok.AccessToken)
		if a := tokens(w.form("/oauth/token", refreshing(good[0].Refresh))); a.Error != "invalid_grant" {
			t.Errorf("its newest refresh token: %+v", a)
		}
		if n := w.audited("oauth.refresh_reuse"); n != before+1 {
			t.Errorf("%d records of it; want one", n-before)
		}
	}
}

func refreshAgain(t *testing.T, w *world) {
	p := w.person(authz.Developer)
	stolen := p.login("usage:read", "offline_access")
	other := p.login("usage:read", "offline_access")
	second := tokens(w.form("/oauth/token", refreshing(stolen.RefreshToken)))
	third := tokens(w.form(w.second+"/oauth/token", refreshing(second.Refresh)))
	if third.Access == "" || w.works(third.Access) != http.StatusOK {
		t.Fatalf("three generations: %+v", third)
	}
	// Another client can't use it, and does no harm by trying.
	if a := tokens(w.form("/oauth/token", mergeParams(refreshing(third.Refresh), "client_id", "evil"))); a.Error != "invalid_client" {
		t.Errorf("another client: %+v", a)
	}
	here, there := "/v1/me", w.second+"/v1/service-accounts/"+id.New(id.ServiceAccount)+"/client-secrets"
	if a := w.call(http.MethodGet, there, "", http.Header{"Authorization": {"Bearer " + third.Access}}); a.Status == http.StatusUnauthorized {
		t.Fatalf("the newest access token in the second process: %s", a)
	}
	since := time.Now()
	if a := tokens(w.form("/oauth/token", refreshing(stolen.RefreshToken))); a.Error != "invalid_grant" || !strings.Contains(a.Description, "used before") {
		t.Errorf("the thief: %+v", a)
	}
	w.endsIn("the newest access token", here, third.Access, since)
	w.endsIn("the newest access token in the second process", there, third.Access, since)
	if a := tokens(w.form("/oauth/token", refreshing(third.Refresh))); a.Error != "invalid_grant" {
		t.Errorf("the newest refresh token: %+v", a)
	}
	if s := w.works(other.AccessToken); s != http.StatusOK {
		t.Errorf("the person's other family answers %d", s)
	}
	if n := w.Database().Int(t, `SELECT count(*) FROM accounts.audit_records WHERE org_id = $1 AND action = 'oauth.refresh_reuse' AND actor = $2 AND outcome = 'denied'`, w.org, p.id); n != 1 {
		t.Errorf("%d records", n)
	}
	if n := w.Database().Int(t, `SELECT count(*) FROM accounts.oauth_refresh_tokens WHERE token_hash = sha256($1::bytea)`, []byte(third.Refresh)); n != 1 {
		t.Errorf("the token stands in the database by its hash %d times", n)
	}
}

// device asks for a device's code.
func (w *world) device(scopes ...string) (deviceCode, userCode string) {
	w.t.Helper()
	d, err := w.client(scopes...).DeviceAuth(w.t.Context())
	harness.Must(w.t, err)
	if d.VerificationURI != w.BaseURL+"/device" || d.VerificationURIComplete != w.BaseURL+"/device?user_code="+d.UserCode || d.Interval != 5 || time.Until(d.Expiry) > 10*time.Minute {
		w.t.Errorf("the device is told %+v", d)
	}
	return d.DeviceCode, d.UserCode
}

func polling(deviceCode string) url.Values {
	return url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {"aiaas-cli"}, "device_code": {deviceCode}}
}

func manyDevices(t *testing.T, w *world) {
	p := w.person(authz.Developer)
	for range 3 {
		deviceCode, userCode := w.device("usage:read", "offline_access")
		if a := p.send(http.MethodPost, "/v1/oauth/device/"+userCode+"/approve", ""); a.Status != http.StatusNoContent {
			t.Fatalf("approve: %s", a)
		}
		good, errs := w.all(polling(deviceCode))
		if len(good) != 1 || errs["invalid_grant"] != parallel-1 {
			t.Fatalf("%d succeeded, the others: %v", len(good), errs)
		}
		if s := w.works(good[0].Access); s != http.StatusOK {
			t.Errorf("what the one was given answers %d", s)
		}
	}
}

// oneAnswer: of fifty approvals of one request, in two processes, one counts.
func oneAnswer(t *testing.T, w *world) {
	p := w.person(authz.Developer)
	request := p.ask(w.client("usage:read").AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier())))
	_, userCode := w.device("usage:read")
	for path, want := range map[string]int{"/v1/oauth/requests/" + request: http.StatusOK, "/v1/oauth/device/" + userCode: http.StatusNoContent} {
		var mu sync.Mutex
		var group sync.WaitGroup
		got := map[int]int{}
		n := 16 // fewer than the codes that a person may try
		for i := range n {
			address := path + "/approve"
			if i%2 == 1 {
				address = w.second + address
			}
			group.Go(func() {
				a := p.send(http.MethodPost, address, "")
				mu.Lock()
				defer mu.Unlock()
				got[a.Status]++
			})
		}
		group.Wait()
		if got[want] != 1 || got[http.StatusNotFound] != n-1 {
			t.Errorf("%s: %v", path, got)
		}
	}
}
