package audit

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// SeedSize is the length of a signing key's seed in bytes.
const SeedSize = ed25519.SeedSize

// PublicKey checks what a [Signer] has signed.
type PublicKey struct {
	ID  string // follows from the key
	Key ed25519.PublicKey
}

// NewPublicKey makes the public key of its bytes.
func NewPublicKey(raw []byte) (PublicKey, error) {
	if len(raw) != ed25519.PublicKeySize {
		return PublicKey{}, fmt.Errorf("a public key has %d bytes, not %d", ed25519.PublicKeySize, len(raw))
	}
	sum := sha256.Sum256(raw)
	return PublicKey{ID: hex.EncodeToString(sum[:8]), Key: raw}, nil
}

// ParsePublicKey reads a public key in base64.
func ParsePublicKey(text string) (PublicKey, error) {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return PublicKey{}, errors.New("a public key is written in base64")
	}
	return NewPublicKey(raw)
}

// String is the key in base64.
func (k PublicKey) String() string { return base64.StdEncoding.EncodeToString(k.Key) }

// Ring is the public keys by their ids: the one that signs, and those that signed
// before it.
type Ring map[string]PublicKey

// NewRing makes a ring.
func NewRing(keys ...PublicKey) Ring {
	r := Ring{}
	for _, k := range keys {
		r[k.ID] = k
	}
	return r
}

func (r Ring) verify(keyID string, text, signature []byte) bool {
	k, ok := r[keyID]
	return ok && ed25519.Verify(k.Key, text, signature)
}

// Signer signs with Ed25519. The zero value is not usable.
type Signer struct {
	key    ed25519.PrivateKey
	public PublicKey
}

// NewSigner makes a signer of a seed of SeedSize bytes.
func NewSigner(seed []byte) (*Signer, error) {
	if len(seed) != SeedSize {
		return nil, fmt.Errorf("the audit key must have %d bytes", SeedSize)
	}
	key := ed25519.NewKeyFromSeed(seed)
	public, err := NewPublicKey(key[ed25519.SeedSize:])
	if err != nil {
		return nil, err
	}
	return &Signer{key: key, public: public}, nil
}

// Public is the key that checks the signatures.
func (s *Signer) Public() PublicKey { return s.public }

func (s *Signer) sign(text []byte) []byte { return ed25519.Sign(s.key, text) }
