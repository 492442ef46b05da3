package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/oauth2"

	"github.com/aiaas/aiaas/shared/oauth"
)

// loginPatience is how long a person may take in the browser: as long as the platform
// waits.
const loginPatience = oauth.RequestLifetime

// loginCommands sign a person in, and out.
func loginCommands(env Env) []*cobra.Command {
	whoami := command{
		use: "whoami", short: "Show who you are to the platform", role: roleAdmin,
		long:   "By the login where there is one, else by the profile's admin key.",
		method: http.MethodGet, path: "/v1/me",
	}
	o := &options{}
	who := whoami.build(env, o)
	o.bind(who)
	return []*cobra.Command{loginCommand(env), logoutCommand(env), who}
}

func loginCommand(env Env) *cobra.Command {
	o := &options{}
	var device bool
	var scopes []string
	cmd := &cobra.Command{
		Use: "login", Short: "Sign in with your browser", Args: NoArgs,
		Long: "login opens nothing by itself: it prints an address to open in your browser, and waits for your answer there.\n" +
			"With --device the browser may be on another machine. The login is kept beside the profile, readable to you alone;\n" +
			"the client commands use it unless a key is given (AIAAS_KEY, --key-file) or named (--use-key).",
		Example: "  aiaas login --base-url https://ai.example.com\n  aiaas login --device",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.timeout <= 0 {
				return Usage("--timeout must be more than nothing")
			}
			return o.logIn(cmd, env, wish{device: device, scopes: scopes})
		},
	}
	o.bindLogin(cmd)
	cmd.Flags().BoolVar(&device, "device", false, "sign in with a browser on another machine")
	cmd.Flags().StringSliceVar(&scopes, "scopes", nil, "ask for these scopes only, as in usage:read,keys:read (default: all that your role gives)")
	words(cmd, "scopes", oauth.Vocabulary()...)
	return cmd
}

// wish is how a person wants to sign in.
type wish struct {
	device bool
	scopes []string
}

func logoutCommand(env Env) *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use: "logout", Short: "End the login", Args: NoArgs,
		Long: "logout ends the session at the platform, and then forgets it here.",
		RunE: func(cmd *cobra.Command, _ []string) error { return o.logOut(cmd, env) },
	}
	o.bindLogin(cmd)
	return cmd
}

func (o *options) bindLogin(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.profile, "profile", "", "file that the login stands beside (default $AIAAS_PROFILE, else credentials.json in the data folder)")
	f.StringVar(&o.baseURL, "base-url", "", "address of the platform (default: that of the last login, else the profile's)")
	f.DurationVar(&o.timeout, "timeout", defaultTimeout, "how long one request may take")
}

// loginBase is where to sign in.
func (o *options) loginBase(path string) (string, error) {
	if o.baseURL != "" {
		return strings.TrimRight(o.baseURL, "/"), nil
	}
	if l, err := readLogin(path); err == nil && l.BaseURL != "" {
		return l.BaseURL, nil
	}
	p, err := ReadProfile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && p.BaseURL == "":
		return "", Usage("where do you want to sign in? Say --base-url ADDRESS")
	case err != nil:
		return "", err
	}
	return strings.TrimRight(p.BaseURL, "/"), nil
}

func (o *options) logIn(cmd *cobra.Command, env Env, w wish) error {
	path := o.profilePath(env.Getenv)
	base, err := o.loginBase(path)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(cmd.Context(), loginPatience, errTimeout)
	defer cancel()
	at, err := discover(ctx, base, o.timeout)
	if err != nil {
		return err
	}
	way := at.byBrowser
	if w.device {
		way = at.byDevice
	}
	tok, err := way(at.within(ctx), cmd, w.scopes)
	if err != nil {
		return err
	}
	old, oldErr := readLogin(path)
	l := login{BaseURL: at.Issuer, Issuer: at.Issuer, TokenURL: at.TokenURL, RevokeURL: at.RevokeURL}
	l.take(tok, env.Now())
	if err := writeLogin(cmd.Context(), path, l); err != nil {
		return err
	}
	if oldErr == nil && old.RefreshToken != "" { // the one before is not needed any more
		_ = old.revoke(at.within(ctx)) // nor is it any use that it could not be reached
	}
	return say(cmd.OutOrStdout(), "Signed in at "+printable(at.Issuer)+". aiaas whoami shows as who.")
}

func (o *options) logOut(cmd *cobra.Command, env Env) error {
	path := o.profilePath(env.Getenv)
	return withLogin(cmd.Context(), path, func(l *login) error {
		if l == nil {
			return say(cmd.OutOrStdout(), "You are not signed in.")
		}
		ctx, cancel := context.WithTimeoutCause(cmd.Context(), o.timeout, errTimeout)
		defer cancel()
		if err := l.revoke(context.WithValue(ctx, oauth2.HTTPClient, direct())); err != nil {
			return fmt.Errorf("end the session: %w; the login is kept: try again", err)
		}
		if err := removeLogin(path); err != nil {
			return err
		}
		return say(cmd.OutOrStdout(), "Signed out.")
	})
}

// provider is the platform's authorization server, as it says itself.
type provider struct {
	Issuer    string `json:"issuer"`
	AuthURL   string `json:"authorization_endpoint"`
	TokenURL  string `json:"token_endpoint"`
	RevokeURL string `json:"revocation_endpoint"`
	DeviceURL string `json:"device_authorization_endpoint"`
}

// discover asks a platform where to sign in. It must be the issuer itself that answers
// (RFC 8414, 3.3), and every address its own, so that no other gets to see a code or a
// token.
func discover(ctx context.Context, base string, timeout time.Duration) (*provider, error) {
	t := &target{baseURL: base, timeout: timeout}
	a, err := t.do(ctx, &request{method: http.MethodGet, path: "/.well-known/oauth-authorization-server", accept: "application/json"})
	if err != nil {
		return nil, err
	}
	var p provider
	if err := json.Unmarshal(a.body, &p); err != nil {
		return nil, fmt.Errorf("read answer: %s is no platform to sign in at", printable(base))
	}
	if !samePlace(p.Issuer, base) {
		return nil, fmt.Errorf("read answer: %s is not the platform that it says it is, %s: sign in with --base-url %s if that is the one you mean",
			printable(base), printable(p.Issuer), printable(p.Issuer))
	}
	for _, address := range []string{p.AuthURL, p.TokenURL, p.RevokeURL, p.DeviceURL} {
		if p.Issuer == "" || !strings.HasPrefix(address, p.Issuer+"/") {
			return nil, fmt.Errorf("read answer: %s names addresses that are not its own", printable(base))
		}
	}
	return &p, nil
}

// samePlace reports whether two addresses are one. This machine has two names, of which
// the platform knows one.
func samePlace(a, b string) bool { return place(a) == place(b) }

func place(address string) string {
	u, err := url.Parse(strings.TrimRight(address, "/"))
	if err != nil || u.Host == "" {
		return address
	}
	u.Host = strings.ToLower(u.Host)
	if u.Scheme == "http" && u.Hostname() == "localhost" {
		u.Host = "127.0.0.1" + strings.TrimPrefix(u.Host, "localhost")
	}
	return u.String()
}

func (p *provider) client(scopes []string) *oauth2.Config {
	if len(scopes) == 0 {
		for _, s := range oauth.Vocabulary() {
			if s != oauth.ScopeOpenID && s != oauth.ScopeOffline {
				scopes = append(scopes, s)
			}
		}
	}
	return &oauth2.Config{
		ClientID: oauth.CLI, Scopes: append(append([]string{}, scopes...), oauth.ScopeOffline),
		Endpoint: oauth2.Endpoint{AuthURL: p.AuthURL, TokenURL: p.TokenURL, DeviceAuthURL: p.DeviceURL, AuthStyle: oauth2.AuthStyleInParams},
	}
}

// within gives the library a client that follows no redirect.
func (p *provider) within(ctx context.Context) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, direct())
}

// direct sends what is secret to the one address it is for.
func direct() *http.Client {
	return &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Transport: named{}}
}

// named sends the command's name, which the list of sessions shows.
type named struct{}

// RoundTrip implements [http.RoundTripper].
func (named) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("User-Agent", "aiaas-command")
	return http.DefaultTransport.RoundTrip(r)
}

// byDevice signs in with a browser elsewhere.
func (p *provider) byDevice(ctx context.Context, cmd *cobra.Command, scopes []string) (*oauth2.Token, error) {
	c := p.client(scopes)
	d, err := c.DeviceAuth(ctx)
	if err != nil {
		return nil, said(ctx, "ask for a code", err)
	}
	lines := "Open " + printable(d.VerificationURI) + " in a browser, and type the code\n\n    " + printable(d.UserCode) + "\n\nOr open " + printable(d.VerificationURIComplete) + "\nWaiting for your answer."
	if err := say(cmd.ErrOrStderr(), lines); err != nil {
		return nil, err
	}
	tok, err := c.DeviceAccessToken(ctx, d)
	return tok, said(ctx, "sign in", err)
}

// said makes a protocol's error readable.
func said(ctx context.Context, attempted string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(context.Cause(ctx), errTimeout) {
		return fmt.Errorf("%s: %w", attempted, errTimeout)
	}
	e, ok := errors.AsType[*oauth2.RetrieveError](err)
	switch {
	case !ok:
		return fmt.Errorf("%s: %w", attempted, err)
	case e.ErrorCode == string(oauth.AccessDenied):
		return fmt.Errorf("%s: you said no", attempted)
	case e.ErrorCode == string(oauth.ExpiredToken):
		return fmt.Errorf("%s: nobody answered in time", attempted)
	case e.ErrorDescription != "":
		return fmt.Errorf("%s: %s (%s)", attempted, printable(e.ErrorDescription), printable(e.ErrorCode))
	}
	return fmt.Errorf("%s: the platform answered %s", attempted, e.Response.Status)
}

// revoke gives the login's session back.
func (l *login) revoke(ctx context.Context) error {
	form := url.Values{"client_id": {oauth.CLI}, "token": {l.RefreshToken}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.RevokeURL, strings.NewReader(form.Encode()))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := direct().Do(req)
	if err != nil {
		return unreachable(ctx, l.BaseURL, err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<16)) // so that the connection can be used again
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the platform answered %s", resp.Status)
	}
	return nil
}
