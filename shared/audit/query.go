package audit

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
)

// Filter chooses records. Zero members choose all.
type Filter struct {
	OrgID     string // of the organisation: "" is the caller's own
	Actor     string
	Action    string // exact, or all that begin with it where it ends in a dot: "key."
	Target    string
	Outcome   Outcome
	Address   string
	RequestID string
	Start     time.Time
	End       time.Time // exclusive
}

// Lister reads one schema's records within an organisation, whatever the filter says
// of that, the newest first: those with an id before the given one, which may be "".
type Lister interface {
	List(ctx context.Context, org string, f Filter, before string, most int) ([]Entry, error)
	Read(ctx context.Context, org string, ids []string) ([]Entry, error)
}

// Service is what callers may do with the audit. An organisation that is not named
// is the caller's; another one, or what belongs to none ([PlatformOrg]), is for the
// platform's own people.
type Service struct {
	Lister   map[function.Service]Lister
	Verifier *Verifier
	Signer   *Signer
	Now      func() time.Time

	flights flights
}

// of decides whose audit is read.
func (s *Service) of(ctx context.Context, p authz.Principal, org string) (string, error) {
	if org == "" || org == p.OrgID {
		return p.OrgID, p.Require(ctx, authz.DoAuditRead)
	}
	return org, p.Require(ctx, authz.DoPlatformAuditRead)
}

// List returns records, the newest first.
func (s *Service) List(ctx context.Context, p authz.Principal, f Filter, before string, most int) ([]Entry, error) {
	org, err := s.of(ctx, p, f.OrgID)
	if err != nil {
		return nil, err
	}
	if !f.Start.IsZero() && !f.End.IsZero() && !f.Start.Before(f.End) {
		return nil, fault.New(fault.Unprocessable, "the range ends before it begins").At("end")
	}
	var list []Entry
	for _, source := range Sources() {
		part, err := s.Lister[source].List(ctx, org, f, before, most)
		if err != nil {
			return nil, err
		}
		list = append(list, part...)
	}
	slices.SortStableFunc(list, func(a, b Entry) int { return strings.Compare(b.ID, a.ID) })
	return list[:min(len(list), most)], nil
}

// Get returns a record with its link; nil where it is not sealed yet.
func (s *Service) Get(ctx context.Context, p authz.Principal, org, auditID string) (Entry, *Link, error) {
	org, err := s.of(ctx, p, org)
	if err != nil {
		return Entry{}, nil, err
	}
	for _, source := range Sources() {
		list, err := s.Lister[source].Read(ctx, org, []string{auditID})
		if err != nil {
			return Entry{}, nil, err
		}
		if len(list) == 0 {
			continue
		}
		linked, err := s.Verifier.Chain.Linked(ctx, org, source, []string{auditID})
		if err != nil {
			return Entry{}, nil, err
		}
		if l, ok := linked[auditID]; ok {
			return list[0], &l, nil
		}
		return list[0], nil, nil
	}
	return Entry{}, nil, fault.New(fault.NotFound, "there is no such record")
}

// Verify checks the chain, once for all who ask while it is being checked, and few
// chains at a time. Unavailable: too many others wait. NotFound as [Verifier.Verify].
func (s *Service) Verify(ctx context.Context, p authz.Principal, org string) (Report, error) {
	org, err := s.of(ctx, p, org)
	if err != nil {
		return Report{}, err
	}
	return s.flights.verify(ctx, org, s.Verifier.Verify)
}

// Keys are the public keys that check signatures, the one in use first.
func (s *Service) Keys(ctx context.Context, p authz.Principal) ([]PublicKey, error) {
	if err := p.Require(ctx, authz.DoAuditRead); err != nil && p.Require(ctx, authz.DoPlatformAuditRead) != nil {
		return nil, err
	}
	list := []PublicKey{s.Signer.Public()}
	for _, k := range s.Verifier.Ring {
		if k.ID != list[0].ID {
			list = append(list, k)
		}
	}
	slices.SortFunc(list[1:], func(a, b PublicKey) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}
