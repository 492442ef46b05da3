package portal

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/origin"
	"github.com/aiaas/aiaas/shared/password"
)

//go:embed pages
var pageFiles embed.FS

// page is one page: its route, and the template and script of the same name.
type page struct {
	path, operation, summary string

	name  string // of pages/<name>.html and static/<name>.js
	title string
}

func pages() []page {
	return []page{
		{"/sign-in", "getSignInPage", "Sign in", "sign-in", "Sign in"},
		{"/sign-in/second-factor", "getSecondFactorPage", "Show the second factor", "second-factor", "Confirm it’s you"},
		{"/forgot-password", "getForgotPasswordPage", "Ask for a link to set a new password", "forgot-password", "Forgot password"},
		{"/reset-password", "getResetPasswordPage", "Set a new password with the link of a mail", "reset-password", "Choose a new password"},
		{"/invitation", "getInvitationPage", "Accept an invitation with the link of a mail", "invitation", "Invitation"},
		{"/account", "getAccountPage", "Keep the own profile, ways to sign in and sessions", "account", "Account"},
		{"/oauth/consent", "getConsentPage", "Allow a program to act for oneself", "consent", "Allow access"},
		{"/device", "getDevicePage", "Allow a device to act for oneself, by the code that it shows", "device", "Connect a device"},
	}
}

// home is where somebody goes who has signed in and came from nowhere.
const home = "/account"

// view is what a template shows. All of it comes from the address.
type view struct {
	Title, Name string
	Assets      string // the folder of styles and scripts
	ReturnTo    string // a path on this server
	MinPassword int    // characters
	Query       url.Values
}

// templates has one set for each page: the layout with the page's own parts.
func templates() (map[string]*template.Template, error) {
	layout, err := template.ParseFS(pageFiles, "pages/layout.html", "pages/parts.html")
	if err != nil {
		return nil, fmt.Errorf("read layout: %w", err)
	}
	out := map[string]*template.Template{}
	for _, p := range pages() {
		set, err := layout.Clone()
		if err != nil {
			return nil, fmt.Errorf("copy layout: %w", err)
		}
		if out[p.name], err = set.ParseFS(pageFiles, "pages/"+p.name+".html"); err != nil {
			return nil, fmt.Errorf("read page %s: %w", p.name, err)
		}
	}
	return out, nil
}

type handlers struct {
	templates map[string]*template.Template
	assets    *assets
	secure    bool // browsers reach the pages by https
	log       *slog.Logger
}

func newHandlers(publicURL string, log *slog.Logger) (*handlers, error) {
	public, err := url.Parse(publicURL)
	if err != nil {
		return nil, fmt.Errorf("read the public address: %w", err)
	}
	h := &handlers{secure: public.Scheme == "https", log: log}
	if h.templates, err = templates(); err != nil {
		return nil, err
	}
	if h.assets, err = loadAssets(); err != nil {
		return nil, err
	}
	return h, nil
}

// page renders a page. It is never kept: its address may name a request or a code.
func (h *handlers) page(p page) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		v := view{Title: p.title, Name: p.name, Assets: h.assets.folder(), ReturnTo: home, MinPassword: password.MinLength, Query: q}
		if local, ok := origin.LocalPath(q.Get("return_to")); ok {
			v.ReturnTo = local
		}
		var body bytes.Buffer
		if err := h.templates[p.name].ExecuteTemplate(&body, "layout", v); err != nil {
			h.log.ErrorContext(r.Context(), "render page", "page", p.name, "error", err)
			fault.Write(w, r, w.Header().Get("X-Request-Id"), fault.Wrap(fault.Internal, "render page", err), false)
			return
		}
		h.guard(w.Header())
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
		_, _ = w.Write(body.Bytes()) // the reader may be gone
	}
}

// contentPolicy is what a page may load, send and be shown in. Trusted types make the
// ways in which a text could become markup an error of ours.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// permissions are the powers of browsers that the pages use; those that they don't,
// and that a script smuggled in would like, are off.
const permissions = "publickey-credentials-get=(self), publickey-credentials-create=(self), clipboard-write=(self), " +
	"accelerometer=(), autoplay=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), midi=(), payment=(), usb=()"

// twoYears is the shortest time, in seconds, that browsers' lists of https-only
// servers take, doubled.
const twoYears = 63072000

// guard adds to the headers that every answer has.
func (h *handlers) guard(header http.Header) {
	header.Set("Content-Security-Policy", contentPolicy)
	header.Set("Permissions-Policy", permissions)
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("X-Frame-Options", "DENY") // for browsers that don't know frame-ancestors
	if h.secure {
		header.Set("Strict-Transport-Security", "max-age="+strconv.Itoa(twoYears)+"; includeSubDomains")
	}
}
