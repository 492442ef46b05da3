package signin

import (
	"net/http"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/session"
	"github.com/aiaas/aiaas/shared/signin"
)

// Cookies makes the cookies of those who come in: that of the session, and that by
// which a browser is known when it signs in again.
type Cookies struct {
	sessions *session.Manager
	device   string // its cookie's name
	secure   bool
}

// NewCookies makes the maker. publicURL is where browsers reach the platform: its
// scheme says whether cookies travel over TLS only.
func NewCookies(sessions *session.Manager, publicURL string) Cookies {
	c := Cookies{sessions: sessions, device: "aiaas_device", secure: session.Secure(publicURL)}
	if c.secure {
		c.device = "__Host-aiaas_device" // browsers refuse one that was set for other hosts
	}
	return c
}

// deviceAge is how long a browser is known, in seconds: as long as the server knows it.
const deviceAge = 180 * 24 * 3600

// maxDevice is the longest token of a device that is looked at.
const maxDevice = 100

// of are the cookies that go with a session; that of the session itself only where it
// is carried by one.
func (c Cookies) of(o session.Opened, device string) []http.Cookie {
	var out []http.Cookie
	if o.Kind == session.Browser {
		out = append(out, c.sessions.Cookie(o))
	}
	if device != "" {
		out = append(out, http.Cookie{ //nolint:gosec // not Secure only where the platform is reached without TLS
			Name: c.device, Value: device, Path: "/", MaxAge: deviceAge, Secure: c.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		})
	}
	return out
}

// Caller is what a request tells of who sends it, besides its body.
type Caller struct {
	Cookie    string `header:"Cookie" hidden:"true"`
	UserAgent string `header:"User-Agent" hidden:"true"`
}

// from is where a caller comes from. A transport that is not named is a browser's.
func (c Cookies) from(caller Caller, address, transport string) signin.From {
	f := signin.From{Address: address, UserAgent: strings.ToValidUTF8(caller.UserAgent, ""), Kind: session.Browser}
	if transport == "bearer" {
		f.Kind = session.Bearer
	}
	for part := range strings.SplitSeq(caller.Cookie, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		if name == c.device && len(value) <= maxDevice {
			f.Device = value
		}
	}
	return f
}

// Renewed is the session that goes on, under a new token.
type Renewed struct {
	Session SessionInfo `json:"session"`
	Token   string      `json:"token,omitempty" doc:"In the place of the one before, where the session is carried by no cookie."`
}

type renewedOutput struct {
	SetCookie []http.Cookie `header:"Set-Cookie"`
	Body      Renewed
}

func (c Cookies) renewed(o session.Opened) *renewedOutput {
	out := &renewedOutput{SetCookie: c.of(o, ""), Body: Renewed{Session: showSession(o.Session, o.ID)}}
	if o.Kind != session.Browser {
		out.Body.Token = o.Token
	}
	return out
}

func until(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
