package oauth_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/oauth"
)

// shelf keeps keys in memory, and counts how often they are read.
type shelf struct {
	mu    sync.Mutex
	keys  []oauth.Key
	reads int
	down  error
}

func (s *shelf) Keys(context.Context) ([]oauth.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	return append([]oauth.Key{}, s.keys...), s.down
}

func (s *shelf) AddKey(_ context.Context, next func([]oauth.Key) (*oauth.Key, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := next(s.keys)
	if err != nil || k == nil {
		return err
	}
	for i := range s.keys {
		if s.keys[i].EndsAt.IsZero() {
			s.keys[i].EndsAt = oauth.KeyEnds(k.SignsAt)
		}
	}
	s.keys = append([]oauth.Key{*k}, s.keys...)
	return s.down
}

// box binds what it seals to its context.
type box struct{}

func (box) Seal(plain, context string) (string, error) { return context + "|" + plain, nil }

func (box) Open(sealed, context string) (string, error) {
	if len(sealed) <= len(context) || sealed[:len(context)+1] != context+"|" {
		return "", errors.New("sealed for another")
	}
	return sealed[len(context)+1:], nil
}

// The whole life of a key, as the tokens of each day see it.
func TestAKeyIsKnownBeforeItSignsAndAfter(t *testing.T) {
	s := &shelf{}
	now := time.Date(2026, 10, 12, 12, 0, 0, 0, time.UTC)
	ring := oauth.NewKeyring(s, box{}, func() time.Time { return now })
	verifier := oauth.NewKeyring(s, nil, func() time.Time { return now })
	signed := map[string]time.Time{} // until when tokens by a key are good
	for day := range 100 {
		kid, key, err := ring.Signing(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		signed[kid] = now.Add(oauth.AccessLifetime)
		if public, err := verifier.Verifying(t.Context(), kid); err != nil || !public.Equal(&key.PublicKey) {
			t.Errorf("day %d: a token of today is not verified: %v", day, err)
		}
		now = now.Add(oauth.AccessLifetime - time.Second)
		if _, err := ring.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		for kid, until := range signed {
			if _, err := verifier.Verifying(t.Context(), kid); now.Before(until) && err != nil {
				t.Errorf("day %d: a token that is good for %s yet: %v", day, until.Sub(now), err)
			}
		}
		now = now.Add(24*time.Hour - oauth.AccessLifetime + time.Second)
	}
	if len(signed) != 4 {
		t.Errorf("%d keys signed in a hundred days; want four", len(signed))
	}
	published, err := ring.Published(t.Context())
	if err != nil || len(published) > 2 {
		t.Errorf("%d keys are published, %v", len(published), err)
	}
}

func TestInventedKeysAreLookedForOnceASecond(t *testing.T) {
	s := &shelf{}
	now := time.Date(2026, 10, 12, 12, 0, 0, 0, time.UTC)
	ring := oauth.NewKeyring(s, box{}, func() time.Time { return now })
	for range 100 {
		if _, err := ring.Verifying(t.Context(), "invented"); !fault.Is(err, fault.NotFound) {
			t.Fatal(err)
		}
	}
	if s.reads != 1 {
		t.Errorf("read %d times", s.reads)
	}
	now = now.Add(time.Second)
	_, _ = ring.Verifying(t.Context(), "invented")
	if s.reads != 2 {
		t.Errorf("read %d times, a second later", s.reads)
	}
	now, s.down = now.Add(time.Hour), errors.New("down")
	if _, err := ring.Verifying(t.Context(), "invented"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("while the keys can't be read: %v", err)
	}
}

func TestAKeyThatWasPutInTheOthersPlaceDoesNotSign(t *testing.T) {
	now := time.Date(2026, 10, 12, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	one, two := &shelf{}, &shelf{}
	for _, s := range []*shelf{one, two} {
		if _, _, err := oauth.NewKeyring(s, box{}, clock).Signing(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for name, change := range map[string]func(*oauth.Key){
		"sealed for another id": func(k *oauth.Key) { k.Sealed = two.keys[0].Sealed },
		"another public half":   func(k *oauth.Key) { k.Public = two.keys[0].Public },
	} {
		k := one.keys[0]
		change(&k)
		if _, _, err := oauth.NewKeyring(&shelf{keys: []oauth.Key{k}}, box{}, clock).Signing(t.Context()); err == nil {
			t.Errorf("%s: it signs", name)
		}
	}
	if _, _, err := oauth.NewKeyring(one, nil, clock).Signing(t.Context()); err == nil {
		t.Error("who only verifies signs")
	}
	if _, _, err := oauth.NewKeyring(&shelf{}, nil, clock).Signing(t.Context()); err == nil {
		t.Error("who only verifies makes a key")
	}
}
