// Package usage owns usage events on their way from the end of a request to the
// ledger, and the figures that are read from it.
//
// An [Event] is made once, under the request's id, and its bytes never change:
// the same bytes are recorded, queued, spooled and booked. The [Recorder] makes
// them durable before the end of the answer leaves; the [Consumer] books them,
// any number of times with one result.
package usage

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/aiaas/aiaas/shared/money"
	"github.com/aiaas/aiaas/shared/pricing"
)

// Outcome is how a request ended.
type Outcome string

// The outcomes. A denied request has no event.
const (
	Complete  Outcome = "complete"  // the whole answer was delivered
	Aborted   Outcome = "aborted"   // the client left
	Failed    Outcome = "failed"    // the backend broke off after it had begun to answer
	Abandoned Outcome = "abandoned" // its process died; cost 0
)

// Event is what one request used and cost.
type Event struct {
	ID         string    `json:"id"` // the request's id
	OrgID      string    `json:"org"`
	ProjectID  string    `json:"project"`
	KeyID      string    `json:"key"`
	Model      string    `json:"model"`
	BackendID  string    `json:"backend"`
	PriceID    string    `json:"price"`
	Endpoint   string    `json:"endpoint"`
	AdmittedAt time.Time `json:"-"`      // "at", Unix microseconds; decides price, windows, period and partition
	Period     string    `json:"period"` // the month of AdmittedAt in the organisation's zone: "2026-10-01"
	Streamed   bool      `json:"streamed,omitempty"`
	Outcome    Outcome   `json:"outcome"`
	Estimated  bool      `json:"estimated,omitempty"` // tokens were counted by us, not reported
	Input      int64     `json:"input"`
	Cached     int64     `json:"cached,omitempty"` // part of Input
	Output     int64     `json:"output"`
	Status     int       `json:"status"`         // as the client was answered; 499 where it left before
	Address    string    `json:"addr,omitempty"` // where the request came from
	UserAgent  string    `json:"ua,omitempty"`   // at most 200 bytes

	Cost     money.Nano `json:"cost"`
	Currency string     `json:"currency"`

	TTFTMicros     int64          `json:"ttft_us"` // 0 when not streamed
	DurationMicros int64          `json:"duration_us"`
	Raw            jsontext.Value `json:"raw,omitempty"` // what the backend reported, valid JSON
	Holds          []Held         `json:"-"`             // "holds"
}

// Held is a hold of the request and what it came to.
type Held struct {
	Budget string
	Start  time.Time // of the window
	End    time.Time
	Amount int64
}

// wireEvent is the event as it is read: times are whole microseconds, which
// PostgreSQL keeps too, and which cost a quarter of what RFC 3339 costs to read.
type wireEvent struct {
	Event
	At    int64      `json:"at"`
	Holds []wireHeld `json:"holds,omitempty"`
}

type wireHeld struct {
	Budget string `json:"budget"`
	Start  int64  `json:"start"`
	End    int64  `json:"end"`
	Amount int64  `json:"amount"`
}

// Tokens is the event's token counts.
func (e *Event) Tokens() pricing.Usage {
	return pricing.Usage{InputTokens: e.Input, CachedInputTokens: e.Cached, OutputTokens: e.Output}
}

// Recorded is an event's bytes, with what stores need to address it.
type Recorded struct {
	OrgID string
	ID    string
	Body  []byte
}

// Encode returns the event's bytes. It is written out because every request pays
// for it; a test holds it to the same form as the struct's tags.
func (e *Event) Encode() (Recorded, error) {
	b := make([]byte, 0, 768+len(e.Raw)+160*len(e.Holds))
	b = appendText(b, `{"id":`, e.ID)
	b = appendText(b, `,"org":`, e.OrgID)
	b = appendText(b, `,"project":`, e.ProjectID)
	b = appendText(b, `,"key":`, e.KeyID)
	b = appendText(b, `,"model":`, e.Model)
	b = appendText(b, `,"backend":`, e.BackendID)
	b = appendText(b, `,"price":`, e.PriceID)
	b = appendText(b, `,"endpoint":`, e.Endpoint)
	b = appendInt(b, `,"at":`, e.AdmittedAt.UnixMicro())
	b = appendText(b, `,"period":`, e.Period)
	if e.Streamed {
		b = append(b, `,"streamed":true`...)
	}
	b = appendText(b, `,"outcome":`, string(e.Outcome))
	if e.Estimated {
		b = append(b, `,"estimated":true`...)
	}
	b = appendInt(b, `,"input":`, e.Input)
	if e.Cached != 0 {
		b = appendInt(b, `,"cached":`, e.Cached)
	}
	b = appendInt(b, `,"output":`, e.Output)
	b = appendInt(b, `,"status":`, int64(e.Status))
	if e.Address != "" {
		b = appendText(b, `,"addr":`, e.Address)
	}
	if e.UserAgent != "" {
		b = appendText(b, `,"ua":`, e.UserAgent)
	}
	b = appendInt(b, `,"cost":`, int64(e.Cost))
	b = appendText(b, `,"currency":`, e.Currency)
	b = appendInt(b, `,"ttft_us":`, e.TTFTMicros)
	b = appendInt(b, `,"duration_us":`, e.DurationMicros)
	if len(e.Raw) > 0 {
		b = append(append(b, `,"raw":`...), e.Raw...)
	}
	b = appendHolds(b, e.Holds)
	b = append(b, '}')
	if !e.sound() {
		return Recorded{}, fmt.Errorf("encode event %s: %w", e.ID, ErrPoison)
	}
	return Recorded{OrgID: e.OrgID, ID: e.ID, Body: b}, nil
}

func appendHolds(b []byte, holds []Held) []byte {
	for i, h := range holds {
		if i == 0 {
			b = append(b, `,"holds":[`...)
		} else {
			b = append(b, ',')
		}
		b = appendText(b, `{"budget":`, h.Budget)
		b = appendInt(b, `,"start":`, h.Start.UnixMicro())
		b = appendInt(b, `,"end":`, h.End.UnixMicro())
		b = append(appendInt(b, `,"amount":`, h.Amount), '}')
	}
	if len(holds) > 0 {
		b = append(b, ']')
	}
	return b
}

func appendText(b []byte, name, value string) []byte {
	b, _ = jsontext.AppendQuote(append(b, name...), value) // invalid UTF-8 becomes U+FFFD
	return b
}

func appendInt(b []byte, name string, v int64) []byte {
	return strconv.AppendInt(append(b, name...), v, 10)
}

// sound reports whether the names and counts are such as the ledger takes.
func (e *Event) sound() bool {
	return e.ID != "" && e.OrgID != "" && e.ProjectID != "" && e.KeyID != "" && e.Model != "" && e.Currency != "" &&
		!e.AdmittedAt.IsZero() && e.Input >= 0 && e.Output >= 0 && e.Cached >= 0 && e.Cached <= e.Input && e.Cost >= 0
}

// ErrPoison marks an event that can never be booked.
var ErrPoison = errors.New("event can't be booked")

// Decode reads an event's bytes and checks what the ledger relies on.
func Decode(body []byte) (*Event, error) {
	var w wireEvent
	if err := json.Unmarshal(body, &w); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPoison, err)
	}
	e := &w.Event
	if w.At != 0 {
		e.AdmittedAt = time.UnixMicro(w.At).UTC()
	}
	if e.Status == 0 { // of a version that did not say
		e.Status = 200
	}
	for _, h := range w.Holds {
		e.Holds = append(e.Holds, Held{Budget: h.Budget, Start: time.UnixMicro(h.Start).UTC(), End: time.UnixMicro(h.End).UTC(), Amount: h.Amount})
	}
	period, err := time.Parse(time.DateOnly, e.Period)
	if err != nil || period.Day() != 1 {
		return nil, fmt.Errorf("%w: the period is not a month", ErrPoison)
	}
	if !e.sound() {
		return nil, fmt.Errorf("%w: a name is missing or a count is out of range", ErrPoison)
	}
	return e, nil
}
