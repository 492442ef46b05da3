// Package audit is the record of who changed what. A core operation writes its
// record in the transaction of the change itself: there is no change without a
// record, and no record of a change that did not happen.
package audit

import (
	"context"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/id"
)

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
}

// New makes the record of an act by a principal.
func New(ctx context.Context, p authz.Principal, at time.Time, action, target string) Record {
	return Record{
		OrgID: p.OrgID, ID: id.New(id.Audit), At: at, Actor: p.Actor(), Action: action,
		Target: target, Detail: map[string]any{}, RequestID: RequestID(ctx),
	}
}

// With returns the record with details of the act.
func (r Record) With(detail map[string]any) Record {
	r.Detail = detail
	return r
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
