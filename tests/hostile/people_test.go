package hostile_test

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/session"
)

// Somebody and something of each kind, in the first organisation.
const (
	hex     = "01a20d00000070008000000000000000"
	user    = "user_" + hex
	account = "sa_" + hex
	role    = "role_" + hex
	project = "proj_" + hex

	invitation = "invite_" + hex

	domain     = "dom_" + hex
	connection = "sso_" + hex
	identity   = "xid_" + hex
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
		INSERT INTO accounts.project_members VALUES ('%[1]s', '%[5]s', '%[2]s', 'viewer', 'test', now());
		INSERT INTO accounts.invitations (org_id, invitation_id, email, role, token_hash, invited_by, inviter_id, sent_at, created_at, expires_at)
		VALUES ('%[1]s', '%[6]s', 'guest@example.com', 'developer', sha256('x'), 'test', '%[3]s', now() - interval '1 hour', now(), now() + interval '1 day');
		INSERT INTO accounts.sso_domains VALUES ('%[1]s', '%[7]s', 'corp.example', 'token', 'test', now(), now());
		INSERT INTO accounts.sso_connections (org_id, connection_id, name, issuer, client_id, secret, required, trust_mfa, enabled, authority, created_by, created_at, updated_at)
		VALUES ('%[1]s', '%[8]s', 'directory', 'https://login.example.com', 'c', '', false, false, true, 'owner', 'test', now(), now());
		INSERT INTO accounts.sso_identities (org_id, identity_id, connection_id, subject, user_id, created_at, seen_at)
		VALUES ('%[1]s', '%[9]s', '%[8]s', 'subject', '%[2]s', now(), now())`,
		p.one.id, user, account, role, project, invitation, domain, connection, identity)
}

// signedIn makes a member with a session and a passkey of hostile names, and returns
// the session's token.
func (p *platform) signedIn() (token string) {
	p.t.Helper()
	raw := strings.Repeat("h", 43)
	hash := sha256.Sum256([]byte(raw))
	holder := id.New(id.User)
	p.exec(`
		INSERT INTO accounts.users (user_id, email, created_at) VALUES ('%[2]s', 'signed.in@example.com', now());
		INSERT INTO accounts.members (org_id, user_id, role, created_at) VALUES ('%[1]s', '%[2]s', 'developer', now());
		INSERT INTO accounts.sessions (org_id, session_id, holder_id, kind, means, client, mfa, proved_at, address, user_agent, token_hash, created_at, seen_at, expires_at)
		VALUES ('%[1]s', 'ses_%[4]s', '%[2]s', 'bearer', 'password', '@SUM(A1)', true, now(), '', '=1+1', '%[3]s', now(), now(), now() + interval '1 hour');
		INSERT INTO accounts.passkeys (user_id, passkey_id, rp_id, credential_id, name, record, sign_count, created_at)
		VALUES ('%[2]s', 'pk_%[4]s', 'localhost', 'x', '+1+1', '{}', 0, now())`,
		p.one.id, holder, base64.RawURLEncoding.EncodeToString(hash[:]), hex)
	return session.TokenPrefix + raw
}

// peopleTargets are the addresses of the function identity.
func peopleTargets() map[string]string {
	list := map[string]string{
		"signOut": "/v1/sign-out", "listSessions": "/v1/sessions", "endOtherSessions": "/v1/sessions", "endSession": "/v1/sessions/ses_" + hex,
		"switchOrganization": "/v1/session/organization", "listMemberSessions": "/v1/members/" + user + "/sessions", "endMemberSessions": "/v1/members/" + user + "/sessions",
		"getMe": "/v1/me", "changeMe": "/v1/me", "listInvitations": "/v1/invitations", "inviteMember": "/v1/invitations",
		"getInvitation": "/v1/invitations/" + invitation, "resendInvitation": "/v1/invitations/" + invitation + "/resend", "withdrawInvitation": "/v1/invitations/" + invitation,
		"signIn": "/v1/sign-in", "giveSecondFactor": "/v1/sign-in/second-factor", "askPasskey": "/v1/sign-in/passkey/options", "signInByPasskey": "/v1/sign-in/passkey",
		"forgotPassword": "/v1/password/forgot", "resetPassword": "/v1/password/reset", "askResetPasskey": "/v1/password/reset/options",
		"resetPasswordSecondFactor": "/v1/password/reset/second-factor", "changePassword": "/v1/me/password",
		"stepUp": "/v1/session/step-up", "askStepUpPasskey": "/v1/session/step-up/options",
		"inspectInvitation": "/v1/invitations/inspect", "acceptInvitation": "/v1/invitations/accept",
		"getFactors": "/v1/me/factors", "startTotp": "/v1/me/totp", "confirmTotp": "/v1/me/totp/confirm", "deleteTotp": "/v1/me/totp",
		"replaceRecoveryCodes": "/v1/me/recovery-codes", "startPasskey": "/v1/me/passkeys/options", "addPasskey": "/v1/me/passkeys", "listPasskeys": "/v1/me/passkeys",
		"renamePasskey": "/v1/me/passkeys/pk_" + hex, "deletePasskey": "/v1/me/passkeys/pk_" + hex,
		"signInBySso": "/v1/sign-in/sso", "returnFromSso": "/v1/sign-in/sso/callback/" + connection, "stepUpBySso": "/v1/session/step-up/sso",
		"listSsoDomains": "/v1/sso/domains", "addSsoDomain": "/v1/sso/domains", "getSsoDomain": "/v1/sso/domains/" + domain,
		"verifySsoDomain": "/v1/sso/domains/" + domain + "/verify", "removeSsoDomain": "/v1/sso/domains/" + domain,
		"listSsoConnections": "/v1/sso/connections", "createSsoConnection": "/v1/sso/connections", "getSsoConnection": "/v1/sso/connections/" + connection,
		"changeSsoConnection": "/v1/sso/connections/" + connection, "deleteSsoConnection": "/v1/sso/connections/" + connection,
		"listSsoIdentities": "/v1/sso/identities", "unlinkSsoIdentity": "/v1/sso/identities/" + identity,
		"evaluatePolicy": "/v1/policy/evaluate", "listPermissions": "/v1/policy/permissions",
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
