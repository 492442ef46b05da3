package apikey_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/fault"
)

func TestAReportedKeyIsRevoked(t *testing.T) {
	for name, change := range map[string]func(*apikey.Key){
		"one that works":        func(*apikey.Key) {},
		"one that is suspended": suspended,
		"an owner's":            func(k *apikey.Key) { k.OwnerID = ownerID },
	} {
		b := newBook()
		keyID, secret := b.put(devID, change)
		report := apikey.Leak{Key: secret.Reveal(), Source: "https://example.com/commit/1", Address: "192.0.2.7"}
		if err := b.service().RevokeLeaked(t.Context(), report); err != nil {
			t.Fatal(err)
		}
		if got := b.keys[keyID].State(noon()); got != apikey.Revoked || b.bumps != 1 || len(b.audit) != 1 {
			t.Fatalf("%s is %s, %d bumps, %d audited", name, got, b.bumps, len(b.audit))
		}
		rec := b.audit[0]
		if rec.OrgID != "org_1" || rec.Action != "key.revoke_leaked" || rec.Target != keyID || rec.Address != "192.0.2.7" ||
			rec.Detail["source"] != report.Source || rec.Detail["fingerprint"] != secret.Fingerprint() {
			t.Errorf("%s: audited %+v", name, rec)
		}
		if strings.Contains(fmt.Sprint(rec), secret.Reveal()) {
			t.Errorf("%s: the audit has the key", name)
		}
		if err := b.service().RevokeLeaked(t.Context(), report); err != nil || len(b.audit) != 1 {
			t.Errorf("%s, again: %v, %d audited", name, err, len(b.audit))
		}
	}
}

// The answer does not tell a key from what is none.
func TestReportsOfWhatIsNoKey(t *testing.T) {
	b := newBook()
	_, secret := b.put(devID)
	text := secret.Reveal()
	for name, key := range map[string]string{
		"unknown": apikey.NewSecret(apikey.Production).Reveal(), "mistyped": text[:len(text)-1] + "!", "nothing": "", "long": strings.Repeat("x", 4096),
		"the example": apikey.Example().Reveal(), "with a blank": text + " ",
	} {
		if err := b.service().RevokeLeaked(t.Context(), apikey.Leak{Key: key, Address: "192.0.2.7"}); err != nil {
			t.Errorf("%s: %v; want the one answer", name, err)
		}
	}
	if len(b.audit) != 0 || b.bumps != 0 {
		t.Errorf("%d audited, %d bumps", len(b.audit), b.bumps)
	}
	b.err = errors.New("connection refused")
	if err := b.service().RevokeLeaked(t.Context(), apikey.Leak{Key: text}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("when nobody knows: %v; want Unavailable", err)
	}
	if err := b.service().RevokeLeaked(t.Context(), apikey.Leak{Key: text, Source: "a\r\nb"}); !fault.Is(err, fault.Unprocessable) {
		t.Errorf("a source of two lines: %v", err)
	}
}

// A secret that was replaced, and works no more, proves nothing.
func TestAReportOfADeadSecret(t *testing.T) {
	for name, c := range map[string]struct {
		until time.Time
		ends  bool
	}{"in its overlap": {noon().Add(1), true}, "after it": {noon(), false}} {
		b := newBook()
		keyID, secret := b.put(devID)
		s := b.service()
		s.Finder = &overlapping{b, c.until}
		if err := s.RevokeLeaked(t.Context(), apikey.Leak{Key: secret.Reveal()}); err != nil {
			t.Fatal(err)
		}
		if ends := b.keys[keyID].State(noon()) == apikey.Revoked; ends != c.ends {
			t.Errorf("%s: the key ends: %v; want %v", name, ends, c.ends)
		}
	}
}

// overlapping finds keys by a secret that was replaced.
type overlapping struct {
	*book
	until time.Time
}

func (o *overlapping) FindKey(ctx context.Context, h apikey.Hash) (*apikey.Record, error) {
	r, err := o.book.FindKey(ctx, h)
	if err == nil {
		r.SecretUntil = o.until
	}
	return r, err
}

func TestReportsAreBoundedByAddress(t *testing.T) {
	b := newBook()
	s := b.service()
	report := func(address string) error {
		return s.RevokeLeaked(t.Context(), apikey.Leak{Key: "x", Address: address})
	}
	for i := range 60 {
		if err := report("192.0.2.7"); err != nil {
			t.Fatalf("report %d: %v", i, err)
		}
		if err := report(fmt.Sprintf("2001:db8::%x", i)); err != nil { // one subscriber's
			t.Fatalf("report %d: %v", i, err)
		}
	}
	for address, more := range map[string]bool{"192.0.2.7": false, "2001:db8::ffff": false, "192.0.2.8": true, "2001:db8:0:1::1": true} {
		err := report(address)
		if more != (err == nil) || err != nil && (!fault.Is(err, fault.RateLimited) || fault.From(err).RetryAfter != time.Minute) {
			t.Errorf("%s: %v; want another: %v", address, err, more)
		}
	}
	_, secret := b.put(devID)
	if err := s.RevokeLeaked(t.Context(), apikey.Leak{Key: secret.Reveal(), Address: "192.0.2.7"}); !fault.Is(err, fault.RateLimited) || len(b.audit) != 0 {
		t.Errorf("a good key past the bound: %v; want the same answer as for others", err)
	}
	b.clock = b.clock.Add(time.Minute)
	if err := report("192.0.2.7"); err != nil {
		t.Errorf("a minute later: %v", err)
	}
}

// However many addresses report, what is remembered of them is bounded, and who
// comes late shares a turn.
func TestReportsFromManyAddresses(t *testing.T) {
	s := newBook().service()
	refused := 0
	for i := range 10_000 + 200 {
		address := fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)
		if err := s.RevokeLeaked(t.Context(), apikey.Leak{Key: "x", Address: address}); err != nil {
			refused++
		}
	}
	if refused != 200-60 {
		t.Errorf("%d refused; want all but 60 of those past 10,000", refused)
	}
}

func TestTheExampleForScanners(t *testing.T) {
	text := apikey.Example().Reveal()
	if !regexp.MustCompile(`^` + apikey.Pattern + `$`).MatchString(text) {
		t.Errorf("%s does not match", text)
	}
	if _, err := apikey.Parse(text); err != nil {
		t.Errorf("%s: %v; want a right checksum", text, err)
	}
	if text != apikey.Example().Reveal() {
		t.Error("it changes")
	}
}
