// Package audit is the record of who did what, who was refused what, and the proof
// that nobody has changed it since.
//
// A core operation writes its [Record] in the transaction of the change itself:
// there is no change without a record, and no record of a change that did not
// happen. Refusals come in storms, so [Denials] sums them up by the minute.
//
// A [Sealer] then gives each record a [Link] in the chain of its organisation,
// whose hash covers the record and the link before it, so mutations never wait for
// a chain. Signed [Head]s of the chains go to a file store, out of the reach of who
// can write to the database: there a chain that was computed anew, or whose end was
// cut off, shows. A [Verifier] reads all of it again and names the first record that
// is not as it was sealed. What is past its retention is removed by [Retention],
// which leaves a signed [Checkpoint] for the rest to go on from.
//
// What can't be proven: a change to a record before it is sealed (about a second;
// one that waits longer than [HeadGrace] is a finding), that a record was entered at
// the time that it names (who may write to the database can enter one with an older
// time, which is sealed like any other; see [Report.Late]),
// a cut of what no signed head covers yet (see [HeadEvery]), and the deeds of who
// holds the signing key, or may write to the database and delete from the file
// store both; for the latter, keep the store in a bucket that refuses deletion.
package audit

import (
	"context"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/id"
)

// PlatformOrg stands for an organisation in the records of what belongs to none.
const PlatformOrg = "platform"

// Record is one audited act. Detail never holds a secret.
type Record struct {
	OrgID     string
	ID        string
	At        time.Time
	Actor     string // the key or person that acted
	Action    string // "key.create", "budget.create", "price.publish"
	Target    string // the id of what was acted on
	Detail    map[string]any
	RequestID string
	Address   string  // where the act came from; "" for the platform's own
	Outcome   Outcome // "" is Success
}

// Outcome is what became of an act.
type Outcome string

// The outcomes.
const (
	Success Outcome = "success"
	Denied  Outcome = "denied"  // somebody may not do it, or was not believed to be who he is
	Failure Outcome = "failure" // it was allowed and did not come about
)

// Outcomes lists all outcomes.
func Outcomes() []Outcome { return []Outcome{Success, Denied, Failure} }

// New makes the record of an act by a principal.
func New(ctx context.Context, p authz.Principal, at time.Time, action, target string) Record {
	return Record{
		OrgID: p.OrgID, ID: id.New(id.Audit), At: at, Actor: p.Actor(), Action: action,
		Target: target, Detail: map[string]any{}, RequestID: RequestID(ctx), Address: p.Address, Outcome: Success,
	}
}

// With returns the record with details of the act.
func (r Record) With(detail map[string]any) Record {
	r.Detail = detail
	return r
}

// Kept is the record's outcome as it is kept.
func (r Record) Kept() Outcome {
	if r.Outcome == "" {
		return Success
	}
	return r.Outcome
}

type requestIDKey struct{}

// WithRequestID returns a context whose acts are recorded under a request's id.
func WithRequestID(ctx context.Context, requestID string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, requestID)
}

// RequestID is the id of the request that the context belongs to, or "".
func RequestID(ctx context.Context) string {
	s, _ := ctx.Value(requestIDKey{}).(string)
	return s
}
