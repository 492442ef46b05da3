package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/aiaas/aiaas/shared/function"
)

// Version says what a link's hash covers and how that is written.
const Version = 1

// Sources are the services whose schemas hold records.
func Sources() []function.Service {
	return []function.Service{function.Accounts, function.Router, function.Analytics}
}

// Hash is a SHA-256, written in hexadecimal.
type Hash [sha256.Size]byte

// String is the hash in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText implements [encoding.TextMarshaler].
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (h *Hash) UnmarshalText(text []byte) error {
	raw, err := hex.DecodeString(string(text))
	if err != nil || len(raw) != len(h) {
		return fmt.Errorf("%q is no SHA-256 in hexadecimal", text)
	}
	copy(h[:], raw)
	return nil
}

// Entry is a record as it is kept. Record.Detail is not set: Detail has it as JSON,
// for a number of it may be more exact than Go's floats.
type Entry struct {
	Record

	Source function.Service // whose schema holds it
	Detail json.RawMessage
}

// Link is the place of a record in the chain of its organisation.
type Link struct {
	OrgID    string
	Seq      int64 // from 1, without gaps
	Version  int
	Source   function.Service
	AuditID  string
	At       time.Time // the record's
	Prev     Hash      // of the link before; zero for the first
	Hash     Hash
	SealedAt time.Time
}

// linkDocument is what a hash covers.
type linkDocument struct {
	OrgID    string           `json:"organization_id"`
	Prev     Hash             `json:"prev"`
	Record   *recordDocument  `json:"record"`
	SealedAt string           `json:"sealed_at"`
	Seq      int64            `json:"seq"`
	Source   function.Service `json:"source"`
	Version  int              `json:"version"`
}

type recordDocument struct {
	Action    string         `json:"action"`
	Actor     string         `json:"actor"`
	Address   string         `json:"source_address"`
	At        string         `json:"at"`
	Detail    jsontext.Value `json:"detail"`
	ID        string         `json:"id"`
	Outcome   Outcome        `json:"outcome"`
	RequestID string         `json:"request_id"`
	Target    string         `json:"target"`
}

// timeForm is RFC 3339 with all six digits that the database keeps.
const timeForm = "2006-01-02T15:04:05.000000Z07:00"

func timeText(t time.Time) string { return t.UTC().Format(timeForm) }

// Canonical is what the link's hash covers: one JSON object with the version, the
// organisation, the place, the hash of the link before and all of the record, in
// the form of RFC 8785 (no white space, members sorted), except that numbers stand
// as the database has them: through a double, two amounts could become one. A nil
// entry stands for a record that is gone.
func (l *Link) Canonical(e *Entry) ([]byte, error) {
	d := linkDocument{OrgID: l.OrgID, Prev: l.Prev, SealedAt: timeText(l.SealedAt), Seq: l.Seq, Source: l.Source, Version: l.Version}
	if e != nil {
		d.Record = &recordDocument{
			Action: e.Action, Actor: e.Actor, Address: e.Address, At: timeText(e.At), Detail: jsontext.Value(e.Detail), ID: e.ID,
			Outcome: e.Kept(), RequestID: e.RequestID, Target: e.Target,
		}
	}
	return canonical(d)
}

func canonical(v any) ([]byte, error) {
	raw, err := jsonv2.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	value := jsontext.Value(raw)
	if err := value.Canonicalize(jsontext.CanonicalizeRawInts(false), jsontext.CanonicalizeRawFloats(false)); err != nil {
		return nil, fmt.Errorf("make canonical: %w", err)
	}
	return value, nil
}

// next is the link of an entry after this one.
func (l *Link) next(e *Entry, at time.Time) (Link, error) {
	n := Link{
		OrgID: e.OrgID, Seq: l.Seq + 1, Version: Version, Source: e.Source, AuditID: e.ID, At: e.At,
		Prev: l.Hash, SealedAt: at.UTC().Truncate(time.Microsecond),
	}
	var err error
	n.Hash, err = n.sum(e)
	return n, err
}

// sum computes the hash.
func (l *Link) sum(e *Entry) (Hash, error) {
	text, err := l.Canonical(e)
	return sha256.Sum256(text), err
}

// proves reports whether an entry is what was sealed here.
func (l *Link) proves(e *Entry) bool {
	if l.Version != Version || e.ID != l.AuditID || e.OrgID != l.OrgID || e.Source != l.Source || !e.At.Equal(l.At) {
		return false
	}
	h, err := l.sum(e)
	return err == nil && h == l.Hash
}
