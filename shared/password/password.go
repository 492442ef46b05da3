// Package password decides which passwords are good enough, and keeps what is needed
// to recognise them: Argon2id hashes in the PHC string format.
//
// It owns the cost of a hash, the bound on how many are computed at once, and the
// rules for new passwords. It stores nothing and knows nobody.
//
// The cost is m = 32 MiB, t = 2, p = 1: OWASP's least for two passes is 19 MiB
// (Password Storage Cheat Sheet, "Argon2id"). More memory rather than more passes is
// what makes guessing on graphics cards dear; one lane, because a server spreads over
// its cores by requests. Hashes of another cost are still recognised, and told apart,
// so that a sign-in can renew them.
package password

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/alexedwards/argon2id"
	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"github.com/aiaas/aiaas/shared/fault"
)

// Cost is what one hash takes.
type Cost struct {
	MemoryKiB uint32
	Passes    uint32
	Lanes     uint8
}

// Standard is the cost of new hashes.
func Standard() Cost { return Cost{MemoryKiB: 32 << 10, Passes: 2, Lanes: 1} }

const (
	saltLength = 16
	keyLength  = 32
	// dearest bounds the memory of a hash that is checked, whatever its text says.
	dearest = 256 << 10
)

// patience is how long a hash waits for its turn. Who waits longer has most likely
// left, and would only make others wait.
const patience = 10 * time.Second

// litter is how many KiB of hashes that are done may lie about until they are collected.
// The collector alone would wait for a multiple of what is in use while they are
// computed, which is much more than all else that the process has.
const litter = 64 << 10

// Hasher makes and checks hashes, a few at once: each takes the memory of its cost,
// so that as many as there are sign-ins would take all there is.
type Hasher struct {
	params *argon2id.Params
	turns  *turns
	nobody string
	used   atomic.Int64 // KiB since the last collection
}

// NewHasher makes a hasher that computes at most atOnce hashes at the same time.
// More than there are processors only cost memory.
func NewHasher(c Cost, atOnce int) *Hasher {
	h := &Hasher{
		params: &argon2id.Params{
			Memory: c.MemoryKiB, Iterations: c.Passes, Parallelism: c.Lanes, SaltLength: saltLength, KeyLength: keyLength,
		},
		turns: newTurns(max(1, atOnce)),
	}
	h.nobody = h.unmatchable()
	return h
}

// unmatchable is a hash of the hasher's cost that no password has: its key is random.
func (h *Hasher) unmatchable() string {
	random := make([]byte, saltLength+keyLength)
	_, _ = rand.Read(random) // never fails: the process ends where there is no randomness
	text := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.params.Memory, h.params.Iterations, h.params.Parallelism,
		text(random[:saltLength]), text(random[saltLength:]))
}

// Hash returns the PHC string of a password that somebody sets, who has shown the right
// to: he is no stranger. Unavailable where its turn does not come in time.
func (h *Hasher) Hash(ctx context.Context, text string) (phc string, err error) {
	if err := h.turn(ctx, Known); err != nil {
		return "", err
	}
	defer h.done(h.params.Memory)
	phc, err = argon2id.CreateHash(norm.NFC.String(text), h.params)
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	return phc, nil
}

// Verify tells whether a password is that of the PHC string, and whether its hash
// should be made anew, for it is of another cost. An empty string is nobody's: the
// same work is done, and the answer is no: that of a new hash. One of another cost takes
// another time until it is renewed; so after the cost was changed, an address can be told
// by it from one of nobody until its owner has signed in once. Unavailable where its turn
// does not come in time, or too many wait in the line already.
func (h *Hasher) Verify(ctx context.Context, line Line, phc, text string) (ok, renew bool, err error) {
	known := phc != "" && len(text) <= MaxBytes
	if !known {
		phc = h.nobody
	}
	params, _, _, err := argon2id.DecodeHash(phc)
	switch {
	case err != nil:
		return false, false, fmt.Errorf("read password hash: %w", err)
	case params.Memory > dearest || params.Iterations > dearest || params.KeyLength < keyLength/2:
		return false, false, errStrange
	}
	if err := h.turn(ctx, line); err != nil {
		return false, false, err
	}
	defer h.done(params.Memory)
	ok, params, err = argon2id.CheckHash(norm.NFC.String(text), phc)
	if err != nil {
		return false, false, fmt.Errorf("check password: %w", err)
	}
	ok = ok && known
	return ok, ok && *params != *h.params, nil
}

var errStrange = errors.New("read password hash: its cost is out of bounds")

// turn waits until one more hash may be computed.
func (h *Hasher) turn(ctx context.Context, line Line) error {
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := h.turns.take(waiting, line)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("wait to hash a password: %w", ctx.Err())
	}
	return fault.Wrap(fault.Unavailable, "wait to hash a password", err).After(time.Second)
}

// done ends a turn, after so much memory was used. It collects before the next begins.
func (h *Hasher) done(memoryKiB uint32) {
	defer h.turns.done()
	if h.used.Add(int64(memoryKiB)) >= litter {
		h.used.Store(0)
		runtime.GC()
	}
}
