package audit

import (
	"context"
	"encoding/json"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/rest"
)

// Record is an audit record as the API shows it.
type Record struct {
	ID        string          `json:"id"`
	OrgID     string          `json:"organization_id"`
	At        time.Time       `json:"at"`
	Actor     string          `json:"actor" doc:"The key, person or job that acted."`
	Action    string          `json:"action" example:"key.create"`
	Target    string          `json:"target" doc:"What was acted on."`
	Outcome   string          `json:"outcome" enum:"success,denied,failure"`
	Address   string          `json:"source_address" doc:"Empty for the platform's own acts, and in a sum of several."`
	RequestID string          `json:"request_id"`
	Detail    json.RawMessage `json:"detail" doc:"What there is to say of the act, by its action. Of refusals: why, and how many."`
	Source    string          `json:"source" enum:"accounts,router,analytics" doc:"The service that recorded it."`
}

// Sealed is a record with its place in the chain.
type Sealed struct {
	Record

	Seal *Seal `json:"seal" doc:"Null for the moment until it is sealed."`
}

// Seal is the place of a record in its organisation's chain.
type Seal struct {
	Seq      int64     `json:"seq"`
	Prev     string    `json:"prev" doc:"The hash of the record before, in hexadecimal."`
	Hash     string    `json:"hash" doc:"SHA-256 of the record with its place and prev, in hexadecimal."`
	SealedAt time.Time `json:"sealed_at"`
}

type listInput struct {
	rest.Paging
	Whose

	Actor     string    `query:"actor" maxLength:"200"`
	Action    string    `query:"action" maxLength:"100" example:"key." doc:"Exactly this one; with a dot at its end all that begin with it."`
	Target    string    `query:"target" maxLength:"300"`
	Outcome   string    `query:"outcome" enum:"success,denied,failure"`
	Address   string    `query:"source_address" maxLength:"64"`
	RequestID string    `query:"request_id" maxLength:"64"`
	Start     time.Time `query:"start" doc:"RFC 3339."`
	End       time.Time `query:"end" doc:"RFC 3339, exclusive."`
}

type listOutput struct{ Body rest.List[Record] }

func (h *handlers) list(ctx context.Context, p authz.Principal, in *listInput) (*listOutput, error) {
	before, err := in.After(id.Audit)
	if err != nil {
		return nil, err
	}
	f := audit.Filter{
		Actor: in.Actor, Action: in.Action, Target: in.Target, Outcome: audit.Outcome(in.Outcome), Address: in.Address,
		RequestID: in.RequestID, Start: in.Start, End: in.End, OrgID: in.OrgID,
	}
	list, err := h.svc.List(ctx, p, f, before, in.Fetch())
	if err != nil {
		return nil, err
	}
	return &listOutput{Body: rest.Page(in.Paging, list, func(e audit.Entry) string { return e.ID }, show)}, nil
}

type getInput struct {
	Whose

	ID string `path:"id" maxLength:"64"`
}

type getOutput struct{ Body Sealed }

func (h *handlers) get(ctx context.Context, p authz.Principal, in *getInput) (*getOutput, error) {
	if !id.Valid(id.Audit, in.ID) {
		return nil, fault.New(fault.NotFound, "there is no such record")
	}
	e, l, err := h.svc.Get(ctx, p, in.OrgID, in.ID)
	if err != nil {
		return nil, err
	}
	out := &getOutput{Body: Sealed{Record: show(e)}}
	if l != nil {
		out.Body.Seal = &Seal{Seq: l.Seq, Prev: l.Prev.String(), Hash: l.Hash.String(), SealedAt: l.SealedAt}
	}
	return out, nil
}

func show(e audit.Entry) Record {
	return Record{
		ID: e.ID, OrgID: e.OrgID, At: e.At, Actor: e.Actor, Action: e.Action, Target: e.Target, Outcome: string(e.Kept()),
		Address: e.Address, RequestID: e.RequestID, Detail: e.Detail, Source: string(e.Source),
	}
}

// Verification is what a verification has found.
type Verification struct {
	Valid    bool        `json:"valid"`
	Checked  int64       `json:"checked" doc:"Records that are as they were sealed."`
	FromSeq  int64       `json:"from_seq" doc:"The first of them; above 1 where older ones are past their retention. 0: there are none."`
	ToSeq    int64       `json:"to_seq"`
	FirstBad *Finding    `json:"first_bad" doc:"Null where nothing is wrong."`
	Pending  int64       `json:"pending" doc:"Records of the last moments that wait to be sealed."`
	Late     int64       `json:"late" doc:"Of the checked, those that were sealed more than ten minutes after the time that they name: they were entered later than they say, or nothing was sealed meanwhile. It does not make the audit invalid."`
	Head     *SignedHead `json:"head" doc:"The last signed head that the chain fits; null for none."`
}

// Finding is the first thing that is wrong.
type Finding struct {
	Seq     *int64  `json:"seq" doc:"The place in the chain; null for a record that has none."`
	AuditID *string `json:"audit_id" doc:"Null where it is not known any more."`
	Reason  string  `json:"reason" enum:"record_changed,record_missing,record_unsealed,link_missing,link_moved,chain_rewritten,tail_cut,head_missing,head_forged,checkpoint_forged"`
	Detail  string  `json:"detail" doc:"The same for people."`
}

// SignedHead is a signed statement of how far a chain went, and of its hash there.
type SignedHead struct {
	Seq       int64     `json:"seq"`
	Hash      string    `json:"hash"`
	At        time.Time `json:"at"`
	KeyID     string    `json:"key_id"`
	Signature []byte    `json:"signature" doc:"Ed25519, in base64."`
}

func showReport(r *audit.Report) Verification {
	v := Verification{Valid: r.Valid(), Checked: r.Checked, FromSeq: r.From, ToSeq: r.To, Pending: r.Pending, Late: r.Late}
	if f := r.FirstBad; f != nil {
		v.FirstBad = &Finding{Reason: string(f.Reason), Detail: f.Detail}
		if f.Seq > 0 {
			v.FirstBad.Seq = &f.Seq
		}
		if f.AuditID != "" {
			v.FirstBad.AuditID = &f.AuditID
		}
	}
	if h := r.Head; h != nil {
		v.Head = &SignedHead{Seq: h.Seq, Hash: h.Hash.String(), At: h.At, KeyID: h.KeyID, Signature: h.Signature}
	}
	return v
}

func example() Sealed {
	at := time.Date(2026, 10, 12, 9, 0, 0, 0, time.UTC)
	return Sealed{
		Record: Record{
			ID: "aud_0199c0b2f3a47c1e8d6a5b4c3d2e1f00", OrgID: "org_0199c0b2f3a47c1e8d6a5b4c3d2e1f01", At: at,
			Actor: "key_0199c0b2f3a47c1e8d6a5b4c3d2e1f02", Action: "key.revoke", Target: "key_0199c0b2f3a47c1e8d6a5b4c3d2e1f03",
			Outcome: "success", Address: "203.0.113.7", RequestID: "req_0199c0b2f3a47c1e8d6a5b4c3d2e1f04", Detail: json.RawMessage(`{}`), Source: "accounts",
		},
		Seal: &Seal{
			Seq: 42, Prev: "5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9",
			Hash: "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b", SealedAt: at.Add(400 * time.Millisecond),
		},
	}
}
