package audit_test

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/accesslog"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/function"
)

// TestDenialsOfTheDataPlaneAreInTheAudit takes them from where the access log does.
func TestDenialsOfTheDataPlaneAreInTheAudit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log := slog.New(slog.DiscardHandler)
	journal := postgres.NewJournal(pool(t, w.urls[function.Router], postgres.RoleGateway))
	lines := accesslog.NewWriter(t.Context(), journal, log)
	lines.Denials = audit.NewDenials(t.Context(), journal, w.clock.Now, log)
	for i, status := range []int{401, 401, 403, 403, 403, 200, 402, 404, 429, 500} {
		lines.Add(accesslog.Line{
			OrgID: one, RequestID: fmt.Sprint("req_", i), At: w.clock.Now(), APIKeyID: "key_1", ProjectID: "proj_1", Endpoint: "/v1/chat/completions",
			Status: status, Code: fmt.Sprint("code_", status), Address: "192.0.2.9",
		})
		w.clock.advance(time.Second)
	}
	if err := lines.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := lines.Denials.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := query[string](w, function.Router, `SELECT string_agg(concat_ws(' ', org_id, actor, action, outcome, target, source_address, detail ->> 'code', n), ', ' ORDER BY action)
		FROM (SELECT r.*, sum((detail ->> 'count')::int) OVER (PARTITION BY action) n, row_number() OVER (PARTITION BY action) k FROM router.audit_records r) x WHERE k = 1`)
	const want = "org_one key_1 access.deny denied /v1/chat/completions 192.0.2.9 code_403 3, org_one key_1 auth.fail denied /v1/chat/completions 192.0.2.9 code_401 2"
	if got != want {
		t.Errorf("the audit has %s; want %s", got, want)
	}
	w.seal()
	if r := w.verify(one); !r.Valid() || r.Checked < 2 {
		t.Errorf("%+v", r)
	}
}

// TestTheGatewayRecordsDenialsOnly: it does not speak for an administrator.
func TestTheGatewayRecordsDenialsOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	journal := postgres.NewJournal(pool(t, w.urls[function.Router], postgres.RoleGateway))
	forged := audit.Record{OrgID: one, ID: "aud_1", At: w.clock.Now(), Actor: "key_admin", Action: "model.create", Detail: map[string]any{}, Outcome: audit.Success}
	denial := forged
	denial.ID, denial.Action = "aud_2", audit.ActionDeny // says success, and is recorded as denied
	for range 2 {                                        // the second time it is there already
		if err := journal.WriteDenials(t.Context(), []audit.Record{forged, denial}); err != nil {
			t.Fatal(err)
		}
	}
	if got := query[string](w, function.Router, `SELECT string_agg(audit_id || ' ' || outcome, ', ') FROM router.audit_records`); got != "aud_2 denied" {
		t.Errorf("recorded: %s", got)
	}
	for _, sql := range []string{
		`SELECT count(*) FROM router.audit_records`, `SELECT count(*) FROM router.audit_pending`, `SELECT router.prune_audit('org_one', '{aud_2}', '1 year')`,
		`INSERT INTO router.audit_records VALUES ('org_one', 'x', now(), 'a', 'a', 't', '{}')`,
	} {
		if code := w.as(function.Router, "aiaas_gateway", sql); code != "42501" {
			t.Errorf("%s: %q", sql, code)
		}
	}
}

// TestManyOrganisationsDenialsAreWrittenUnderTheirOwnNames is that of the management API.
func TestManyOrganisationsDenialsAreWrittenUnderTheirOwnNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sink := postgres.NewAuditDenials(pool(t, w.urls[function.Accounts], postgres.RoleAccounts))
	var list []audit.Record
	for i, org := range []string{one, two, one} {
		list = append(list, audit.Record{OrgID: org, ID: fmt.Sprint("aud_", i), At: w.clock.Now(), Actor: "key_1", Action: audit.ActionAuthFail, Detail: map[string]any{}, Outcome: audit.Denied})
	}
	for range 2 {
		if err := sink.WriteDenials(t.Context(), list); err != nil {
			t.Fatal(err)
		}
	}
	w.seal()
	w.valid(one, 2)
	w.valid(two, 1)
}
