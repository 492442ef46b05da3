package catalogue_test

import (
	"encoding/json"
	"testing"
)

const nobodyID = "0199c0b2f3a47c1e8d6a5b4c3d2e1f00" // under any prefix

// people makes somebody and something of each kind, for the calls below.
func (p *platform) people(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, c := range [][3]string{
		{"{user}", "/v1/members", `{"email":"user@example.com","role":"developer"}`},
		{"{mate}", "/v1/members", `{"email":"mate@example.com","role":"developer"}`},
		{"{account}", "/v1/service-accounts", `{"name":"program","role":"developer"}`},
		{"{role}", "/v1/roles", `{"name":"spare","permissions":["keys.read"],"reach":"own"}`},
		{"{project}", "/v1/projects", `{"name":"spare"}`},
	} {
		var made struct{ ID string }
		got := p.do("POST", c[1], p.key(admin), c[2])
		if err := json.Unmarshal(got.body, &made); err != nil || made.ID == "" {
			t.Fatalf("%s: %v: %s", c[1], err, got.body)
		}
		names = append(names, c[0], made.ID)
	}
	for _, c := range [][2]string{{"{invitation}", "guest@example.com"}, {"{guest}", "other@example.com"}} {
		var made struct{ ID string }
		got := p.do("POST", "/v1/invitations", p.key(admin), `{"email":"`+c[1]+`","role":"developer"}`)
		if err := json.Unmarshal(got.body, &made); err != nil || made.ID == "" {
			t.Fatalf("invite: %v: %s", err, got.body)
		}
		names = append(names, c[0], made.ID)
	}
	// Links are known to nobody here, and an invitation is sent once a minute.
	p.exec(`UPDATE accounts.invitations SET token_hash = sha256('` + linkToken + `'), sent_at = sent_at - interval '1 hour' WHERE email = 'guest@example.com'`)
	p.exec(`UPDATE accounts.invitations SET token_hash = sha256('` + otherToken + `'), sent_at = sent_at - interval '1 hour' WHERE email = 'other@example.com'`)
	return names
}

// What the links of two invitations have.
const (
	linkToken  = "aiaas_invitation_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	otherToken = "aiaas_invitation_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA"
)

// invitationRoutes has calls for the routes about invitations.
func invitationRoutes() map[string]calls {
	const ghost = "/v1/invitations/invite_" + nobodyID
	about := func(path, body, has string) calls {
		return calls{
			good{admin, "/v1/invitations/{guest}" + path, body, has},
			[]bad{{admin, ghost + path, body, 404, "not_found"}, {caller, ghost + path, body, 403, "forbidden"}},
		}
	}
	return map[string]calls{
		"listInvitations": {good{admin, "/v1/invitations", "", `"email":"other@example.com"`}, []bad{{caller, "/v1/invitations", "", 403, "forbidden"}}},
		"inviteMember": {
			good{admin, "/v1/invitations", `{"email":"third@example.com","role":"analyst"}`, `"status":"open"`},
			[]bad{{admin, "/v1/invitations", `{"email":"THIRD@example.com","role":"analyst"}`, 409, "conflict"}, {caller, "/v1/invitations", `{"email":"a@example.com","role":"analyst"}`, 403, "forbidden"}},
		},
		"getInvitation":      about("", "", `"status":"open"`),
		"resendInvitation":   about("/resend", "", `"sends":2`),
		"withdrawInvitation": about("", "", ""),
		"inspectInvitation": {
			good{nobody, "/v1/invitations/inspect", `{"token":"` + linkToken + `"}`, `"email":"g…@example.com"`},
			[]bad{{nobody, "/v1/invitations/inspect", `{"token":"x"}`, 404, "not_found"}},
		},
		"acceptInvitation": {
			good{nobody, "/v1/invitations/accept", `{"token":"` + linkToken + `","name":"Guest","password":"eleven purple herons","transport":"bearer"}`, `"status":"signed_in"`},
			[]bad{{nobody, "/v1/invitations/accept", `{"token":"` + linkToken + `","name":"Guest","password":"eleven purple herons"}`, 404, "not_found"}},
		},
	}
}

// peopleRoutes has calls for the routes of the function identity.
func peopleRoutes() map[string]calls {
	one := func(path, body, has, ghost string) calls {
		return calls{good{admin, path, body, has}, []bad{{admin, ghost, body, 404, "not_found"}, {caller, path, body, 403, "forbidden"}}}
	}
	list := func(path, has string) calls {
		return calls{good{admin, path, "", has}, []bad{{caller, path, "", 403, "forbidden"}}}
	}
	const user, account, role, project = "/v1/members/user_" + nobodyID, "/v1/service-accounts/sa_" + nobodyID, "/v1/roles/role_" + nobodyID, "/v1/projects/proj_" + nobodyID
	return map[string]calls{
		"listMembers": list("/v1/members", `"email":"user@example.com"`),
		"addMember": {
			good{admin, "/v1/members", `{"email":"fresh@example.com","role":"analyst"}`, `"role":"analyst"`},
			[]bad{{admin, "/v1/members", `{"email":"USER@example.com","role":"analyst"}`, 409, "conflict"}},
		},
		"getMember":        one("/v1/members/{user}", "", `"status":"active"`, user),
		"changeMember":     one("/v1/members/{user}", `{"role":"analyst"}`, `"role":"analyst"`, user),
		"suspendMember":    one("/v1/members/{user}/suspend", `{"reason":"r"}`, `"status":"suspended"`, user+"/suspend"),
		"reactivateMember": one("/v1/members/{user}/reactivate", "", `"status":"active"`, user+"/reactivate"),
		"removeMember":     one("/v1/members/{user}?keys=revoke", "", `"keys":"revoked"`, user),

		"listServiceAccounts": list("/v1/service-accounts", `"name":"program"`),
		"createServiceAccount": {
			good{admin, "/v1/service-accounts", `{"name":"fresh","role":"analyst"}`, `"name":"fresh"`},
			[]bad{{admin, "/v1/service-accounts", `{"name":"Program","role":"analyst"}`, 409, "conflict"}},
		},
		"getServiceAccount":        one("/v1/service-accounts/{account}", "", `"name":"program"`, account),
		"changeServiceAccount":     one("/v1/service-accounts/{account}", `{"description":"d"}`, `"description":"d"`, account),
		"suspendServiceAccount":    one("/v1/service-accounts/{account}/suspend", "", `"status":"suspended"`, account+"/suspend"),
		"reactivateServiceAccount": one("/v1/service-accounts/{account}/reactivate", "", `"status":"active"`, account+"/reactivate"),
		"deleteServiceAccount":     one("/v1/service-accounts/{account}", "", `"key_count":0`, account),

		"listRoles": list("/v1/roles", `"id":"owner"`),
		"createRole": {
			good{admin, "/v1/roles", `{"name":"fresh","permissions":["keys.read"],"reach":"own"}`, `"built_in":false`},
			[]bad{{admin, "/v1/roles", `{"name":"other","permissions":["tenants.write"],"reach":"own"}`, 422, "unprocessable"}},
		},
		"getRole":    one("/v1/roles/{role}", "", `"name":"spare"`, role),
		"changeRole": one("/v1/roles/{role}", `{"reach":"projects"}`, `"reach":"projects"`, role),
		"deleteRole": one("/v1/roles/{role}", "", "", role),

		"listProjects": list("/v1/projects", `"name":"spare"`),
		"createProject": {
			good{admin, "/v1/projects", `{"name":"fresh"}`, `"status":"active"`},
			[]bad{{admin, "/v1/projects", `{"name":" "}`, 422, "unprocessable"}},
		},
		"getProject":     one("/v1/projects/{project}", "", `"name":"spare"`, project),
		"changeProject":  one("/v1/projects/{project}", `{"models":["model"]}`, `"models":["model"]`, project),
		"archiveProject": one("/v1/projects/{project}/archive", "", `"status":"archived"`, project+"/archive"),
		"restoreProject": one("/v1/projects/{project}/restore", "", `"status":"active"`, project+"/restore"),

		"listProjectMembers":  one("/v1/projects/{project}/members", "", `"data":[`, project+"/members"),
		"setProjectMember":    one("/v1/projects/{project}/members/{mate}", `{"role":"viewer"}`, `"role":"viewer"`, project+"/members/user_"+nobodyID),
		"removeProjectMember": one("/v1/projects/{project}/members/{mate}", "", "", project+"/members/user_"+nobodyID),

		"getMe": {good{caller, "/v1/me", "", `"role":{"id":"owner"`}, []bad{{nobody, "/v1/me", "", 401, "invalid_api_key"}}},
		"changeMe": {
			good{person, "/v1/me", `{"time_zone":"Europe/Berlin"}`, `"time_zone":"Europe/Berlin"`},
			[]bad{{person, "/v1/me", `{"time_zone":"Local"}`, 422, "unprocessable"}, {admin, "/v1/me", `{"name":"x"}`, 403, "forbidden"}, {nobody, "/v1/me", `{"name":"x"}`, 401, "invalid_api_key"}},
		},
		"evaluatePolicy": {
			good{caller, "/v1/policy/evaluate", `{"action":"keys.create"}`, `"reason":"scope"`},
			[]bad{{caller, "/v1/policy/evaluate", `{"action":"keys.fly"}`, 422, "unprocessable"}, {nobody, "/v1/policy/evaluate", `{"action":"keys.read"}`, 401, "invalid_api_key"}},
		},
		"listPermissions": {good{caller, "/v1/policy/permissions", "", `"action":"keys.create"`}, []bad{{nobody, "/v1/policy/permissions", "", 401, "invalid_api_key"}}},
	}
}
