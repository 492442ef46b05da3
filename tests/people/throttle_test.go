package people_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

func TestGuessingIsSlowedDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	m := w.browser().at("203.0.113.1")
	for range 5 {
		m.tries(ada.email, "wrong").want(http.StatusUnauthorized)
	}
	known := m.tries(ada.email, secret)
	known.want(http.StatusTooManyRequests)
	if got := known.header.Get("Retry-After"); got != "120" {
		t.Errorf("Retry-After is %q", got)
	}
	for range 5 {
		m.tries("nobody@example.com", "wrong").want(http.StatusUnauthorized)
	}
	if unknown := m.tries("nobody@example.com", "wrong"); !sameBut(known, unknown) {
		t.Errorf("of nobody: %d %s\nof somebody: %s", unknown.status, unknown.raw, known.raw)
	}
	w.advance(2 * time.Minute)
	m.signsIn(ada)
}

// TestStrangersCantLockAnybodyOut guesses at an account from many networks until no
// stranger can try: its owner comes in with the browser that he has, and, with a new
// one, by setting his password anew.
func TestStrangersCantLockAnybodyOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	own := w.browser()
	own.signsIn(ada)
	own.post("/v1/sign-out", nil).want(http.StatusNoContent)
	siege := func() {
		t.Helper()
		for i := range 40 {
			w.browser().at(fmt.Sprintf("203.0.113.%d", i)).tries(ada.email, "wrong")
		}
	}
	siege()
	w.browser().at("192.0.2.200").tries(ada.email, secret).want(http.StatusTooManyRequests)
	own.signsIn(ada)
	own.at("192.0.2.201").signsIn(ada) // wherever he takes it

	other := w.browser().at("192.0.2.202")
	link := other.link(w, ada)
	siege()
	other.resets(link, fresh).want(http.StatusOK)
	if v := other.tries(ada.email, fresh).want(http.StatusOK); v["status"] != "signed_in" {
		t.Errorf("after the reset it is %v", v)
	}
}

// TestADeviceOfOneAccountIsNoneOfAnother takes a browser that is known to an account to
// another one.
func TestADeviceOfOneAccountIsNoneOfAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada, mallory := w.person("ada", w.one, "developer"), w.person("mallory", w.one, "developer")
	m := w.browser()
	m.signsIn(mallory)
	for range 5 {
		m.tries(ada.email, "wrong").want(http.StatusUnauthorized)
	}
	m.tries(ada.email, "wrong").want(http.StatusTooManyRequests)
	m.signsIn(mallory)
}

func TestAnOfficeBehindOneAddressSignsIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 40 {
		w.browser().signsIn(w.person(fmt.Sprintf("p%d", i), w.one, "developer"))
	}
}

func TestAskingForLinksIsSlowedDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.browser()
	for range 3 {
		m.post("/v1/password/forgot", object{"email": "ada@example.com"}).want(http.StatusAccepted)
	}
	m.post("/v1/password/forgot", object{"email": "ada@example.com"}).want(http.StatusTooManyRequests)
	for i := range 17 {
		m.post("/v1/password/forgot", object{"email": fmt.Sprintf("p%d@example.com", i)}).want(http.StatusAccepted)
	}
	m.post("/v1/password/forgot", object{"email": "bob@example.com"}).want(http.StatusTooManyRequests)
}

func TestAskingForPasskeysIsSlowedDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.browser()
	status := 0
	for range 200 {
		if status = b.post("/v1/sign-in/passkey/options", object{}).status; status != http.StatusOK {
			break
		}
	}
	if status != http.StatusTooManyRequests {
		t.Errorf("after two hundred at once: %d", status)
	}
	if other := b.at("203.0.113.9").post("/v1/sign-in/passkey/options", object{}); other.status != http.StatusOK {
		t.Errorf("from another network: %d", other.status)
	}
}

// TestRefusalsFillNoTable tries addresses of nobody from one network.
func TestRefusalsFillNoTable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.browser()
	for i := range 300 {
		m.tries(fmt.Sprintf("nobody%d@example.com", i), "wrong")
	}
	if n := w.scalar(`SELECT count(*) FROM accounts.throttles`); n != "61" {
		t.Errorf("300 attempts, of which 30 were let through, leave %s rows; want 61", n)
	}
}

// TestSigningInWithoutEnd signs in by a script that keeps no cookie: it is held up, fills
// nothing, and buries no mail.
func TestSigningInWithoutEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada, bob := w.person("ada", w.one, "developer"), w.person("bob", w.one, "developer")
	own := w.browser()
	own.signsIn(ada)
	for i := range 59 {
		w.browser().at(fmt.Sprintf("203.0.113.%d", i)).signsIn(ada)
	}
	refused := w.browser().tries(ada.email, secret)
	refused.want(http.StatusTooManyRequests)
	if got := refused.header.Get("Retry-After"); got != "30" {
		t.Errorf("Retry-After is %q", got)
	}
	own.tries(ada.email, secret).want(http.StatusTooManyRequests)
	w.browser().signsIn(bob)
	if n := len(w.mailed(ada.email, "New sign-in to your account")); n != 3 {
		t.Errorf("%d mails tell of new devices; want 3 an hour", n)
	}
	if n := w.scalar(`SELECT count(*) FROM accounts.known_devices`); n != "42" { // bob's are two
		t.Errorf("%s devices are known; want ada's twenty by each of two names, and bob's", n)
	}
	w.advance(time.Hour)
	w.browser().signsIn(ada)
	if n := len(w.mailed(ada.email, "New sign-in to your account")); n != 4 {
		t.Errorf("an hour later there are %d mails", n)
	}
}
