package catalogue_test

import "github.com/aiaas/aiaas/shared/apikey"

// keyRoutes has calls for the routes that act on one key, and for those of whoever
// finds one.
func keyRoutes() map[string]calls {
	const none = "/v1/api-keys/key_0199c0b2f3a47c1e8d6a5b4c3d2e1f00"
	return map[string]calls{
		"getApiKey": {
			good{admin, "/v1/api-keys/{spare}", "", `"state":"active"`},
			[]bad{{admin, none, "", 404, "not_found"}},
		},
		"updateApiKey": {
			good{admin, "/v1/api-keys/{spare}", `{"name":"other"}`, `"name":"other"`},
			[]bad{{admin, none, `{"name":"other"}`, 404, "not_found"}, {caller, none, `{"name":"other"}`, 403, "forbidden"}},
		},
		"suspendApiKey": {
			good{admin, "/v1/api-keys/{spare}/suspend", "", `"state":"suspended"`},
			[]bad{{admin, none + "/suspend", "", 404, "not_found"}},
		},
		"resumeApiKey": {
			good{admin, "/v1/api-keys/{spare}/resume", `{"reason":"fine"}`, `"state":"active"`},
			[]bad{{admin, none + "/resume", "", 404, "not_found"}},
		},
		"rotateApiKey": {
			good{admin, "/v1/api-keys/{spare}/rotate", `{"overlap":"1h"}`, `"key":"aiaas_live_`},
			[]bad{{admin, none + "/rotate", "", 404, "not_found"}, {admin, none + "/rotate", `{"overlap":"soon"}`, 422, "unprocessable"}},
		},
		"getApiKeyPattern": {good{nobody, "/v1/api-keys/pattern", "", `"pattern":"aiaas_(live|dev)_`}, nil},
		"revokeLeakedApiKey": {
			good{nobody, "/v1/api-keys/revoke-leaked", `{"key":"` + apikey.Example().Reveal() + `"}`, `"status":"accepted"`},
			[]bad{{nobody, "/v1/api-keys/revoke-leaked", `{}`, 422, "unprocessable"}},
		},
	}
}
