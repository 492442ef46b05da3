package accesslog

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/usage"
)

// Filter chooses requests. Zero members choose all.
type Filter struct {
	APIKeyID  string
	ProjectID string
	Model     string
	Status    int    // of the answer
	Address   string // where they came from
	Start     time.Time
	End       time.Time     // exclusive
	Within    *usage.Within // nil: all of the organisation's
}

// Request is a request of the log: a line, or one that was served.
type Request struct {
	Line

	Served *Served // nil where it left no usage
}

// Served is what a served request used and cost, where it ran and how it went.
type Served struct {
	usage.Event

	Booked bool // in the ledger; false for the moment until it is
}

// Lines reads the lines of requests without usage, the newest first: those with an
// id before the given one, which may be "".
type Lines interface {
	ReadLines(ctx context.Context, org string, f Filter, before string, most int) ([]Line, error)
	// Line is fault.NotFound where there is none of that id.
	Line(ctx context.Context, org, requestID string) (Line, error)
}

// Usage reads served requests, in the same order.
type Usage interface {
	ReadServed(ctx context.Context, org string, f Filter, before string, most int) ([]usage.Event, error)
	// Served is fault.NotFound where there is none of that id. It finds one that
	// waits to be booked, too.
	Served(ctx context.Context, org, requestID string) (Served, error)
}

// Queries reads the log.
type Queries struct {
	Lines Lines
	Usage Usage
	Keys  usage.Keys
}

// List returns requests of the caller's organisation, the newest first.
func (q *Queries) List(ctx context.Context, p authz.Principal, f Filter, before string, most int) ([]Request, error) {
	reach, err := p.Reach(ctx, authz.DoRequestsRead)
	if err != nil {
		return nil, err
	}
	if f.Within, err = usage.Reached(ctx, q.Keys, p.OrgID, reach); err != nil {
		return nil, err
	}
	if !f.Start.IsZero() && !f.End.IsZero() && !f.Start.Before(f.End) {
		return nil, fault.New(fault.Unprocessable, "the range ends before it begins").At("end")
	}
	lines, err := q.Lines.ReadLines(ctx, p.OrgID, f, before, most)
	if err != nil {
		return nil, err
	}
	served, err := q.Usage.ReadServed(ctx, p.OrgID, f, before, most)
	if err != nil {
		return nil, err
	}
	list := make([]Request, 0, len(lines)+len(served))
	for i := range served {
		list = append(list, ofServed(Served{Event: served[i], Booked: true}))
	}
	for _, l := range lines {
		list = append(list, Request{Line: l})
	}
	slices.SortStableFunc(list, func(a, b Request) int { return cmp.Compare(b.RequestID, a.RequestID) })
	// A request whose record came through after it was answered with an error has a
	// line too: the usage is what counts. Where either source had a page's worth,
	// there still is one.
	list = slices.CompactFunc(list, func(a, b Request) bool { return a.RequestID == b.RequestID })
	return list[:min(len(list), most)], nil
}

// Get returns one request of the caller's organisation.
func (q *Queries) Get(ctx context.Context, p authz.Principal, requestID string) (Request, error) {
	reach, err := p.Reach(ctx, authz.DoRequestsRead)
	if err != nil {
		return Request{}, err
	}
	within, err := usage.Reached(ctx, q.Keys, p.OrgID, reach)
	if err != nil {
		return Request{}, err
	}
	r, err := q.find(ctx, p.OrgID, requestID)
	if err == nil && !within.Covers(r.ProjectID, r.APIKeyID) {
		return Request{}, fault.New(fault.NotFound, "there is no such request")
	}
	return r, err
}

func (q *Queries) find(ctx context.Context, org, requestID string) (Request, error) {
	s, err := q.Usage.Served(ctx, org, requestID)
	if err == nil {
		return ofServed(s), nil
	}
	if !fault.Is(err, fault.NotFound) {
		return Request{}, err
	}
	l, err := q.Lines.Line(ctx, org, requestID)
	if err != nil {
		return Request{}, err
	}
	return Request{Line: l}, nil
}

// ofServed is the line of a served request.
func ofServed(s Served) Request {
	e := &s.Event
	return Request{Served: &s, Line: Line{
		OrgID: e.OrgID, RequestID: e.ID, At: e.AdmittedAt, Last: e.AdmittedAt, Count: 1, APIKeyID: e.KeyID, ProjectID: e.ProjectID,
		Model: e.Model, Endpoint: e.Endpoint, Status: e.Status, Address: e.Address, UserAgent: e.UserAgent,
	}}
}
