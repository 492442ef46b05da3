package hostile_test

const secret = "cs_" + hex

// oauthTargets are the addresses of the function oauth.
func oauthTargets() map[string]string {
	const request, device, secrets = "/v1/oauth/requests/areq_" + hex, "/v1/oauth/device/BCDF-GHJK", "/v1/service-accounts/" + account + "/client-secrets"
	return map[string]string{
		"getOpenIDConfiguration": "/.well-known/openid-configuration", "getAuthorizationServer": "/.well-known/oauth-authorization-server",
		"getJSONWebKeySet": "/oauth/jwks", "authorize": "/oauth/authorize", "getToken": "/oauth/token", "revokeToken": "/oauth/revoke",
		"introspectToken": "/oauth/introspect", "authorizeDevice": "/oauth/device_authorization",
		"getOAuthRequest": request, "approveOAuthRequest": request + "/approve", "denyOAuthRequest": request + "/deny",
		"getOAuthDevice": device, "approveOAuthDevice": device + "/approve", "denyOAuthDevice": device + "/deny",
		"listClientSecrets": secrets, "createClientSecret": secrets, "deleteClientSecret": secrets + "/" + secret,
	}
}
