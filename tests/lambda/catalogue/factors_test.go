package catalogue_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	virtual "github.com/descope/virtualwebauthn"
	"github.com/pquerna/otp/totp"

	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/session"
)

// People who have signed in. A call that renews a session is the last by it.
const (
	person   as = "session of a member with two factors"
	enroller as = "session of a member who adds an app"
	keeper   as = "session of a member who adds a passkey"
)

// session signs somebody in who becomes a member of the first organisation.
func (p *platform) session(a as, email string) (userID string) {
	p.t.Helper()
	userID = id.New(id.User)
	raw := base64.RawURLEncoding.EncodeToString([]byte(fmt.Sprintf("%-32s", email))[:32])
	hash := sha256.Sum256([]byte(raw))
	p.exec(fmt.Sprintf(`
		WITH u AS (INSERT INTO accounts.users (user_id, email, created_at) VALUES ('%[2]s', '%[3]s', now())),
		m AS (INSERT INTO accounts.members (org_id, user_id, role, created_at) VALUES ('%[1]s', '%[2]s', 'developer', now()))
		INSERT INTO accounts.sessions (org_id, session_id, holder_id, kind, means, mfa, proved_at, address, user_agent, token_hash, created_at, seen_at, expires_at)
		VALUES ('%[1]s', '%[4]s', '%[2]s', 'bearer', 'password', true, now(), '', '', '%[5]s', now(), now(), now() + interval '1 hour')`,
		p.keys.OrganizationID, userID, email, id.New(id.Session), base64.RawURLEncoding.EncodeToString(hash[:])))
	if p.sessions == nil {
		p.sessions = map[as]string{}
	}
	p.sessions[a] = session.TokenPrefix + raw
	return userID
}

// exec runs a statement that answers nothing.
func (p *platform) exec(sql string) {
	p.t.Helper()
	postgrestest.Exec(p.t, p.database, sql)
}

// factors lets people begin what the calls below go on with.
func (p *platform) factors(t *testing.T) []string {
	t.Helper()
	owner := p.session(person, "factors@example.com")
	p.session(enroller, "enroller@example.com")
	keeping := p.session(keeper, "keeper@example.com")
	p.exec(fmt.Sprintf(`INSERT INTO accounts.totp (user_id, totp_id, secret, created_at, confirmed_at) VALUES ('%s', 'totp_1', 'sealed', now(), now())`, owner))
	key := id.New("pk")
	p.exec(fmt.Sprintf(`INSERT INTO accounts.passkeys (user_id, passkey_id, rp_id, credential_id, name, record, sign_count, created_at)
		VALUES ('%s', '%s', 'localhost', '\x01', 'spare', '{}', 0, now())`, owner, key))
	var app struct{ Secret string }
	if err := json.Unmarshal(p.do("POST", "/v1/me/totp", p.key(enroller), "").body, &app); err != nil || app.Secret == "" {
		t.Fatalf("begin an app: %v", err)
	}
	p.secret = app.Secret
	var begun struct {
		Ceremony string
		Options  json.RawMessage
	}
	if err := json.Unmarshal(p.do("POST", "/v1/me/passkeys/options", p.key(keeper), "").body, &begun); err != nil || begun.Ceremony == "" {
		t.Fatalf("ask for a passkey: %v", err)
	}
	options, err := virtual.ParseAttestationOptions(string(begun.Options))
	if err != nil {
		t.Fatal(err)
	}
	device := virtual.NewAuthenticatorWithOptions(virtual.AuthenticatorOptions{UserHandle: []byte(keeping)})
	at := virtual.RelyingParty{ID: "localhost", Origin: "http://localhost:8080"}
	return []string{
		"{passkey}", key, "{ceremony}", begun.Ceremony,
		"{credential}", virtual.CreateAttestationResponse(at, device, ecKey(), *options),
	}
}

// late fills in what is good for a moment: the code that the enroller's app shows.
func (p *platform) late(body string) string {
	p.t.Helper()
	if !strings.Contains(body, "{code}") {
		return body
	}
	code, err := totp.GenerateCode(p.secret, time.Now())
	if err != nil {
		p.t.Fatal(err)
	}
	return strings.ReplaceAll(body, "{code}", code)
}

// factorRoutes has calls for the routes about second factors.
func factorRoutes() map[string]calls {
	own := func(a as, path, body, has string, more ...bad) calls {
		return calls{good{a, path, body, has}, append([]bad{{nobody, path, body, 401, "invalid_api_key"}, {admin, path, body, 403, "forbidden"}}, more...)}
	}
	const (
		ghost   = "/v1/me/passkeys/pk_" + nobodyID
		renamed = `{"name":"work"}`
		answer  = `{"ceremony":"{ceremony}","name":"laptop","credential":{credential}}`
		wrong   = `{"ceremony":"cer_` + nobodyID + `","name":"laptop","credential":{}}`
	)
	add := own(keeper, "/v1/me/passkeys", wrong, `"name":"laptop"`, bad{person, "/v1/me/passkeys", wrong, 422, "unprocessable"})
	add.good.body = answer
	confirm := own(enroller, "/v1/me/totp/confirm", `{"code":"000000"}`, `"recovery_codes":["`, bad{keeper, "/v1/me/totp/confirm", `{"code":"000000"}`, 409, "conflict"})
	confirm.good.body = `{"code":"{code}"}`
	return map[string]calls{
		"getFactors":           own(person, "/v1/me/factors", "", `"confirmed_at"`),
		"startTotp":            own(person, "/v1/me/totp", "", `"qr_png":"iVBOR`),
		"confirmTotp":          confirm,
		"deleteTotp":           own(person, "/v1/me/totp", "", "", bad{person, "/v1/me/totp", "", 404, "not_found"}),
		"replaceRecoveryCodes": own(person, "/v1/me/recovery-codes", "", `"recovery_codes":["`),
		"startPasskey":         own(person, "/v1/me/passkeys/options", "", `"residentKey":"required"`),
		"addPasskey":           add,
		"listPasskeys":         own(person, "/v1/me/passkeys", "", `"name":"spare"`),
		"renamePasskey":        own(person, "/v1/me/passkeys/{passkey}", renamed, `"name":"work"`, bad{person, ghost, renamed, 404, "not_found"}),
		"deletePasskey":        own(person, "/v1/me/passkeys/{passkey}", "", "", bad{person, ghost, "", 404, "not_found"}),
	}
}
