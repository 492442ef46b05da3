package people_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const fresh = "twelve orange storks"

// resets sets a password by a link.
func (c *client) resets(link, password string) answer {
	c.t.Helper()
	return c.post("/v1/password/reset", object{"token": link, "password": password})
}

func TestAForgottenPasswordIsSetByALink(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	ada.joins(w.two, "analyst")
	here, there := w.browser(), w.browser()
	here.signsIn(ada)
	there.signsIn(ada, "organization_id", w.two.id)
	b := w.browser()
	link := b.link(w, ada)
	for name, weak := range map[string]string{"short": "herons", "common": "password1234", "own": "ada@example.com"} {
		v := b.resets(link, weak).want(http.StatusUnprocessableEntity)
		if v["param"] == "" || strings.Contains(fmt.Sprint(v["detail"]), weak) {
			t.Errorf("%s: %v", name, v)
		}
	}
	if !here.works() {
		t.Error("a password that was refused ended a session")
	}
	v := b.resets(link, fresh).want(http.StatusOK)
	if v["status"] != "done" || b.works() || b.cookie("aiaas_session") != "" {
		t.Errorf("the reset is %v", v)
	}
	if here.works() || there.works() {
		t.Error("a session outlives the reset")
	}
	b.resets(link, "thirteen yellow gulls").want(http.StatusUnauthorized)
	w.browser().at("203.0.113.1").tries(ada.email, secret).want(http.StatusUnauthorized)
	if v := b.tries(ada.email, fresh).want(http.StatusOK); v["status"] != "signed_in" {
		t.Errorf("with the new password it is %v", v)
	}
	if m := w.mailed(ada.email, "Your password was changed"); len(m) != 1 || !strings.Contains(m[0].Text, "by a link") {
		t.Errorf("the mails are %v", m)
	}
	for _, o := range []organization{w.one, w.two} {
		if n := w.audited(o, "password.reset"); n != "1" {
			t.Errorf("%s has %s records of the reset", o.name, n)
		}
	}
}

func TestAMemberWhoWasAddedSetsAFirstPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nora := w.stranger("nora", w.one, "analyst")
	b := w.browser()
	b.resets(b.link(w, nora), secret).want(http.StatusOK)
	b.signsIn(nora)
}

// TestAskingForALinkTellsNothing asks for people who are not there, or may not come in.
func TestAskingForALinkTellsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	off := w.person("off", w.one, "developer")
	w.exec(`UPDATE accounts.members SET status = 'suspended' WHERE user_id = '%s'`, off.id)
	want := w.browser().post("/v1/password/forgot", object{"email": ada.email})
	want.want(http.StatusAccepted)
	for i, email := range []string{"nobody@example.com", off.email, "", "x", "' OR true --"} {
		if got := w.browser().at(fmt.Sprintf("203.0.113.%d", i)).post("/v1/password/forgot", object{"email": email}); !sameBut(want, got) {
			t.Errorf("%q: %d %s", email, got.status, got.raw)
		}
	}
	if counts := w.run("signin", "reset-mails"); counts["links"] != 1 || len(counts) != 1 {
		t.Errorf("the job counts %v", counts)
	}
	w.run("notifications", "mails")
	if got := w.scalar(`SELECT string_agg(recipient, ' ') FROM accounts.mails`); got != ada.email {
		t.Errorf("mails went to %s", got)
	}
	if got := w.scalar(`SELECT count(*)::text FROM accounts.reset_requests`); got != "0" {
		t.Errorf("%s requests are kept", got)
	}
}

func TestALinkIsGoodForAWhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	b := w.browser()
	link := b.link(w, ada)
	w.advance(time.Hour)
	b.resets(link, fresh).want(http.StatusUnauthorized)
	for _, none := range []string{"", "x", link + "x", strings.ToLower(link), strings.Repeat("A", 43)} {
		b.resets(none, fresh).want(http.StatusUnauthorized)
	}
	if v := b.resets(strings.Repeat("A", 500), fresh); v.status != http.StatusUnprocessableEntity {
		t.Errorf("a huge one: %d", v.status)
	}
	b.signsIn(ada)
}

// TestLinksCantBeTakenFromTheirOwner has a stranger ask for links for somebody who has
// asked for one: those that were sent stay good, and there are not more of them than a
// mailbox bears.
func TestLinksCantBeTakenFromTheirOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	b := w.browser()
	link := b.link(w, ada)
	for i := range 30 {
		w.browser().at(fmt.Sprintf("203.0.113.%d", i)).post("/v1/password/forgot", object{"email": ada.email}).want(http.StatusAccepted)
	}
	w.run("signin", "reset-mails")
	if n := len(w.mailed(ada.email, "Set a new password")); n != 5 {
		t.Errorf("%d mails", n)
	}
	b.resets(link, fresh).want(http.StatusOK)
	if got := w.scalar(`SELECT count(*)::text FROM accounts.reset_tokens`); got != "0" {
		t.Errorf("%s links are left after the reset", got)
	}
}

// TestALinkWorksOnce uses one link fifty times at once, over two processes.
func TestALinkWorksOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	second := w.start()
	link := w.browser().link(w, ada)
	done := parallel(t, w, second, func(c *client, i int) answer { return c.resets(link, fmt.Sprintf("%s %d", fresh, i)) })
	if done != 1 {
		t.Errorf("%d have set a password by one link", done)
	}
	if n := w.audited(w.one, "password.reset"); n != "1" {
		t.Errorf("the audit has %s", n)
	}
}

// parallel does something fifty times at once, over two processes, and returns how
// often it was done. It comes from many networks, so that none runs out.
func parallel(t *testing.T, w *world, second *process, do func(c *client, i int) answer) int32 {
	t.Helper()
	var done atomic.Int32
	var all sync.WaitGroup
	for i := range 50 {
		c := w.browser()
		if i%2 == 0 {
			c = second.browser()
		}
		c = c.at(fmt.Sprintf("203.0.113.%d", i))
		all.Go(func() {
			switch a := do(c, i); a.status {
			case http.StatusOK:
				done.Add(1)
			case http.StatusUnauthorized:
			default:
				t.Errorf("%d %s", a.status, a.raw)
			}
		})
	}
	all.Wait()
	return done.Load()
}

func TestAResetStillAsksForTheSecondFactor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada, app := w.guarded("ada", "developer")
	b := w.browser()
	link := b.link(w, ada)
	v := b.resets(link, fresh).want(http.StatusOK)
	challenge := text(v, "challenge")
	if v["status"] != "second_factor_required" || challenge == "" || len(texts(v, "methods")) != 2 {
		t.Fatalf("the reset is %v", v)
	}
	b.resets(link, fresh).want(http.StatusUnauthorized)
	if v := b.tries(ada.email, secret).want(http.StatusOK); v["status"] != "second_factor_required" {
		t.Errorf("the old password is gone before the second factor was shown: %v", v)
	}
	b.at("203.0.113.1").tries(ada.email, fresh).want(http.StatusUnauthorized)
	b.post("/v1/password/reset/second-factor", object{"challenge": challenge, "totp": "000000"}).want(http.StatusUnauthorized)
	b.post("/v1/sign-in/second-factor", object{"challenge": challenge, "totp": app.code()}).want(http.StatusUnauthorized)
	w.advance(time.Minute)
	if v := b.post("/v1/password/reset/second-factor", object{"challenge": challenge, "totp": app.code()}).want(http.StatusOK); v["status"] != "done" {
		t.Errorf("it is %v", v)
	}
	if b.works() {
		t.Error("a reset has signed in")
	}
	b.post("/v1/password/reset/second-factor", object{"challenge": challenge, "totp": app.code()}).want(http.StatusUnauthorized)
	if v := b.tries(ada.email, fresh).want(http.StatusOK); v["status"] != "second_factor_required" {
		t.Errorf("a reset has left the second factor out: %v", v)
	}
}

// TestAResetByASecondFactorIsDoneOnce meets one challenge of a reset fifty times at
// once, over two processes, and one link of a person with a second factor.
func TestAResetByASecondFactorIsDoneOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada, app := w.guarded("ada", "developer")
	second := w.start()
	link := w.browser().link(w, ada)
	challenges := make(chan string, 50)
	if n := parallel(t, w, second, func(c *client, i int) answer {
		a := c.resets(link, fmt.Sprintf("%s %d", fresh, i))
		if a.status == http.StatusOK {
			challenges <- text(a.want(http.StatusOK), "challenge")
		}
		return a
	}); n != 1 {
		t.Fatalf("%d were asked for the second factor by one link", n)
	}
	challenge := <-challenges
	code := app.code()
	if n := parallel(t, w, second, func(c *client, i int) answer {
		proof := object{"challenge": challenge, "totp": code}
		if i < 20 {
			proof = object{"challenge": challenge, "recovery_code": app.codes[i%10]}
		}
		return c.post("/v1/password/reset/second-factor", proof)
	}); n != 1 {
		t.Errorf("%d have set a password by one challenge", n)
	}
	if n := w.audited(w.one, "password.reset"); n != "1" {
		t.Errorf("the audit has %s", n)
	}
}

func TestWhatIsPastItsTimeIsForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada, _ := w.guarded("ada", "developer")
	b := w.browser()
	b.link(w, ada)
	b.challenged(ada)
	b.post("/v1/password/forgot", object{"email": "nobody@example.com"}).want(http.StatusAccepted)
	kept := func() string {
		return w.scalar(`SELECT (SELECT count(*) FROM accounts.reset_tokens) || ' ' || (SELECT count(*) FROM accounts.sign_in_challenges) || ' ' || (SELECT count(*) FROM accounts.reset_requests)`)
	}
	w.run("signin", "sign-in-prune")
	if got := kept(); got != "1 1 1" {
		t.Errorf("at once %s are left", got)
	}
	w.advance(61 * time.Minute)
	w.run("signin", "sign-in-prune")
	if got := kept(); got != "0 0 0" {
		t.Errorf("after an hour %s are left", got)
	}
}
