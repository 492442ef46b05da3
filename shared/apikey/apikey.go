// Package apikey owns API keys: their form, their creation and revocation, and
// the resolver that tells on every request whose key it is.
//
// A key is a prefix that names its environment, 256 random bits in base 62 and a
// checksum, so that a mistyped or invented key costs no look-up and scanners can
// find leaked ones:
//
//	aiaas_live_<43 characters><6 characters of CRC-32>
//
// Only its SHA-256 is stored. 256 random bits need no slow hash.
package apikey

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"hash/crc32"
	"math/big"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/fault"
)

// Environment is what a key is for.
type Environment string

// The environments.
const (
	Production  Environment = "production"
	Development Environment = "development"
)

// RotateAfter is how long a secret of the environment lives before it is due to be
// changed.
func (e Environment) RotateAfter() time.Duration {
	const day = 24 * time.Hour
	if e == Development {
		return 180 * day
	}
	return 90 * day
}

// Kind says who a key acts for.
type Kind string

// The kinds.
const (
	PersonalKey Kind = "personal" // a member
	ServiceKey  Kind = "service"  // a program: a service account
)

const (
	livePrefix  = "aiaas_live_"
	devPrefix   = "aiaas_dev_"
	randomLen   = 43 // 256 bits in base 62
	checksumLen = ChecksumLen
	alphabet    = Alphabet
)

// What secret scanners need to tell keys from look-alikes.
const (
	ChecksumLen = 6 // 32 bits in base 62
	// Alphabet are the digits of base 62.
	Alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// Prefix is what keys of the environment begin with.
func (e Environment) Prefix() string {
	if e == Development {
		return devPrefix
	}
	return livePrefix
}

// Example is a text in the form of a key, with a right checksum: what would be one if
// 256 random bits were all zero.
func Example() Secret {
	body := livePrefix + strings.Repeat(alphabet[:1], randomLen)
	return Secret{text: body + checksum(body)}
}

// MaxLen is longer than any key; longer input is refused before any work.
const MaxLen = 128

// Pattern is a regular expression that finds keys, for secret scanners.
const Pattern = `aiaas_(live|dev)_[0-9A-Za-z]{49}`

// Secret is the key itself. It prints as its fingerprint, so that it does not
// end up in a log by accident; use Reveal to get the text.
type Secret struct{ text string }

// Hash is the SHA-256 of a key, its identity in store and cache.
type Hash [sha256.Size]byte

// NewSecret makes a key from 256 random bits.
func NewSecret(env Environment) Secret {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails: it ends the process instead
	body := env.Prefix() + base62(new(big.Int).SetBytes(raw), randomLen)
	return Secret{text: body + checksum(body)}
}

// Parse reads a key and checks its form and checksum; any other text is
// Unauthenticated, without a hint why.
func Parse(s string) (Secret, error) {
	rest, ok := strings.CutPrefix(s, livePrefix)
	if !ok {
		rest, ok = strings.CutPrefix(s, devPrefix)
	}
	if !ok || len(rest) != randomLen+checksumLen {
		return Secret{}, ErrUnauthenticated()
	}
	if cut := len(s) - checksumLen; checksum(s[:cut]) != s[cut:] {
		return Secret{}, ErrUnauthenticated()
	}
	return Secret{text: s}, nil
}

// ErrUnauthenticated is the one answer to every key that is not good, whatever
// the reason.
func ErrUnauthenticated() error {
	return fault.New(fault.Unauthenticated, "The API key is missing or not valid. Send it as \"Authorization: Bearer …\" or \"X-API-Key: …\".")
}

// Reveal returns the key's text, to show it once.
func (s Secret) Reveal() string { return s.text }

// Hash returns the key's SHA-256.
func (s Secret) Hash() Hash { return sha256.Sum256([]byte(s.text)) }

// Fingerprint names the key without giving it away: its prefix and the first 48
// bits of its hash.
func (s Secret) Fingerprint() string {
	h := s.Hash()
	prefix := livePrefix
	if strings.HasPrefix(s.text, devPrefix) {
		prefix = devPrefix
	}
	return prefix + hex.EncodeToString(h[:6])
}

// String is the fingerprint.
func (s Secret) String() string { return s.Fingerprint() }

// checksum is computed on every request, so it does without big numbers.
func checksum(body string) string {
	sum := crc32.ChecksumIEEE([]byte(body))
	var out [checksumLen]byte
	for i := checksumLen - 1; i >= 0; i-- {
		out[i] = alphabet[sum%uint32(len(alphabet))]
		sum /= uint32(len(alphabet))
	}
	return string(out[:])
}

// base62 writes n with a fixed number of digits.
func base62(n *big.Int, digits int) string {
	out := make([]byte, digits)
	base, rem := big.NewInt(int64(len(alphabet))), new(big.Int)
	for i := digits - 1; i >= 0; i-- {
		n.DivMod(n, base, rem)
		out[i] = alphabet[rem.Int64()]
	}
	return string(out)
}
