package oauth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"sync"
	"time"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
)

// The life of a signing key: it is published, then signs, then stays published until
// nothing that it has signed is good any more.
const (
	// KeyPeriod is how long a key signs.
	KeyPeriod = 30 * 24 * time.Hour
	// KeyLead is how long it is published before: longer than anybody keeps a key set.
	KeyLead = 24 * time.Hour
	// keyKept is how long it is published after.
	keyKept = AccessLifetime + time.Hour
)

const (
	keysCached = time.Minute // a set of keys is used for so long
	keysAgain  = time.Second // unknown keys make us look no more often
)

// Key signs tokens: ECDSA on P-256, "ES256".
type Key struct {
	KID       string
	Public    *ecdsa.PublicKey
	Sealed    string // the private half: PKCS #8 in base 64, sealed for the KID
	CreatedAt time.Time
	SignsAt   time.Time
	EndsAt    time.Time // zero: it has no successor yet
}

// KeyStore keeps signing keys.
type KeyStore interface {
	// Keys returns all keys, the one that signs last first. Sealed is empty where the
	// caller only verifies.
	Keys(ctx context.Context) ([]Key, error)
	// AddKey stores what next makes of the keys that there are, and gives those before it
	// their end. Of several that add at once, one sees none of the others' work undone:
	// they come one after the other. next may return nil, to add nothing.
	AddKey(ctx context.Context, next func([]Key) (*Key, error)) error
}

// Sealer seals private keys: [secrets.Box].
type Sealer interface {
	Seal(plain, context string) (string, error)
	Open(sealed, context string) (string, error)
}

// Keyring has the platform's signing keys at hand.
type Keyring struct {
	store KeyStore
	seal  Sealer // nil where it only verifies
	now   func() time.Time

	mu      sync.Mutex
	keys    []Key
	private map[string]*ecdsa.PrivateKey
	readAt  time.Time
}

// NewKeyring makes a keyring. Without a sealer it can't sign.
func NewKeyring(store KeyStore, seal Sealer, now func() time.Time) *Keyring {
	return &Keyring{store: store, seal: seal, now: now, private: map[string]*ecdsa.PrivateKey{}}
}

// read returns the keys, not older than asked for.
func (r *Keyring) read(ctx context.Context, age time.Duration) ([]Key, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if r.keys != nil && now.Sub(r.readAt) < age {
		return r.keys, nil
	}
	keys, err := r.store.Keys(ctx)
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, "read signing keys", err).After(time.Second)
	}
	r.keys, r.readAt = keys, now
	return keys, nil
}

// Verifying returns the key of an id; NotFound where it is none of ours.
func (r *Keyring) Verifying(ctx context.Context, kid string) (*ecdsa.PublicKey, error) {
	for _, age := range []time.Duration{keysCached, keysAgain} {
		keys, err := r.read(ctx, age)
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			if k.KID == kid && (k.EndsAt.IsZero() || r.now().Before(k.EndsAt)) {
				return k.Public, nil
			}
		}
	}
	return nil, fault.New(fault.NotFound, "there is no such key")
}

// Published returns the keys that tokens may be signed with, now and soon.
func (r *Keyring) Published(ctx context.Context) ([]Key, error) {
	keys, err := r.read(ctx, keysCached)
	if err != nil {
		return nil, err
	}
	var out []Key
	for _, k := range keys {
		if k.EndsAt.IsZero() || r.now().Before(k.EndsAt) {
			out = append(out, k)
		}
	}
	return out, nil
}

// Signing returns the key that signs now. The first process that ever asks makes it.
func (r *Keyring) Signing(ctx context.Context) (kid string, key *ecdsa.PrivateKey, err error) {
	for _, age := range []time.Duration{keysCached, 0} {
		keys, err := r.read(ctx, age)
		if err != nil {
			return "", nil, err
		}
		if k, ok := signer(keys, r.now()); ok {
			key, err := r.open(k)
			return k.KID, key, err
		}
		if _, err := r.Rotate(ctx); err != nil {
			return "", nil, err
		}
	}
	return "", nil, fault.Wrap(fault.Internal, "find signing key", fmt.Errorf("none signs at %s", r.now()))
}

// signer is the youngest of the keys whose time has come.
func signer(keys []Key, now time.Time) (best Key, ok bool) {
	for _, k := range keys {
		if !k.SignsAt.After(now) && (!ok || k.SignsAt.After(best.SignsAt)) {
			best, ok = k, true
		}
	}
	return best, ok
}

func (r *Keyring) open(k Key) (*ecdsa.PrivateKey, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if key, ok := r.private[k.KID]; ok {
		return key, nil
	}
	if r.seal == nil {
		return nil, fault.New(fault.Internal, "this process does not sign")
	}
	plain, err := r.seal.Open(k.Sealed, sealedFor(k.KID))
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "open signing key "+k.KID, err)
	}
	der, err := base64.StdEncoding.DecodeString(plain)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "decode signing key "+k.KID, err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "read signing key "+k.KID, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(k.Public) {
		return nil, fault.New(fault.Internal, "signing key %s is not the one that is published", k.KID)
	}
	r.private[k.KID] = key
	return key, nil
}

func sealedFor(kid string) string { return "oauth key " + kid }

// Rotate is the job that makes the next key in time. It counts those it made.
func (r *Keyring) Rotate(ctx context.Context) (function.Counts, error) {
	made := false
	err := r.store.AddKey(ctx, func(keys []Key) (*Key, error) {
		signsAt, due := NextKey(keys, r.now())
		if !due {
			return nil, nil //nolint:nilnil // the port's way to add nothing
		}
		k, err := r.fresh(signsAt)
		made = err == nil
		return k, err
	})
	if err != nil || !made {
		return nil, err
	}
	_, err = r.read(ctx, 0)
	return function.Counts{"keys": 1}, err
}

// NextKey says whether another key is due, and from when it signs: the first at once,
// others after their lead.
func NextKey(keys []Key, now time.Time) (signsAt time.Time, due bool) {
	var last time.Time
	for _, k := range keys {
		if k.SignsAt.After(last) {
			last = k.SignsAt
		}
	}
	switch {
	case last.IsZero():
		return now, true
	case now.Before(last.Add(KeyPeriod - KeyLead)):
		return time.Time{}, false
	}
	return now.Add(KeyLead), true
}

// KeyEnds is until when a key is published whose successor signs from a time.
func KeyEnds(successor time.Time) time.Time { return successor.Add(keyKept) }

func (r *Keyring) fresh(signsAt time.Time) (*Key, error) {
	if r.seal == nil {
		return nil, fault.New(fault.Internal, "this process does not sign")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "make signing key", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "encode signing key", err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "encode public key", err)
	}
	sum := sha256.Sum256(public)
	kid := base64.RawURLEncoding.EncodeToString(sum[:16])
	sealed, err := r.seal.Seal(base64.StdEncoding.EncodeToString(der), sealedFor(kid))
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "seal signing key", err)
	}
	return &Key{KID: kid, Public: &key.PublicKey, Sealed: sealed, CreatedAt: r.now(), SignsAt: signsAt}, nil
}
