package hostile_test

// Somebody and something of each kind, in the first organisation.
const (
	hex     = "01a20d00000070008000000000000000"
	user    = "user_" + hex
	account = "sa_" + hex
	role    = "role_" + hex
	project = "proj_" + hex
)

// furnishPeople makes them.
func (p *platform) furnishPeople() {
	p.t.Helper()
	p.exec(`
		INSERT INTO accounts.users (user_id, email, created_at) VALUES ('%[2]s', 'user@example.com', now());
		INSERT INTO accounts.members (org_id, user_id, role, created_at) VALUES ('%[1]s', '%[2]s', 'developer', now());
		INSERT INTO accounts.service_accounts (org_id, account_id, name, role, created_by, created_at, updated_at)
		VALUES ('%[1]s', '%[3]s', 'program', 'developer', 'test', now(), now());
		INSERT INTO accounts.roles VALUES ('%[1]s', '%[4]s', 'made', '', '{keys.read}', 'own', 'test', now(), now());
		INSERT INTO accounts.projects (org_id, project_id, name, created_at) VALUES ('%[1]s', '%[5]s', 'second', now());
		INSERT INTO accounts.project_members VALUES ('%[1]s', '%[5]s', '%[2]s', 'viewer', 'test', now())`,
		p.one.id, user, account, role, project)
}

// peopleTargets are the addresses of the function identity.
func peopleTargets() map[string]string {
	list := map[string]string{
		"getMe": "/v1/me", "evaluatePolicy": "/v1/policy/evaluate", "listPermissions": "/v1/policy/permissions",
		"listMembers": "/v1/members", "addMember": "/v1/members", "listServiceAccounts": "/v1/service-accounts", "createServiceAccount": "/v1/service-accounts",
		"listRoles": "/v1/roles", "createRole": "/v1/roles", "listProjects": "/v1/projects", "createProject": "/v1/projects",
		"deleteServiceAccount": "/v1/service-accounts/" + account, "removeMember": "/v1/members/" + user, "deleteRole": "/v1/roles/" + role,
		"archiveProject": "/v1/projects/" + project + "/archive", "restoreProject": "/v1/projects/" + project + "/restore",
		"listProjectMembers": "/v1/projects/" + project + "/members",
		"setProjectMember":   "/v1/projects/" + project + "/members/" + user, "removeProjectMember": "/v1/projects/" + project + "/members/" + user,
	}
	for what, path := range map[string]string{
		"Member": "/v1/members/" + user, "ServiceAccount": "/v1/service-accounts/" + account, "Role": "/v1/roles/" + role, "Project": "/v1/projects/" + project,
	} {
		list["get"+what], list["change"+what] = path, path
		if what == "Member" || what == "ServiceAccount" {
			list["suspend"+what], list["reactivate"+what] = path+"/suspend", path+"/reactivate"
		}
	}
	return list
}
