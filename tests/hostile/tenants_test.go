package hostile_test

import (
	"encoding/json"
	"regexp"

	"github.com/aiaas/aiaas/shared/id"
)

// plan is one that no organisation has.
const plan = "spare"

// furnishTenants makes an organisation that the platform may do anything with, a
// plan, and a mail and an audit record of the first organisation.
func (p *platform) furnishTenants() {
	p.t.Helper()
	p.exec(`UPDATE accounts.organizations SET contacts = '{"technical":"ada@example.com"}' WHERE org_id = '%s'`, p.one.id)
	made := p.do("POST", "/v1/organizations", p.one.platform, `{"name":"three","slug":"three","plan":"starter","owner":{"email":"three@example.com"}}`)
	var out struct {
		ID  string
		Key struct{ ID string }
	}
	if err := json.Unmarshal(made.body, &out); err != nil || made.status != 201 || out.Key.ID == "" {
		p.t.Fatalf("create an organisation: %v: %s", err, regexp.MustCompile(`aiaas_live_\w+`).ReplaceAllString(made.String(), "…"))
	}
	p.tenant = org{id: out.ID, callerID: out.Key.ID}
	if a := p.do("PUT", "/v1/plans/"+plan, p.one.platform, `{"name":"Spare","limits":{"requests_per_minute":1,"tokens_per_minute":0,"concurrent_requests":0,"key_requests_per_minute":0,"key_tokens_per_minute":0,"key_concurrent_requests":0},"max_members":0,"max_projects":0,"max_keys":0}`); a.status != 200 {
		p.t.Fatalf("make a plan: %s", a)
	}
	p.mail, p.record = id.New("mail"), p.scalar(`SELECT audit_id FROM accounts.audit_records WHERE org_id = '%s' AND action = 'webhook.create'`, p.one.id)
	p.exec(`INSERT INTO accounts.mails (org_id, mail_id, kind, recipient, data, status, created_at, next_attempt_at, finished_at, dedupe_key)
		VALUES ('%s', '%s', 'test', 'ada@example.com', '{}', 'sent', now(), now(), now(), 'k')`, p.one.id, p.mail)
}

// tenantTargets are the addresses of the functions organizations and audit, and of
// the mails.
func (p *platform) tenantTargets() map[string]string {
	tenant := "/v1/organizations/" + p.tenant.id
	return map[string]string{
		"listOrganizations": "/v1/organizations", "createOrganization": "/v1/organizations", "getOrganization": tenant, "changeOrganization": tenant,
		"suspendOrganization": tenant + "/suspend", "activateOrganization": tenant + "/activate", "closeOrganization": tenant + "/close",
		"getOrganizationModels": tenant + "/models", "putOrganizationModels": tenant + "/models",
		"revokeOrganizationKey": tenant + "/keys/" + p.tenant.callerID + "/revoke",
		"listPlans":             "/v1/plans", "putPlan": "/v1/plans/" + plan, "deletePlan": "/v1/plans/" + plan,
		"getOwnOrganization": "/v1/organization", "changeOwnOrganization": "/v1/organization", "deleteOwnOrganization": "/v1/organization",
		"listAuditRecords": "/v1/audit", "getAuditRecord": "/v1/audit/" + p.record, "verifyAudit": "/v1/audit/verify", "exportAudit": "/v1/audit/export",
		"listAuditKeys": "/v1/audit/keys",
		"listMails":     "/v1/mails", "getMail": "/v1/mails/" + p.mail, "sendTestMail": "/v1/mails/test",
	}
}
