// Package throttle slows down who guesses passwords, codes and links, and keeps that
// from locking anybody else out.
//
// It owns how many attempts there are, and what counts as one and the same guesser.
// Each attempt takes one from three buckets at once, or from none: that of the account
// tried from this network, that of the network, and that of the account for everybody
// who is a stranger to it. (One from IPv6 takes from a fourth, that of a site: whoever
// has one has many networks.) Who guesses at one account from many networks empties the
// last one, which would lock its owner out as well; therefore a device that has signed
// in to the account before is no stranger, and has a bucket of its own in the place of
// all of them ("device cookies", OWASP). What is taken is given back when the attempt
// succeeds, so an office behind one address does not run dry in the morning.
//
// Whether the account exists plays no part: it is a hash of the text that was typed.
// Buckets are refilled evenly (GCRA) and kept in the database, for there are several
// processes.
package throttle

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"time"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
)

// Kind is what is tried.
type Kind string

// The kinds.
const (
	Password Kind = "password" // to sign in by, or to prove oneself again
	Factor   Kind = "factor"   // a second factor, by who has the first
	Forgot   Kind = "forgot"   // asking for a link by mail
	Link     Kind = "link"     // using a link, or a token that came by mail
	SignOn   Kind = "sign_on"  // beginning a sign-in at an issuer
	Passkey  Kind = "passkey"  // asking for a passkey before anybody is known
	Waiting  Kind = "waiting"  // letting a device wait for a person
	Entry    Kind = "entry"    // coming in, by who has proved himself
	Notice   Kind = "notice"   // a mail to the person that says that he came in
)

// Keys are what an attempt is counted by.
type Keys struct {
	Account string // whom it is about, as typed: an e-mail address; "" where nobody is named
	Address string // where it comes from: an IP address
	Device  string // what the browser was given when it signed in before; "" for nothing
}

// Bucket is what a kind of attempt takes from.
type Bucket struct {
	ID    [sha256.Size]byte
	Burst int           // attempts at once
	Every time.Duration // until there is one more
}

// Crowd is with whom an attempt waits to be counted. It says nothing of the account.
type Crowd int

// The crowds.
const (
	Bare    Crowd = iota // shows no device
	Showing              // shows a device: one that is known, or invented
	Proved               // has proved himself: waits with nobody
)

// Attempt is what the store decides on.
type Attempt struct {
	Crowd           Crowd
	Account, Device [sha256.Size]byte
	Own             Bucket   // of a device that the account knows
	Strangers       []Bucket // of all others
}

// Store keeps buckets and devices, for all processes.
type Store interface {
	// Take takes one from the bucket that is the device's own where the account knows the
	// device, else one from each of the others; from none where one of them is empty. It
	// tells whether the account knows the device, and how long it lasts, zero where it
	// took. What is refused leaves nothing behind.
	Take(ctx context.Context, a Attempt, now time.Time) (known bool, wait time.Duration, err error)
	// GiveBack puts back what Take took.
	GiveBack(ctx context.Context, a Attempt, now time.Time) error
	// Remember makes a device known to some names of one account: the presented one stays
	// where it is, else the fresh one is added, and those seen longest ago are forgotten
	// where a name knows more than most. It tells whether the first name knew the presented
	// one, and whether it knew any.
	Remember(ctx context.Context, accounts [][sha256.Size]byte, presented, fresh [sha256.Size]byte, most int, now time.Time) (known, some bool, err error)
	// Prune forgets buckets that are full, and devices that were not seen since a time; at
	// most limit of each.
	Prune(ctx context.Context, now, unseen time.Time, limit int) (int, error)
}

// Throttle counts attempts.
type Throttle struct {
	Store Store
	Now   func() time.Time
}

// Take lets an attempt through, or returns RateLimited with the time after which
// there may be another.
func (t *Throttle) Take(ctx context.Context, kind Kind, k Keys) error {
	_, err := t.Admit(ctx, kind, k)
	return err
}

// Admit is [Throttle.Take], and tells whether the account knows the device.
func (t *Throttle) Admit(ctx context.Context, kind Kind, k Keys) (known bool, err error) {
	known, wait, err := t.Store.Take(ctx, attempt(kind, k), t.Now())
	switch {
	case err != nil:
		return false, err
	case wait > 0:
		return false, fault.New(fault.RateLimited, "too many attempts; try again later").After(wait)
	}
	return known, nil
}

// Succeeded gives back what an attempt took: it was no guess. The device must not have
// become known meanwhile.
func (t *Throttle) Succeeded(ctx context.Context, kind Kind, k Keys) error {
	return t.Store.GiveBack(ctx, attempt(kind, k), t.Now())
}

// Device is what a browser is known by.
type Device struct {
	Token string // for its cookie
	New   bool   // the account did not know it
	First bool   // the account knew none
}

// Remember makes a device known to the account that was signed in to with it, by all
// the names that attempts at it are counted by. One that is known keeps its token; any
// other gets a new one, so that nobody can have it who planted it.
func (t *Throttle) Remember(ctx context.Context, device string, accounts ...string) (Device, error) {
	ids := make([][sha256.Size]byte, len(accounts))
	for i, name := range accounts {
		ids[i] = hash("account", account(name))
	}
	fresh := rand.Text() + rand.Text() // 260 bits
	known, some, err := t.Store.Remember(ctx, ids, hash("device", device), hash("device", fresh), mostDevices, t.Now())
	switch {
	case err != nil:
		return Device{}, err
	case known:
		return Device{Token: device}, nil
	}
	return Device{Token: fresh, New: true, First: !some}, nil
}

const (
	// unseenFor is how long a device is known that nobody signs in with.
	unseenFor  = 180 * 24 * time.Hour
	pruneBatch = 5000
	// mostDevices is how many devices an account knows: more than anybody has, and few
	// enough that signing in over and over fills nothing.
	mostDevices = 20
)

// Prune is the job that forgets what counts no more, all of it, batch by batch.
func (t *Throttle) Prune(ctx context.Context) (function.Counts, error) {
	now, total := t.Now(), 0
	for {
		n, err := t.Store.Prune(ctx, now, now.Add(-unseenFor), pruneBatch)
		total += n
		switch {
		case err == nil && n >= pruneBatch:
		case total == 0:
			return nil, err
		default:
			return function.Counts{"throttles": int64(total)}, err
		}
	}
}
