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
