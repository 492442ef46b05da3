package browser_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/oauth2"

	"github.com/aiaas/aiaas/tests/harness"
)

// callback listens as a program on the person's machine does, and returns what came.
func callback(t *testing.T) (address string, came <-chan url.Values) {
	t.Helper()
	values := make(chan url.Values, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /callback", func(w http.ResponseWriter, r *http.Request) {
		values <- r.URL.Query()
		_, _ = w.Write([]byte("<title>done</title>You can close this window."))
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL + "/callback", values
}

// program is the platform's own command, as the standard's library has it. The person's
// browser comes by the public address.
func (w *world) program(redirect string, scopes ...string) *oauth2.Config {
	return &oauth2.Config{ClientID: "aiaas-cli", RedirectURL: redirect, Scopes: scopes, Endpoint: oauth2.Endpoint{
		AuthURL: w.site + "/oauth/authorize", TokenURL: w.BaseURL + "/oauth/token",
		DeviceAuthURL: w.BaseURL + "/oauth/device_authorization", AuthStyle: oauth2.AuthStyleInParams,
	}}
}

func consent(t *testing.T, w *world) {
	p := w.browse(t)
	p.join(w.invite(t, "cleo@one.example", "developer"), "Cleo")
	p.press("Sign out")
	p.arrives("/sign-in")

	redirect, came := callback(t)
	program := w.program(redirect, "inference", "models:read")
	verifier := oauth2.GenerateVerifier()
	p.open(program.AuthCodeURL("state-1", oauth2.S256ChallengeOption(verifier)))
	p.eventually("the sign-in", func() (bool, string) { return strings.HasPrefix(p.address(), "/sign-in?return_to="), "" })
	p.signIn("cleo@one.example", good)
	p.sees("Allow AIaaS command line?")
	p.sees("Make API keys that call models")
	p.sees("See the models that you may use")
	p.sees("You are signed in as cleo@one.example")
	if strings.Contains(p.text(), "Create, rotate and revoke API keys") {
		t.Error("it is said to be granted what it did not ask for")
	}
	p.press("Allow")
	got := <-came
	if got.Get("state") != "state-1" || got.Get("code") == "" {
		t.Fatalf("the program got %v", got)
	}
	token, err := program.Exchange(t.Context(), got.Get("code"), oauth2.VerifierOption(verifier))
	harness.Must(t, err)
	w.Manage(t, harness.Call{Method: http.MethodGet, Path: "/v1/me", Key: token.AccessToken}, http.StatusOK, nil)

	// It stands among the sessions, and is ended there.
	p.open("/account#sessions")
	p.loaded()
	p.press("End AIaaS command line")
	p.sees("Session ended")
	harness.Eventually(t, "the end of the token", func() (bool, string) {
		a := w.Do(t.Context(), harness.Call{Method: http.MethodGet, Path: "/v1/me", Key: token.AccessToken})
		return a.Status == http.StatusUnauthorized, a.String()
	})

	p.open(program.AuthCodeURL("state-2", oauth2.S256ChallengeOption(verifier)))
	p.sees("Allow AIaaS command line?")
	request := p.address()
	p.press("Deny")
	if got := <-came; got.Get("error") != "access_denied" || got.Get("state") != "state-2" || got.Has("code") {
		t.Errorf("the program got %v", got)
	}
	p.open(request)
	p.sees("Nothing to allow")
}

func device(t *testing.T, w *world) {
	p := w.browse(t)
	p.join(w.invite(t, "dora@one.example", "developer"), "Dora")
	program := w.program("", "inference")
	asked, err := program.DeviceAuth(t.Context())
	harness.Must(t, err)

	p.open("/device")
	p.fill("Code", "BBBB-BBBB")
	p.press("Continue")
	p.eventually("a refusal", func() (bool, string) { return p.alert() != "", "none" })
	p.fill("Code", strings.ToLower(strings.ReplaceAll(asked.UserCode, "-", " ")))
	p.press("Continue")
	p.sees("Allow AIaaS command line?")
	p.sees(asked.UserCode)
	p.press("Allow")
	p.sees("AIaaS command line is connected")
	token, err := program.DeviceAccessToken(t.Context(), asked)
	harness.Must(t, err)
	w.Manage(t, harness.Call{Method: http.MethodGet, Path: "/v1/me", Key: token.AccessToken}, http.StatusOK, nil)

	// A link with the code in it asks too; and who says no, says so to the device.
	asked, err = program.DeviceAuth(t.Context())
	harness.Must(t, err)
	p.open(asked.VerificationURIComplete)
	p.sees(asked.UserCode)
	p.press("Deny")
	p.sees("Access denied")
	_, err = program.DeviceAccessToken(t.Context(), asked)
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); !ok || refused.ErrorCode != "access_denied" {
		t.Errorf("the device got %v", err)
	}
}
