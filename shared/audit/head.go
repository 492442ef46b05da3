package audit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"strconv"
	"strings"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
)

// Files keeps what must not share a fate with the database.
type Files interface {
	// Put stores a file that is durable when it returns. A name that is taken is
	// fault.Conflict: nothing is ever overwritten.
	Put(ctx context.Context, name string, data []byte) error
	// Get is fault.NotFound where there is none of that name.
	Get(ctx context.Context, name string) ([]byte, error)
	// List yields the names with a prefix that come after a name, in their order.
	List(ctx context.Context, prefix, after string) iter.Seq2[string, error]
	// Delete is content where there is none of that name.
	Delete(ctx context.Context, name string) error
}

// The kinds of signed statements about a chain.
const (
	kindHead       = "audit-head"
	kindCheckpoint = "audit-checkpoint"
)

// Head says, signed, that a chain had a hash at a place: what comes before it can't
// be computed anew, and the chain can't end before it. A [Checkpoint] says so of
// the place up to which the chain was pruned.
type Head struct {
	At        time.Time `json:"at"`
	Hash      Hash      `json:"hash"`
	KeyID     string    `json:"key_id"`
	OrgID     string    `json:"organization_id"`
	Previous  int64     `json:"previous_seq"` // of the statement before it; 0: it is the first
	Seq       int64     `json:"seq"`
	Signature []byte    `json:"signature,omitempty"`
	Type      string    `json:"type"`
	Version   int       `json:"version"`
}

// Checkpoint is the statement with which a pruned chain begins.
type Checkpoint = Head

// signed completes a statement and returns it with the file's content.
func (s *Signer) signed(h Head) (Head, []byte, error) {
	h.KeyID, h.Version, h.Signature = s.public.ID, Version, nil
	h.At = h.At.UTC().Truncate(time.Microsecond)
	text, err := canonical(h)
	if err != nil {
		return h, nil, err
	}
	h.Signature = s.sign(text)
	body, err := canonical(h)
	return h, body, err
}

var errForged = errors.New("the statement is not one that the key has signed")

// open reads a statement of a kind about an organisation's place.
func (r Ring) open(kind, org string, seq int64, body []byte) (Head, error) {
	h, err := r.read(body)
	if err == nil && (h.Type != kind || h.OrgID != org || h.Seq != seq) {
		err = errForged
	}
	return h, err
}

// read reads a statement and checks its signature.
func (r Ring) read(body []byte) (Head, error) {
	var h Head
	if err := jsonv2.Unmarshal(body, &h, jsonv2.RejectUnknownMembers(true)); err != nil {
		return h, errForged
	}
	if !r.signed(h) {
		return h, errForged
	}
	return h, nil
}

// signed reports whether a statement has the signature of a key.
func (r Ring) signed(h Head) bool {
	bare := h
	bare.Signature = nil
	text, err := canonical(bare)
	return err == nil && h.Version == Version && r.verify(h.KeyID, text, h.Signature)
}

// The places of statements in the file store.
func headsOf(org string) string       { return "audit-heads/" + url.PathEscape(org) + "/" }
func checkpointsOf(org string) string { return "audit-checkpoints/" + url.PathEscape(org) + "/" }

// fileOf is the name of a statement: names have the order of their places.
func fileOf(folder string, seq int64) string { return fmt.Sprintf("%s%020d.json", folder, seq) }

// seqOf is the place that a file's name says; -1 where it says none.
func seqOf(folder, name string) int64 {
	digits, ok := strings.CutSuffix(strings.TrimPrefix(name, folder), ".json")
	seq, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || fileOf(folder, seq) != name {
		return -1
	}
	return seq
}
