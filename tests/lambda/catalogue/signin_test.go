package catalogue_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	virtual "github.com/descope/virtualwebauthn"
	"github.com/pquerna/otp/totp"

	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/shared/password"
)

// More people who have signed in.
const (
	carrier as = "session of a member with an app and a passkey"
	plain   as = "session of a member with a password alone"
	changer as = "session of a member who changes the password"
	stepper as = "session of a member who proves himself again"
)

const (
	herons = "eleven purple herons"
	storks = "twelve orange storks"
	// links by which passwords are set
	link1 = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	link2 = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"
)

// ask makes a call whose answer the next ones need.
func (p *platform) ask(t *testing.T, key, path, body string, into any) {
	t.Helper()
	got := p.do("POST", path, key, body)
	if err := json.Unmarshal(got.body, into); err != nil || got.status > 299 {
		t.Fatalf("%s: %d %s", path, got.status, got.body)
	}
}

// signIns lets people begin what the calls below go on with.
func (p *platform) signIns(t *testing.T) []string {
	t.Helper()
	phc, err := password.NewHasher(password.Standard(), 1).Hash(t.Context(), herons)
	if err != nil {
		t.Fatal(err)
	}
	for a, email := range map[as]string{carrier: "carrier@example.com", plain: "plain@example.com", changer: "changer@example.com", stepper: "stepper@example.com"} {
		userID := p.session(a, email)
		postgrestest.Exec(t, p.database, fmt.Sprintf(`INSERT INTO accounts.passwords (user_id, phc, changed_at) VALUES ('%s', '%s', now())`, userID, phc))
	}
	link := func(text, email string) {
		postgrestest.Exec(t, p.database, fmt.Sprintf(`INSERT INTO accounts.reset_tokens (hash, user_id, created_at, expires_at)
			SELECT sha256('%s'), user_id, now(), now() + interval '1 hour' FROM accounts.users WHERE email = '%s'`, text, email))
	}
	link(link1, "carrier@example.com")
	link(link2, "plain@example.com")
	codes, answer := p.carries(t)
	var met, reset struct{ Challenge string }
	p.ask(t, "", "/v1/sign-in", `{"email":"carrier@example.com","password":"`+herons+`"}`, &met)
	p.ask(t, "", "/v1/password/reset", `{"token":"`+link1+`","password":"`+storks+`"}`, &reset)
	return []string{"{challenge}", met.Challenge, "{reset}", reset.Challenge, "{recovery1}", codes[0], "{recovery2}", codes[1], "{assertion}", answer}
}

// carries gives the carrier an app and a passkey, and returns recovery codes and the
// answer to a ceremony of a whole sign-in.
func (p *platform) carries(t *testing.T) (codes []string, answer string) {
	t.Helper()
	type begun struct {
		Ceremony string
		Options  json.RawMessage
	}
	var app struct{ Secret string }
	p.ask(t, p.key(carrier), "/v1/me/totp", "", &app)
	code, err := totp.GenerateCode(app.Secret, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var done struct {
		RecoveryCodes []string `json:"recovery_codes"`
		Token         string
	}
	p.ask(t, p.key(carrier), "/v1/me/totp/confirm", `{"code":"`+code+`"}`, &done)
	p.sessions[carrier], codes = done.Token, done.RecoveryCodes

	var adding, asking begun
	p.ask(t, p.key(carrier), "/v1/me/passkeys/options", "", &adding)
	creation, err := virtual.ParseAttestationOptions(string(adding.Options))
	if err != nil {
		t.Fatal(err)
	}
	owner := p.scalar(`SELECT user_id FROM accounts.users WHERE email = 'carrier@example.com'`)
	device := virtual.NewAuthenticatorWithOptions(virtual.AuthenticatorOptions{UserHandle: []byte(owner)})
	at, key := virtual.RelyingParty{ID: "localhost", Origin: "http://localhost:8080"}, ecKey()
	p.ask(t, p.key(carrier), "/v1/me/passkeys", fmt.Sprintf(`{"ceremony":%q,"name":"phone","credential":%s}`, adding.Ceremony,
		virtual.CreateAttestationResponse(at, device, key, *creation)), &done)
	p.sessions[carrier] = done.Token

	p.ask(t, "", "/v1/sign-in/passkey/options", `{}`, &asking)
	request, err := virtual.ParseAssertionOptions(string(asking.Options))
	if err != nil {
		t.Fatal(err)
	}
	device.AddCredential(key)
	key.Counter++
	return codes, fmt.Sprintf(`{"ceremony":%q,"transport":"bearer","credential":%s}`, asking.Ceremony, virtual.CreateAssertionResponse(at, device, key, *request))
}

// signInRoutes has calls for the routes about signing in and about passwords.
func signInRoutes() map[string]calls {
	public := func(path, body, has string, refused ...bad) calls {
		return calls{good{nobody, path, body, has}, append(refused, bad{nobody, path, `{`, 400, "invalid_request"})}
	}
	own := func(a as, path, body, has string, refused ...bad) calls {
		return calls{good{a, path, body, has}, append(refused, bad{nobody, path, body, 401, "invalid_api_key"}, bad{admin, path, body, 403, "forbidden"})}
	}
	signIn := func(text string) string {
		return `{"email":"plain@example.com","password":"` + text + `","transport":"bearer"}`
	}
	met := func(challenge, code string) string {
		return `{"challenge":"` + challenge + `","recovery_code":"` + code + `"}`
	}
	never := strings.Repeat("C", 43)
	const twice = `{"challenge":"x","totp":"000000","recovery_code":"x"}`
	return map[string]calls{
		"signIn": public("/v1/sign-in", signIn(herons), `"token":"aiaas_session_`, bad{nobody, "/v1/sign-in", signIn("x"), 401, "invalid_api_key"}),
		"giveSecondFactor": public("/v1/sign-in/second-factor", met("{challenge}", "{recovery1}"), `"mfa":true`,
			bad{nobody, "/v1/sign-in/second-factor", met(never, "x"), 401, "invalid_api_key"}, bad{nobody, "/v1/sign-in/second-factor", twice, 401, "invalid_api_key"}),
		"askPasskey": public("/v1/sign-in/passkey/options", `{}`, `"userVerification":"required"`,
			bad{nobody, "/v1/sign-in/passkey/options", `{"challenge":"` + never + `"}`, 401, "invalid_api_key"}),
		"signInByPasskey": public("/v1/sign-in/passkey", `{assertion}`, `"means":"passkey"`,
			bad{nobody, "/v1/sign-in/passkey", `{"ceremony":"x","credential":{}}`, 401, "invalid_api_key"}),
		"forgotPassword": public("/v1/password/forgot", `{"email":"nobody@example.com"}`, `{}`),
		"resetPassword": public("/v1/password/reset", `{"token":"`+link2+`","password":"`+storks+`"}`, `"status":"done"`,
			bad{nobody, "/v1/password/reset", `{"token":"` + never + `","password":"` + storks + `"}`, 401, "invalid_api_key"}),
		"askResetPasskey": public("/v1/password/reset/options", `{"challenge":"{reset}"}`, `"allowCredentials"`,
			bad{nobody, "/v1/password/reset/options", `{"challenge":"` + never + `"}`, 401, "invalid_api_key"}),
		"resetPasswordSecondFactor": public("/v1/password/reset/second-factor", met("{reset}", "{recovery2}"), `"status":"done"`,
			bad{nobody, "/v1/password/reset/second-factor", met(never, "x"), 401, "invalid_api_key"}),
		"changePassword":   own(changer, "/v1/me/password", `{"current_password":"`+herons+`","new_password":"`+storks+`"}`, `"token":"aiaas_session_`),
		"stepUp":           own(stepper, "/v1/session/step-up", `{"password":"`+herons+`"}`, `"token":"aiaas_session_`),
		"askStepUpPasskey": own(person, "/v1/session/step-up/options", "", `"allowCredentials"`),
	}
}

// ecKey makes a key whose coordinates have their full length: the library does not pad
// them, so that one key of 128 would be none that a browser sends.
func ecKey() virtual.Credential {
	const whole = 77 // bytes of such a key in COSE
	for {
		if c := virtual.NewCredential(virtual.KeyTypeEC2); len(c.Key.AttestationData()) == whole {
			return c
		}
	}
}
