package catalogue_test

import (
	"fmt"
	"testing"

	"github.com/aiaas/aiaas/adapters/oidc/oidctest"
	"github.com/aiaas/aiaas/shared/id"
)

// People who are known at their organisation's issuer.
const (
	vouched as = "session of single sign-on"
	parted  as = "session of a member whose identity there is forgotten"
)

// sso makes domains and connections, to an issuer of the test's.
func (p *platform) sso(t *testing.T) []string {
	t.Helper()
	issuer := oidctest.New(t)
	connection, doomed, identity := id.New(id.Connection), id.New(id.Connection), id.New(id.Identity)
	known := id.New(id.Identity)
	domain, old := id.New(id.Domain), id.New(id.Domain)
	userID, other := p.session(vouched, "vouched@corp.example"), p.session(parted, "parted@corp.example")
	org := p.keys.OrganizationID
	for _, c := range []string{connection, doomed} {
		p.exec(fmt.Sprintf(`
			INSERT INTO accounts.sso_connections (org_id, connection_id, name, issuer, client_id, secret, required, trust_mfa, enabled, authority, created_by, created_at, updated_at)
			VALUES ('%s', '%s', 'directory', '%s', 'aiaas', '', false, false, %t, 'owner', 'test', now(), now())`, org, c, issuer.URL, c == connection))
	}
	p.exec(fmt.Sprintf(`
		INSERT INTO accounts.sso_domains VALUES ('%[1]s', '%[2]s', 'corp.example', 'token', 'test', now(), now()), ('%[1]s', '%[3]s', 'old.example', 'token', 'test', now(), NULL);
		INSERT INTO accounts.sso_identities (org_id, identity_id, connection_id, subject, user_id, created_at, seen_at)
		VALUES ('%[1]s', '%[4]s', '%[5]s', 'other', '%[7]s', now(), now()), ('%[1]s', '%[8]s', '%[5]s', 'subject', '%[6]s', now(), now());
		UPDATE accounts.sessions SET means = 'sso', connection = '%[5]s' WHERE holder_id = '%[6]s'`, org, domain, old, identity, connection, userID, other, known))
	return []string{"{domain}", domain, "{olddomain}", old, "{connection}", connection, "{doomed}", doomed, "{identity}", identity, "{issuer}", issuer.URL}
}

// ssoRoutes has calls for the routes about single sign-on.
func ssoRoutes() map[string]calls {
	one := func(path, body, has, ghost string) calls {
		return calls{good{admin, path, body, has}, []bad{{admin, ghost, body, 404, "not_found"}, {caller, ghost, body, 403, "forbidden"}}}
	}
	list := func(path, has string) calls {
		return calls{good{admin, path, "", has}, []bad{{caller, path, "", 403, "forbidden"}}}
	}
	const domain, connection, identity = "/v1/sso/domains/dom_" + nobodyID, "/v1/sso/connections/sso_" + nobodyID, "/v1/sso/identities/xid_" + nobodyID
	const stepUp = "/v1/session/step-up/sso"
	return map[string]calls{
		"listSsoDomains": list("/v1/sso/domains", `"domain":"corp.example"`),
		"addSsoDomain": {
			good{admin, "/v1/sso/domains", `{"domain":"fresh.example"}`, `"name":"_aiaas-challenge.fresh.example"`},
			[]bad{{admin, "/v1/sso/domains", `{"domain":"gmail.com"}`, 422, "unprocessable"}, {admin, "/v1/sso/domains", `{"domain":"corp.example"}`, 409, "conflict"}},
		},
		"getSsoDomain":    one("/v1/sso/domains/{domain}", "", `"verified":true`, domain),
		"verifySsoDomain": one("/v1/sso/domains/{domain}/verify", "", `"verified":true`, domain+"/verify"),
		"removeSsoDomain": one("/v1/sso/domains/{olddomain}", "", "", domain),

		"listSsoConnections": list("/v1/sso/connections", `"name":"directory"`),
		"createSsoConnection": {
			good{admin, "/v1/sso/connections", `{"name":"fresh","issuer":"{issuer}","client_id":"aiaas","enabled":false}`, `"vouches_as":"owner"`},
			[]bad{{admin, "/v1/sso/connections", `{"name":"x","issuer":"https://10.0.0.1","client_id":"x"}`, 422, "unprocessable"}},
		},
		"getSsoConnection":    one("/v1/sso/connections/{connection}", "", `"public_client":true`, connection),
		"changeSsoConnection": one("/v1/sso/connections/{connection}", `{"name":"changed"}`, `"name":"changed"`, connection),
		"deleteSsoConnection": one("/v1/sso/connections/{doomed}", "", "", connection),
		"listSsoIdentities":   list("/v1/sso/identities", `"subject":"subject"`),
		"unlinkSsoIdentity":   one("/v1/sso/identities/{identity}", "", "", identity),

		"signInBySso": {
			good{nobody, "/v1/sign-in/sso", `{"email":"ada@corp.example"}`, `"redirect_url":"http://127.0.0.1:`},
			[]bad{{nobody, "/v1/sign-in/sso", `{"email":"ada@unknown.example"}`, 404, "not_found"}},
		},
		"returnFromSso": {
			good{nobody, "/v1/sign-in/sso/callback/{connection}?state=x&code=y", "", ""},
			[]bad{{nobody, "/v1/sign-in/sso/callback/x?state=x&state=y", "", 400, "invalid_request"}},
		},
		"stepUpBySso": {
			good{vouched, stepUp, `{"return_to":"/account"}`, `prompt=login`},
			[]bad{{nobody, stepUp, `{}`, 401, "invalid_api_key"}, {admin, stepUp, `{}`, 403, "forbidden"}},
		},
	}
}
