// Package idempotency makes a request that carries an idempotency key happen once:
// the same request again is answered from what was stored, and billed once.
//
// A request claims (organisation, API key, idempotency key) before anything is
// held for it. While it runs, the same key is refused; with another body it is
// refused always; once the request is recorded, its answer is kept for a day and
// given again. An answer that was not kept (too large, opted out, or broken off)
// is told by its request's id and cost instead of being made a second time. A
// request that came to nothing lets go of its claim, so that trying again helps.
//
// A claim whose process has died is free again only when no event of it was
// recorded. That is safe because a claim names the epoch of its process: one of an
// older epoch can't record any more, so its request can't be billed later. Claims
// of the own epoch are known to run or not to run in this very process. A request
// of this process whose outcome could not be stored may be recorded somewhere that
// can't be asked yet (a spool, a record that is tried again): its claim is never
// free, and is done as soon as its event is found.
//
// Nothing that is stored can be read without the caller's secrets: bodies are
// compared by a MAC, and answers sealed, under keys derived from the API key's
// text and the idempotency key, of which the database has neither.
package idempotency

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/money"
)

// TTL is how long a finished claim and its answer are kept.
const TTL = 24 * time.Hour

// MaxAnswer is the largest answer that is kept, in bytes.
const MaxAnswer = 1 << 20

// MaxKept is how many bytes of an organisation's answers one process keeps in an
// hour. What is beyond is not kept: it is told by its request's id and cost.
const MaxKept = 64 << 20

// MaxKey is the longest idempotency key, in bytes.
const MaxKey = 255

// Name addresses a claim. Key is the SHA-256 of the idempotency key.
type Name struct {
	OrgID    string
	APIKeyID string
	Key      [sha256.Size]byte
}

// Record is a claim as it is stored.
type Record struct {
	RequestID string // whose claim it is
	MAC       []byte // of endpoint and body
	Epoch     int64  // of the process that claimed
	Done      bool
	Cost      money.Nano // where it is done
	Currency  string
	Answer    []byte // sealed; nil where none is kept
	Stream    bool   // the answer is a stream of events
}

// Store keeps claims. Every method is one atomic step.
type Store interface {
	// Claim stores the record under a name that is free, and returns nil; else the
	// record that stands there. A finished one that is older than TTL is no more.
	Claim(ctx context.Context, n Name, r Record) (*Record, error)
	// Retake puts r in the place of the running claim of a request, and reports
	// whether it was still there.
	Retake(ctx context.Context, n Name, request string, r Record) (bool, error)
	// Finish marks the claim of r's request as done.
	Finish(ctx context.Context, n Name, r Record) error
	// Release removes the running claim of a request.
	Release(ctx context.Context, n Name, request string) error
}

// Settled is what a recorded request came to.
type Settled struct {
	Cost     money.Nano
	Currency string
}

// Events tells whether a request was recorded: booked, or waiting to be.
// fault.NotFound where it was not.
type Events interface {
	Recorded(ctx context.Context, org, requestID string) (Settled, error)
}

// Service claims.
type Service struct {
	Store   Store
	Events  Events
	Epoch   int64 // of this process
	Now     func() time.Time
	running running
	kept    kept
}

// Attempt is a request that carries an idempotency key.
type Attempt struct {
	OrgID     string
	APIKeyID  string
	Secret    string // the API key's text
	Key       string // the idempotency key
	RequestID string
	Endpoint  string
	Body      []byte
}

// Answer is a stored answer.
type Answer struct {
	RequestID string // of the request that it was made for
	Body      []byte
	Stream    bool
}

// Claim is the right to run a request. It ends with Finish or Release.
type Claim struct {
	s      *Service
	name   Name
	record Record
	seal   cipher.AEAD
}

// Begin claims the key: the caller runs the request and ends the claim. Where the
// request was answered before, it returns that answer and no claim. Conflict: it
// runs, or its answer was not kept; Unprocessable: the body is another.
func (s *Service) Begin(ctx context.Context, a Attempt) (*Claim, *Answer, error) {
	c, err := s.prepare(a)
	if err != nil {
		return nil, nil, fault.Wrap(fault.Internal, "derive keys", err)
	}
	s.running.set(a.RequestID, runs)
	answer, taken, err := s.claim(ctx, c)
	if !taken {
		s.running.remove(a.RequestID)
		return nil, answer, err
	}
	return c, nil, nil
}

// claim takes the name or says why not. A claim that looks orphaned is read once
// more: its request may have ended between the first look and the question whether
// it runs, and is removed from the running only after its outcome is stored.
func (s *Service) claim(ctx context.Context, c *Claim) (answer *Answer, taken bool, err error) {
	for again := false; ; again = true {
		have, err := s.Store.Claim(ctx, c.name, c.record)
		switch {
		case err != nil:
			return nil, false, unavailable("claim idempotency key", err)
		case have == nil:
			return nil, true, nil
		}
		answer, orphan, err := s.judge(ctx, c, have)
		switch {
		case !orphan:
			return answer, false, err
		case again:
			taken, err := s.retake(ctx, c, have)
			return nil, taken, err
		}
	}
}

// judge decides over a name that is not free. orphan: nobody runs the request.
func (s *Service) judge(ctx context.Context, c *Claim, have *Record) (answer *Answer, orphan bool, err error) {
	switch {
	case !hmac.Equal(have.MAC, c.record.MAC):
		return nil, false, fault.New(fault.Unprocessable, "this idempotency key was used for a request with another body").At("Idempotency-Key").
			With("original_request_id", have.RequestID)
	case have.Done && have.Answer != nil:
		answer, err := c.open(have)
		return answer, false, err
	case have.Done:
		return nil, false, settled(have.RequestID, Settled{Cost: have.Cost, Currency: have.Currency})
	case have.Epoch > s.Epoch:
		return nil, false, inProgress(have.RequestID)
	case have.Epoch < s.Epoch:
		return nil, true, nil
	}
	switch s.running.of(have.RequestID) {
	case runs:
		return nil, false, inProgress(have.RequestID)
	case unsaid:
		return nil, false, s.say(ctx, c.name, *have)
	case unknown:
	}
	return nil, true, nil
}

// say looks for what became of a request of this process whose outcome is not in
// the store.
func (s *Service) say(ctx context.Context, n Name, r Record) error {
	done, err := s.Events.Recorded(ctx, n.OrgID, r.RequestID)
	switch {
	case fault.Is(err, fault.NotFound):
		return inProgress(r.RequestID)
	case err != nil:
		return unavailable("look for request", err)
	}
	return s.found(ctx, n, r, done)
}

// found makes up for an outcome that was not stored: from now on the claim is done,
// for a day.
func (s *Service) found(ctx context.Context, n Name, r Record, done Settled) error {
	r.Done, r.Cost, r.Currency = true, done.Cost, done.Currency
	if err := s.Store.Finish(ctx, n, r); err == nil { // else the next one finds it again
		s.running.remove(r.RequestID)
	}
	return settled(r.RequestID, done)
}

// retake takes over the claim of a request that nobody runs, unless the request
// was recorded.
func (s *Service) retake(ctx context.Context, c *Claim, have *Record) (taken bool, err error) {
	done, err := s.Events.Recorded(ctx, c.name.OrgID, have.RequestID)
	switch {
	case err == nil:
		return false, s.found(ctx, c.name, *have, done)
	case !fault.Is(err, fault.NotFound):
		return false, unavailable("look for request", err)
	}
	taken, err = s.Store.Retake(ctx, c.name, have.RequestID, c.record)
	switch {
	case err != nil:
		return false, unavailable("take over idempotency key", err)
	case !taken: // another caller was faster
		return false, inProgress(have.RequestID)
	}
	return true, nil
}

func inProgress(request string) error {
	return fault.New(fault.Conflict, "a request with this idempotency key is running").
		With("original_request_id", request).After(time.Second)
}

// settled tells what became of a request whose answer is not to be had again.
func settled(request string, s Settled) error {
	return fault.New(fault.Conflict, "the request with this idempotency key is done and billed; its answer was not kept").
		With("original_request_id", request).With("cost", s.Cost.String()).With("currency", s.Currency)
}

func unavailable(attempted string, err error) error {
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	return fault.Wrap(fault.Unavailable, attempted, err).After(time.Second)
}

// prepare derives the keys and makes the claim's record.
func (s *Service) prepare(a Attempt) (*Claim, error) {
	const size = 32
	keys, err := hkdf.Key(sha256.New, []byte(a.Secret), []byte(a.Key), "idempotency 1", 2*size)
	if err != nil {
		return nil, fmt.Errorf("derive: %w", err)
	}
	block, err := aes.NewCipher(keys[size:])
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	seal, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	mac := hmac.New(sha256.New, keys[:size])
	_, _ = mac.Write([]byte(a.Endpoint + "\x00")) // a hash takes everything
	_, _ = mac.Write(a.Body)
	return &Claim{
		s: s, seal: seal,
		name:   Name{OrgID: a.OrgID, APIKeyID: a.APIKeyID, Key: sha256.Sum256([]byte(a.Key))},
		record: Record{RequestID: a.RequestID, MAC: mac.Sum(nil), Epoch: s.Epoch},
	}, nil
}

func (c *Claim) open(r *Record) (*Answer, error) {
	body, err := c.seal.Open(nil, nil, r.Answer, []byte(r.RequestID))
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "open stored answer", err)
	}
	return &Answer{RequestID: r.RequestID, Body: body, Stream: r.Stream}, nil
}

// Outcome is what a claimed request came to. A nil answer is not kept, nor is one
// larger than MaxAnswer.
type Outcome struct {
	Settled

	Answer []byte
	Stream bool
}

// Finish stores the outcome. It is called once the request is recorded, and before
// the end of the answer leaves: whoever has the answer can have it again. After an
// error the claim stands as after Leave.
func (c *Claim) Finish(ctx context.Context, o Outcome) error {
	r := c.record
	r.Done, r.Cost, r.Currency, r.Stream = true, o.Cost, o.Currency, o.Stream
	if o.Answer != nil && len(o.Answer) <= MaxAnswer && c.s.kept.take(c.s.Now(), c.name.OrgID, len(o.Answer)) {
		r.Answer = c.seal.Seal(nil, nil, o.Answer, []byte(r.RequestID)) //nolint:gosec // this AEAD makes a random nonce by itself and wants none
	}
	if err := c.s.Store.Finish(ctx, c.name, r); err != nil {
		c.Leave()
		return fmt.Errorf("keep answer: %w", err)
	}
	c.s.running.remove(c.record.RequestID)
	return nil
}

// Leave ends the claim of a request of which nobody knows whether it was recorded.
// The claim stands: it is done once the request's event is found, and free once
// another process has taken over and finds none.
func (c *Claim) Leave() { c.s.running.set(c.record.RequestID, unsaid) }

// Release lets go of the claim of a request that came to nothing.
func (c *Claim) Release(ctx context.Context) error {
	defer c.s.running.remove(c.record.RequestID)
	if err := c.s.Store.Release(ctx, c.name, c.record.RequestID); err != nil {
		return fmt.Errorf("release idempotency key: %w", err)
	}
	return nil
}
