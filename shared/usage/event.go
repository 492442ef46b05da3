// Package usage owns usage events on their way from the end of a request to the
// ledger, and the figures that are read from it.
//
// An [Event] is made once, under the request's id, and its bytes never change:
// the same bytes are recorded, queued, spooled and booked. The [Recorder] makes
// them durable before the end of the answer leaves; the [Consumer] books them,
// any number of times with one result.
package usage

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

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
	AdmittedAt time.Time `json:"at"`     // decides price, windows, period and partition
	Period     string    `json:"period"` // the month of AdmittedAt in the organisation's zone: "2026-10-01"
	Streamed   bool      `json:"streamed,omitempty"`
	Outcome    Outcome   `json:"outcome"`
	Estimated  bool      `json:"estimated,omitempty"` // tokens were counted by us, not reported
	Input      int64     `json:"input"`
	Cached     int64     `json:"cached,omitempty"` // part of Input
	Output     int64     `json:"output"`

	Cost     money.Nano `json:"cost"`
	Currency string     `json:"currency"`

	TTFTMicros     int64           `json:"ttft_us"` // 0 when not streamed
	DurationMicros int64           `json:"duration_us"`
	Raw            json.RawMessage `json:"raw,omitempty"` // what the backend reported
	Holds          []Held          `json:"holds,omitempty"`
}

// Held is a hold of the request and what it came to.
type Held struct {
	Budget string    `json:"budget"`
	Start  time.Time `json:"start"` // of the window
	End    time.Time `json:"end"`
	Amount int64     `json:"amount"`
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

// Encode returns the event's bytes.
func (e *Event) Encode() (Recorded, error) {
	body, err := json.Marshal(e)
	if err != nil {
		return Recorded{}, fmt.Errorf("encode event: %w", err)
	}
	return Recorded{OrgID: e.OrgID, ID: e.ID, Body: body}, nil
}

// ErrPoison marks an event that can never be booked.
var ErrPoison = errors.New("event can't be booked")

// Decode reads an event's bytes and checks what the ledger relies on.
func Decode(body []byte) (*Event, error) {
	var e Event
	if err := json.Unmarshal(body, &e); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPoison, err)
	}
	period, err := time.Parse(time.DateOnly, e.Period)
	switch {
	case e.ID == "" || e.OrgID == "" || e.ProjectID == "" || e.KeyID == "" || e.Model == "" || e.Currency == "":
		err = errors.New("a name is missing")
	case err != nil || period.Day() != 1:
		err = errors.New("the period is not a month")
	case e.AdmittedAt.IsZero():
		err = errors.New("the time is missing")
	case e.Input < 0 || e.Output < 0 || e.Cached < 0 || e.Cached > e.Input || e.Cost < 0:
		err = errors.New("a count is out of range")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPoison, err)
	}
	return &e, nil
}
