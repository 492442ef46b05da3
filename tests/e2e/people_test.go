package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/aiaas/aiaas/shared/mail/mailtest"
	"github.com/aiaas/aiaas/tests/harness"
)

const herons = "eleven purple herons"

// pair are two processes over one database that sign people in.
type pair struct {
	t     *testing.T
	first *harness.Gateway
	both  [2]*harness.Gateway
	mails string
	calls int
}

func startPair(t *testing.T) *pair {
	t.Helper()
	server, dir := harness.StartServer(t), harness.Folder(t)
	env := map[string]string{
		"DATABASE_URL": server.URL(), "AIAAS_SECRET_KEY": "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=",
		"MAIL_URL": "file://" + filepath.Join(dir, "mail"), "AIAAS_TRUSTED_PROXIES": "127.0.0.1", "AIAAS_PUBLIC_URL": "http://localhost:8080",
	}
	p := &pair{t: t, mails: filepath.Join(dir, "mail")}
	p.first = harness.Start(t, harness.Options{DataDir: filepath.Join(dir, "one"), Env: env})
	second := harness.Start(t, harness.Options{
		DataDir: filepath.Join(dir, "two"), Env: env, Credentials: &p.first.Credentials, Functions: []string{"signin", "identity", "operations"},
	})
	p.both = [2]*harness.Gateway{p.first, second}
	return p
}

// outcome is what the routes of signing in answer.
type outcome struct {
	Status    string
	Challenge string
	Token     string
}

// post calls one of the processes, each time from another network: what guessing
// costs is for other tests.
func (p *pair) post(at *harness.Gateway, n int, path, token string, body map[string]any) (status int, o outcome) {
	raw, err := json.Marshal(body)
	if err != nil {
		p.t.Error(err)
	}
	from := http.Header{"X-Forwarded-For": {fmt.Sprintf("198.51.%d.%d", n/250, n%250+1)}}
	ctx, call := context.WithoutCancel(p.t.Context()), harness.Call{Path: path, Key: token, Body: string(raw), Header: from}
	a := at.Do(ctx, call)
	for range 60 { // who is told to come back does: only so many hashes are computed at once
		if a.Status != http.StatusServiceUnavailable {
			break
		}
		time.Sleep(time.Second)
		a = at.Do(ctx, call)
	}
	if a.Err != nil || a.Status < 300 && len(a.Body) > 0 && json.Unmarshal(a.Body, &o) != nil {
		p.t.Errorf("%s: %s", path, a)
	}
	return a.Status, o
}

// race sends a body fifty times at once, in turn to each process, and returns what
// came back with the status.
func (p *pair) race(path string, status int, body func(i int) map[string]any) (list []outcome) {
	p.t.Helper()
	var mu sync.Mutex
	var group sync.WaitGroup
	p.calls++
	start := make(chan struct{})
	for i := range 50 {
		group.Go(func() {
			<-start
			got, o := p.post(p.both[i%2], 50*p.calls+i, path, "", body(i))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case got == status:
				list = append(list, o)
			case got < 400 || got >= 500:
				p.t.Errorf("%s: status %d", path, got)
			}
		})
	}
	close(start)
	group.Wait()
	return list
}

// mailed waits for a mail to an address that has what the pattern finds.
func (p *pair) mailed(to string, pattern *regexp.Regexp) (found string) {
	p.t.Helper()
	harness.Eventually(p.t, "a mail to "+to, func() (bool, string) {
		files, err := filepath.Glob(filepath.Join(p.mails, "*.eml"))
		harness.Must(p.t, err)
		for _, f := range files {
			raw, err := os.ReadFile(f)
			harness.Must(p.t, err)
			m, _ := mailtest.Parse(p.t, string(raw))
			if part := pattern.FindStringSubmatch(m.Text); m.To == to && part != nil {
				found = part[1]
			}
		}
		return found != "", fmt.Sprintf("%d mails", len(files))
	})
	return found
}

// forgive forgets what guessing has cost so far.
func (p *pair) forgive() { p.first.Database().Exec(p.t, `DELETE FROM accounts.throttles`) }

// TestFiftyUsesOverTwoProcessesAreOne uses what is good once fifty times at the same
// time, over two processes that know nothing of each other: an invitation, a code of an
// app, a recovery code, and a link that sets a password.
func TestFiftyUsesOverTwoProcessesAreOne(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	const grace = "grace@example.com"
	p.first.Manage(t, harness.Call{Path: "/v1/invitations", Key: p.first.AdminKey, Body: `{"email":"` + grace + `","role":"developer"}`}, http.StatusCreated, nil)
	invitation := p.mailed(grace, regexp.MustCompile(`/invitation#token=(\S+)`))
	came := p.race("/v1/invitations/accept", http.StatusOK, func(int) map[string]any {
		return map[string]any{"token": invitation, "name": "Grace", "password": herons, "transport": "bearer"}
	})
	if len(came) != 1 || came[0].Status != "signed_in" {
		t.Fatalf("the invitation was accepted %d times: %v", len(came), came)
	}
	app, codes := p.enrol(came[0].Token)

	var challenges []string
	for i := range 50 {
		status, o := p.post(p.both[i%2], 5000+i, "/v1/sign-in", "", map[string]any{"email": grace, "password": herons, "transport": "bearer"})
		if status != http.StatusOK || o.Challenge == "" {
			t.Fatalf("sign in: %d %+v", status, o)
		}
		challenges = append(challenges, o.Challenge)
	}
	next, err := totp.GenerateCode(app, time.Now().Add(30*time.Second)) // the one of now is used up
	harness.Must(t, err)
	p.forgive()
	byCode := p.race("/v1/sign-in/second-factor", http.StatusOK, func(i int) map[string]any {
		return map[string]any{"challenge": challenges[i], "totp": next}
	})
	if len(byCode) != 1 {
		t.Errorf("a code of the app signed in %d times", len(byCode))
	}
	p.forgive()
	byRecovery := p.race("/v1/sign-in/second-factor", http.StatusOK, func(i int) map[string]any {
		return map[string]any{"challenge": challenges[i], "recovery_code": codes[0]}
	})
	if len(byRecovery) != 1 {
		t.Errorf("a recovery code signed in %d times", len(byRecovery))
	}
	p.forgive()
	if status, _ := p.post(p.first, 1, "/v1/password/forgot", "", map[string]any{"email": grace}); status != http.StatusAccepted {
		t.Fatalf("forgot: %d", status)
	}
	link := p.mailed(grace, regexp.MustCompile(`/reset-password#token=(\S+)`))
	reset := p.race("/v1/password/reset", http.StatusOK, func(i int) map[string]any {
		return map[string]any{"token": link, "password": fmt.Sprintf("twelve orange storks %d", i)}
	})
	if len(reset) != 1 || reset[0].Status != "second_factor_required" {
		t.Errorf("the link was used %d times: %+v", len(reset), reset)
	}
	if status, o := p.post(p.both[1], 2, "/v1/sign-in", "", map[string]any{"email": grace, "password": herons}); status != http.StatusOK {
		t.Errorf("the password was set without the second factor: %d %+v", status, o)
	}
}

// enrol adds an app to an account, and returns its secret with the recovery codes.
func (p *pair) enrol(token string) (secret string, codes []string) {
	p.t.Helper()
	var begun struct{ Secret string }
	p.first.Manage(p.t, harness.Call{Path: "/v1/me/totp", Key: token}, http.StatusOK, &begun)
	code, err := totp.GenerateCode(begun.Secret, time.Now())
	harness.Must(p.t, err)
	var done struct {
		Codes []string `json:"recovery_codes"`
	}
	p.first.Manage(p.t, harness.Call{Path: "/v1/me/totp/confirm", Key: token, Body: `{"code":"` + code + `"}`}, http.StatusOK, &done)
	if len(done.Codes) != 10 || strings.TrimSpace(done.Codes[0]) == "" {
		p.t.Fatalf("recovery codes: %v", done.Codes)
	}
	return begun.Secret, done.Codes
}

// A session that one process ends is refused by the other within a second, and one
// that a killed process began goes on.
func TestSessionsAreOfThePlatformAndNotOfAProcess(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	const grace = "grace@example.com"
	p.first.Manage(t, harness.Call{Path: "/v1/invitations", Key: p.first.AdminKey, Body: `{"email":"` + grace + `","role":"developer"}`}, http.StatusCreated, nil)
	status, o := p.post(p.both[1], 1, "/v1/invitations/accept", "", map[string]any{
		"token": p.mailed(grace, regexp.MustCompile(`/invitation#token=(\S+)`)), "name": "Grace", "password": herons, "transport": "bearer",
	})
	if status != http.StatusOK || o.Token == "" {
		t.Fatalf("accept: %d %+v", status, o)
	}
	me := func(at *harness.Gateway) int {
		return at.Do(t.Context(), harness.Call{Method: http.MethodGet, Path: "/v1/me", Key: o.Token}).Status
	}
	p.both[1].Kill(t)
	if got := me(p.first); got != http.StatusOK {
		t.Errorf("after the end of the process that began it: %d", got)
	}
	p.both[1].Restart(t)
	if got := me(p.both[1]); got != http.StatusOK {
		t.Errorf("after its start: %d", got)
	}
	if status, _ := p.post(p.first, 1, "/v1/sign-out", o.Token, nil); status != http.StatusNoContent {
		t.Errorf("sign out: %d", status)
	}
	if got := me(p.first); got != http.StatusUnauthorized {
		t.Errorf("where it ended: %d", got)
	}
	harness.Eventually(t, "refused by the other process", func() (bool, string) {
		got := me(p.both[1])
		return got == http.StatusUnauthorized, fmt.Sprint(got)
	})
}
