package catalogue_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/aiaas/aiaas/shared/id"
)

// asCookie marks the token of a session that a browser sends.
const asCookie = "cookie "

const browser as = "session of a browser"

// oauth begins what the calls below go on with.
func (p *platform) oauth(t *testing.T) []string {
	t.Helper()
	user := p.session(browser, "browser@example.com")
	p.exec(`UPDATE accounts.sessions SET kind = 'browser' WHERE holder_id = '` + user + `'`)
	p.sessions[browser] = asCookie + p.sessions[browser]
	var names []string
	for _, name := range []string{"{question}", "{yes}", "{no}"} {
		request := id.New(id.Consent)
		p.exec(fmt.Sprintf(`
			INSERT INTO accounts.oauth_requests (org_id, request_id, user_id, client_id, redirect_uri, state, nonce, challenge, scopes, openid, offline, created_at, expires_at)
			VALUES ('%s', '%s', '%s', 'aiaas-cli', 'http://127.0.0.1:9/callback', 's', '', 'c', '{usage:read}', false, false, now(), now() + interval '1 hour')`,
			p.keys.OrganizationID, request, user))
		names = append(names, name, request)
	}
	for i, code := range []string{"BCDFGHJK", "BCDFGHJL", "BCDFGHJM"} {
		p.exec(fmt.Sprintf(`
			INSERT INTO accounts.oauth_devices (device_hash, user_code, client_id, scopes, openid, offline, address, user_agent, created_at, expires_at, interval_s)
			VALUES (sha256('%d'), '%s', 'aiaas-cli', '{usage:read}', false, false, '', '', now(), now() + interval '1 hour', 5)`, i, code))
	}
	made := func(path, body string) (v struct {
		ID     string `json:"id"`
		Secret string `json:"client_secret"`
	}) {
		got := p.do("POST", path, p.key(admin), body)
		if err := json.Unmarshal(got.body, &v); err != nil || v.ID == "" {
			t.Fatalf("make %s: %v: %s", path, err, got.body)
		}
		return v
	}
	account := made("/v1/service-accounts", `{"name":"oauth","role":"developer"}`)
	kept, spare := made("/v1/service-accounts/"+account.ID+"/client-secrets", ""), made("/v1/service-accounts/"+account.ID+"/client-secrets", "")
	return append(names, "{client}", account.ID, "{secret}", kept.Secret, "{secret id}", spare.ID)
}

// oauthRoutes has calls for the routes of the function oauth.
func oauthRoutes() map[string]calls {
	const ghost = "areq_" + nobodyID
	challenge := strings.Repeat("A", 43)
	ask := "/oauth/authorize?response_type=code&client_id=aiaas-cli&scope=usage:read&code_challenge_method=S256&code_challenge=" + challenge + "&redirect_uri="
	question := func(name, path, has string) calls {
		return calls{good{browser, "/v1/oauth/requests/{" + name + "}" + path, "", has}, []bad{
			{admin, "/v1/oauth/requests/" + ghost + path, "", 403, "forbidden"}, {browser, "/v1/oauth/requests/" + ghost + path, "", 404, "not_found"},
			{nobody, "/v1/oauth/requests/" + ghost + path, "", 401, "invalid_api_key"},
		}}
	}
	device := func(code, path, has string) calls {
		return calls{good{browser, "/v1/oauth/device/" + code + path, "", has}, []bad{
			{admin, "/v1/oauth/device/" + code + path, "", 403, "forbidden"}, {browser, "/v1/oauth/device/ZZZZ-ZZZZ" + path, "", 404, "not_found"},
		}}
	}
	const secrets, none = "/v1/service-accounts/{client}/client-secrets", "/v1/service-accounts/sa_" + nobodyID + "/client-secrets"
	return map[string]calls{
		"getOpenIDConfiguration": {good{nobody, "/.well-known/openid-configuration", "", `"code_challenge_methods_supported":["S256"]`}, nil},
		"getAuthorizationServer": {good{nobody, "/.well-known/oauth-authorization-server", "", `"issuer":`}, nil},
		"getJSONWebKeySet":       {good{nobody, "/oauth/jwks", "", `"keys":[`}, nil},
		"authorize": {
			good{nobody, ask + "http://127.0.0.1:9/callback", "", ""},
			[]bad{{nobody, ask + "https://evil.example/callback", "", 400, "invalid_request"}},
		},
		"getToken":        {good{nobody, "/oauth/token", "grant_type=client_credentials&client_id={client}&client_secret={secret}", `"access_token":"`}, nil},
		"introspectToken": {good{nobody, "/oauth/introspect", "client_id={client}&client_secret={secret}&token=x", `"active":false`}, nil},
		"revokeToken":     {good{nobody, "/oauth/revoke", "client_id={client}&client_secret={secret}&token=x", ""}, nil},
		"authorizeDevice": {good{nobody, "/oauth/device_authorization", "client_id=aiaas-cli&scope=usage:read", `"user_code":"`}, nil},

		"getOAuthRequest":     question("question", "", `"scopes":["usage:read"]`),
		"approveOAuthRequest": question("yes", "/approve", `code=`),
		"denyOAuthRequest":    question("no", "/deny", `error=access_denied`),
		"getOAuthDevice":      device("BCDF-GHJK", "", `"user_code":"BCDF-GHJK"`),
		"approveOAuthDevice":  device("BCDF-GHJL", "/approve", ""),
		"denyOAuthDevice":     device("BCDF-GHJM", "/deny", ""),

		"createClientSecret": {good{admin, secrets, "", `"client_secret":"aiaas_secret_`}, []bad{{admin, none, "", 404, "not_found"}, {caller, none, "", 403, "forbidden"}}},
		"listClientSecrets":  {good{admin, secrets, "", `"hint":`}, []bad{{admin, none, "", 404, "not_found"}, {caller, none, "", 403, "forbidden"}}},
		"deleteClientSecret": {good{admin, secrets + "/{secret id}", "", ""}, []bad{{admin, none + "/cs_" + nobodyID, "", 404, "not_found"}, {caller, none + "/x", "", 403, "forbidden"}}},
	}
}
