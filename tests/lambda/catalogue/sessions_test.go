package catalogue_test

import (
	"fmt"
	"testing"

	"github.com/aiaas/aiaas/shared/id"
)

// People whose sessions end below.
const (
	outgoing  as = "session of a member who signs out"
	alone     as = "session of a member who ends all others"
	traveller as = "session of a member of two organisations"
)

// sittings begins sessions, and makes an organisation to go to.
func (p *platform) sittings(_ *testing.T) []string {
	p.session(outgoing, "outgoing@example.com")
	user := p.session(alone, "alone@example.com")
	goes := p.session(traveller, "traveller@example.com")
	org, spare := id.New(id.Organization), id.New(id.Session)
	p.exec(fmt.Sprintf(`
		INSERT INTO accounts.organizations (org_id, name, created_at) VALUES ('%[1]s', 'There', now());
		INSERT INTO accounts.members (org_id, user_id, role, created_at) VALUES ('%[1]s', '%[2]s', 'developer', now());
		INSERT INTO accounts.sessions (org_id, session_id, holder_id, kind, means, mfa, proved_at, address, user_agent, created_at, seen_at, expires_at)
		VALUES ('%[3]s', '%[4]s', '%[5]s', 'oauth', 'password', true, now(), '', '', now(), now(), now() + interval '1 hour')`,
		org, goes, p.keys.OrganizationID, spare, user))
	return []string{"{there}", org, "{spare session}", spare}
}

// sessionRoutes has calls for the routes about sessions.
func sessionRoutes() map[string]calls {
	refused := func(path, body string) []bad {
		return []bad{{nobody, path, body, 401, "invalid_api_key"}, {admin, path, body, 403, "forbidden"}}
	}
	members := func(has string) calls {
		return calls{
			good{admin, "/v1/members/{mate}/sessions", "", has},
			[]bad{{admin, "/v1/members/user_" + nobodyID + "/sessions", "", 404, "not_found"}, {caller, "/v1/members/{mate}/sessions", "", 403, "forbidden"}},
		}
	}
	const none = "/v1/sessions/ses_" + nobodyID
	return map[string]calls{
		"listSessions":       {good{alone, "/v1/sessions", "", `"current":true`}, refused("/v1/sessions", "")},
		"endSession":         {good{alone, "/v1/sessions/{spare session}", "", ""}, []bad{{alone, none, "", 404, "not_found"}, {admin, none, "", 403, "forbidden"}}},
		"endOtherSessions":   {good{alone, "/v1/sessions", "", `"ended":`}, refused("/v1/sessions", "")},
		"signOut":            {good{outgoing, "/v1/sign-out", "", ""}, []bad{{outgoing, "/v1/sign-out", "", 401, "invalid_api_key"}, {admin, "/v1/sign-out", "", 403, "forbidden"}}},
		"listMemberSessions": members(`"data":[]`),
		"endMemberSessions":  members(`"ended":0`),
		"switchOrganization": {
			good{traveller, "/v1/session/organization", `{"organization_id":"{there}"}`, `"token":"aiaas_session_`},
			[]bad{{alone, "/v1/session/organization", `{"organization_id":"{there}"}`, 404, "not_found"}, {admin, "/v1/session/organization", `{"organization_id":"{there}"}`, 403, "forbidden"}},
		},
	}
}
