package catalogue_test

import (
	"encoding/json"
	"testing"
)

const (
	newTenant = `{"name":"Fresh","slug":"fresh","owner":{"email":"fresh@tenant.example"}}`
	newPlan   = `{"name":"Spare","limits":{"requests_per_minute":7,"tokens_per_minute":0,"concurrent_requests":0,"key_requests_per_minute":0,"key_tokens_per_minute":0,"key_concurrent_requests":0},"max_members":0,"max_projects":0,"max_keys":0}`
	because   = `{"reason":"a test"}`
)

// tenantRoutes has calls for the routes of the function organizations. {tenant} is an
// organisation that the platform does everything to, {first} its first key.
func tenantRoutes() map[string]calls {
	const tenant, ghost = "/v1/organizations/{tenant}", "/v1/organizations/org_" + nobodyID
	one := func(path, body, has string) calls {
		return calls{good{operator, tenant + path, body, has}, []bad{{operator, ghost + path, body, 404, "not_found"}, {admin, ghost + path, body, 403, "forbidden"}}}
	}
	return map[string]calls{
		"listOrganizations": {
			good{operator, "/v1/organizations", "", `"slug":"tenant"`},
			[]bad{{admin, "/v1/organizations", "", 403, "forbidden"}, {operator, "/v1/organizations?cursor=x", "", 400, "invalid_request"}},
		},
		"createOrganization": {
			good{operator, "/v1/organizations", newTenant, `"key":"aiaas_live_`},
			[]bad{{operator, "/v1/organizations", newTenant, 409, "conflict"}, {admin, "/v1/organizations", newTenant, 403, "forbidden"}},
		},
		"getOrganization":       one("", "", `"slug":"tenant"`),
		"changeOrganization":    one("", `{"limits":{"requests_per_minute":5}}`, `"requests_per_minute":5`),
		"suspendOrganization":   one("/suspend", because, `"status":"suspended"`),
		"activateOrganization":  one("/activate", because, `"status":"active"`),
		"closeOrganization":     one("/close", because, `"status":"closed"`),
		"getOrganizationModels": one("/models", "", `"allowed":null`),
		"putOrganizationModels": one("/models", `{"allowed":["model"],"granted":[]}`, `"allowed":["model"]`),
		"revokeOrganizationKey": {
			good{operator, tenant + "/keys/{first}/revoke", because, ""},
			[]bad{{operator, ghost + "/keys/key_" + nobodyID + "/revoke", because, 404, "not_found"}, {admin, ghost + "/keys/key_" + nobodyID + "/revoke", because, 403, "forbidden"}},
		},
		"listPlans": {good{operator, "/v1/plans", "", `"id":"starter"`}, []bad{{admin, "/v1/plans", "", 403, "forbidden"}}},
		"putPlan": {
			good{operator, "/v1/plans/spare", newPlan, `"requests_per_minute":7`},
			[]bad{{admin, "/v1/plans/spare", newPlan, 403, "forbidden"}, {operator, "/v1/plans/No%20Plan", newPlan, 422, "unprocessable"}},
		},
		"deletePlan": {
			good{operator, "/v1/plans/spare", "", ""},
			[]bad{{operator, "/v1/plans/starter", "", 409, "conflict"}, {operator, "/v1/plans/ghost", "", 404, "not_found"}},
		},
		"getOwnOrganization": {good{admin, "/v1/organization", "", `"status":"active"`}, []bad{{caller, "/v1/organization", "", 403, "forbidden"}}},
		"changeOwnOrganization": {
			good{admin, "/v1/organization", `{"contacts":{"technical":"ops@example.com"}}`, `"technical":"ops@example.com"`},
			[]bad{{admin, "/v1/organization", `{"settings":{"ip_allow_list":["192.0.2.0/24"]}}`, 422, "unprocessable"}, {caller, "/v1/organization", `{"name":"x"}`, 403, "forbidden"}},
		},
		"deleteOwnOrganization": {
			good{leaver, "/v1/organization?confirm=leaver", "", ""},
			[]bad{
				{leaver, "/v1/organization?confirm=leaver", "", 401, "invalid_api_key"}, // it has left
				{admin, "/v1/organization", "", 422, "unprocessable"}, {admin, "/v1/organization?confirm=leaver", "", 422, "unprocessable"},
				{caller, "/v1/organization?confirm=x", "", 403, "forbidden"},
			},
		},
	}
}

// tenants makes what the calls are about, and returns the names and ids.
func (p *platform) tenants(t *testing.T) []string {
	t.Helper()
	var made [2]struct {
		ID  string
		Key struct{ ID, Key string }
	}
	for i, name := range []string{"tenant", "leaver"} {
		got := p.do("POST", "/v1/organizations", p.key(operator), `{"name":"`+name+`","slug":"`+name+`","owner":{"email":"owner@`+name+`.example"}}`)
		if err := json.Unmarshal(got.body, &made[i]); err != nil || made[i].Key.Key == "" {
			t.Fatalf("make %s: %v: %d", name, err, got.status)
		}
	}
	p.leaver = made[1].Key.Key
	return []string{"{tenant}", made[0].ID, "{first}", made[0].Key.ID}
}

// auditRoutes has calls for the routes of the function audit. {record} stands for the
// id of a record that is sealed.
func auditRoutes() map[string]calls {
	const foreign = "?organization_id=org_" + nobodyID
	read := func(path, query, has string) calls {
		return calls{good{admin, path + query, "", has}, []bad{{caller, path, "", 403, "forbidden"}, {admin, path + foreign, "", 403, "forbidden"}}}
	}
	return map[string]calls{
		"listAuditRecords": read("/v1/audit", "?action=webhook.create", `"action":"webhook.create"`),
		"verifyAudit":      read("/v1/audit/verify", "", `"valid":true`),
		"exportAudit":      read("/v1/audit/export", "", `{"trailer":`),
		"listAuditKeys":    {good{admin, "/v1/audit/keys", "", `"public_key":"`}, []bad{{caller, "/v1/audit/keys", "", 403, "forbidden"}}},
		"getAuditRecord": {
			good{admin, "/v1/audit/{record}", "", `"seal":{"seq":`},
			[]bad{{admin, "/v1/audit/aud_" + nobodyID, "", 404, "not_found"}, {caller, "/v1/audit/aud_" + nobodyID, "", 403, "forbidden"}},
		},
	}
}

// sealed seals what there is, and returns the name and id of a record.
func (p *platform) sealed() []string {
	p.t.Helper()
	p.job("audit", "seal")
	return []string{"{record}", p.scalar(`SELECT audit_id FROM accounts.audit_records WHERE org_id = '` + p.keys.OrganizationID + `' AND action = 'webhook.create' LIMIT 1`)}
}

// mailRoutes has calls for the routes about mails. {mail} stands for the id of one.
func mailRoutes() map[string]calls {
	return map[string]calls{
		"listMails": {
			good{admin, "/v1/mails", "", `"status":"sent"`},
			[]bad{{caller, "/v1/mails", "", 403, "forbidden"}, {admin, "/v1/mails?status=lost", "", 422, "unprocessable"}},
		},
		"getMail": {good{admin, "/v1/mails/{mail}", "", `"recipient":"mate@example.com"`}, []bad{{admin, "/v1/mails/mail_" + nobodyID, "", 404, "not_found"}}},
		"sendTestMail": {
			good{admin, "/v1/mails/test", `{"to":"mate@example.com"}`, `"status":"queued"`},
			[]bad{{admin, "/v1/mails/test", `{"to":"eve@evil.example"}`, 422, "unprocessable"}, {caller, "/v1/mails/test", `{}`, 403, "forbidden"}},
		},
	}
}

// mails sends one to whom people made, and returns its name and id.
func (p *platform) mails(t *testing.T) []string {
	t.Helper()
	var sent struct{ ID string }
	got := p.do("POST", "/v1/mails/test", p.key(admin), `{"to":"mate@example.com"}`)
	if err := json.Unmarshal(got.body, &sent); err != nil || sent.ID == "" {
		t.Fatalf("send a mail: %v: %s", err, got.body)
	}
	p.job("notifications", "mails")
	return []string{"{mail}", sent.ID}
}
