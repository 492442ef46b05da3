// Package audit is the function that seals the audit, shows it, proves it and lets
// go of what is past its retention. It owns the audit's form on the wire and the
// schedule; what is recorded, and how it is chained, is for the core to say.
package audit

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/rest"
)

// The function's jobs.
const (
	JobSeal  = "seal"  // gives records their places in the chains, and signs heads
	JobPrune = "prune" // removes what is past its retention
)

const tag = "Audit"

// Spec describes the function.
func Spec() function.Spec {
	return function.Spec{
		Name: "audit", Service: function.Accounts, Summary: "Seals, shows and verifies the audit",
		MemoryMiB: 256, Timeout: 5 * time.Minute,
		Schedules: []function.Schedule{{Job: JobSeal, Every: time.Second / 2}, {Job: JobPrune, Every: 24 * time.Hour}},
		Routes:    routes(),
	}
}

func routes() []function.Route {
	read, platform := string(authz.AuditRead), string(authz.Platform)
	const whose = " `organization_id` names another organisation, or `platform` for what belongs to none: for the platform's own people."
	return []function.Route{
		{
			Method: http.MethodGet, Path: "/v1/audit", OperationID: "listAuditRecords", Tag: tag, Scope: read, OrScope: platform,
			Summary:     "List audit records",
			Description: "Who did what, and who was refused what, the newest first. Refusals that are alike are summed up by the minute." + whose,
		},
		{
			Method: http.MethodGet, Path: "/v1/audit/{id}", OperationID: "getAuditRecord", Tag: tag, Scope: read, OrScope: platform,
			Summary: "Show an audit record", Description: "With its place in the chain." + whose,
		},
		{
			Method: http.MethodGet, Path: "/v1/audit/verify", OperationID: "verifyAudit", Tag: tag, Scope: read, OrScope: platform,
			Summary: "Verify the audit",
			Description: "Reads the whole chain with its records and its signed heads, and names the first record that is not as it was sealed. " +
				"It takes about a second for 10,000 records; who asks for the same meanwhile gets the same answer, and where too many organizations are being verified, 503." + whose,
		},
		{
			Method: http.MethodGet, Path: "/v1/audit/export", OperationID: "exportAudit", Tag: tag, Scope: read, OrScope: platform, Stream: true,
			Summary: "Export the audit",
			Description: "Newline-delimited JSON, in the order of the chain: `{\"hash\":…,\"link\":…}` for each record, where the SHA-256 of the bytes of `link` is `hash` " +
				"and the next line's `link.prev`; and at the end a signed `{\"trailer\":…}` with the number of lines and the SHA-256 of all bytes before it. " +
				"`aiaas audit verify --file` checks it without the platform." + whose,
		},
		{
			Method: http.MethodGet, Path: "/v1/audit/keys", OperationID: "listAuditKeys", Tag: tag, Scope: read, OrScope: platform,
			Summary: "List the public keys of the audit", Description: "By which signed heads and exports are checked. Keep them elsewhere: who is to be checked should not be asked for them.",
		},
	}
}

// New makes the function's HTTP handler.
func New(svc *audit.Service, auth rest.Authenticator, log *slog.Logger) *rest.API {
	api := rest.New(Spec(), auth, log)
	register(api, &handlers{svc: svc})
	return api
}

// Describe adds the function's routes to the OpenAPI document.
func Describe(doc *rest.Document) { register(doc.API(Spec()), &handlers{}) }

func register(api *rest.API, h *handlers) {
	rest.Handle(api, "listAuditRecords", h.list)
	rest.Handle(api, "getAuditRecord", h.get, rest.ResponseExample(example()))
	rest.Handle(api, "verifyAudit", h.verify, rest.Fails(fault.NotFound))
	rest.HandleStream(api, "exportAudit", audit.NDJSON, h.export)
	rest.Handle(api, "listAuditKeys", h.keys)
}

// Jobs are the function's jobs.
func Jobs(s *audit.Sealer, r *audit.Retention) map[string]function.Job {
	return map[string]function.Job{JobSeal: s.Seal, JobPrune: r.Prune}
}

type handlers struct{ svc *audit.Service }

// Whose names the organisation whose audit is read.
type Whose struct {
	OrgID string `query:"organization_id" maxLength:"64" doc:"Left out: the caller's own."`
}

type verifyInput struct{ Whose }

type verifyOutput struct{ Body Verification }

func (h *handlers) verify(ctx context.Context, p authz.Principal, in *verifyInput) (*verifyOutput, error) {
	r, err := h.svc.Verify(ctx, p, in.OrgID)
	if err != nil {
		return nil, err
	}
	return &verifyOutput{Body: showReport(&r)}, nil
}

type exportInput struct {
	Whose

	After int64 `query:"after_seq" minimum:"0" doc:"Only the records that follow on this place of the chain: the to_seq of the export before."`
}

func (h *handlers) export(ctx context.Context, p authz.Principal, in *exportInput) (rest.Streamed, error) {
	x, err := h.svc.Export(ctx, p, in.OrgID, in.After)
	if err != nil {
		return nil, err
	}
	return x.Write, nil
}

type keysInput struct{}

type keysOutput struct{ Body rest.List[PublicKey] }

// PublicKey is a key that checks signatures.
type PublicKey struct {
	ID        string `json:"id" doc:"As key_id in what was signed."`
	Algorithm string `json:"algorithm" enum:"Ed25519"`
	PublicKey string `json:"public_key" doc:"In base64."`
	Current   bool   `json:"current" doc:"What is signed now is signed with it."`
}

func (h *handlers) keys(ctx context.Context, p authz.Principal, _ *keysInput) (*keysOutput, error) {
	list, err := h.svc.Keys(ctx, p)
	if err != nil {
		return nil, err
	}
	out := &keysOutput{Body: rest.List[PublicKey]{Data: make([]PublicKey, 0, len(list))}}
	for i, k := range list {
		out.Body.Data = append(out.Body.Data, PublicKey{ID: k.ID, Algorithm: "Ed25519", PublicKey: k.String(), Current: i == 0})
	}
	return out, nil
}
