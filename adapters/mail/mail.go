// Package mail sends mails: over SMTP, or into a folder where a person reads them.
//
// The address of the setting MAIL_URL chooses:
//
//	smtp://user:password@host:587?from=AIaaS%20<no-reply@example.com>   STARTTLS, which the server must offer
//	smtps://user:password@host:465?from=…                               TLS from the first byte
//	smtp://127.0.0.1:1025?from=…&tls=none                               in the clear: on this machine only, without a password
//	file:///var/mail/aiaas                                              a folder
//
// A password stands in no error and no log. Which mails there are, and what they
// say, is not of this package.
package mail

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"net/url"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/aiaas/aiaas/shared/mail"
)

// Mailer is a way for mails to leave.
type Mailer interface {
	mail.Sender
	// Check tries the way without sending anything.
	Check(ctx context.Context) error
	// String says where mails go, without a password.
	String() string
}

// Config says how mails leave.
type Config struct {
	URL    string // MAIL_URL; "" is the folder
	Folder string // where mails go without a URL; "" for nowhere
	Now    func() time.Time
	// Say is told of each mail that was written into a folder; may be nil.
	Say func(line string)
	// Roots are who vouches for servers; nil is the system's.
	Roots *x509.CertPool
}

// Configured reports whether mails can leave at all.
func (c Config) Configured() bool { return c.URL != "" || c.Folder != "" }

// errNowhere is returned where nothing is configured.
var errNowhere = errors.New("MAIL_URL is not set, and there is no folder for mails")

// localFrom is who mails in a folder are from.
const localFrom = "no-reply@localhost"

// Open makes the way that the address names. It does no I/O.
func Open(c Config) (Mailer, error) {
	if c.URL == "" {
		if c.Folder == "" {
			return nil, errNowhere
		}
		return newFolder(c, c.Folder, envelope{from: netmail.Address{Name: "AIaaS", Address: localFrom}, now: c.Now}), nil
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, errors.New("read MAIL_URL: it can't be parsed") //nolint:err113 // the parser's own text quotes the URL
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("read MAIL_URL: its query can't be parsed") //nolint:err113 // as above
	}
	for name := range query {
		if name != "from" && name != "tls" {
			return nil, fmt.Errorf("read MAIL_URL: there is no parameter %q", name)
		}
	}
	switch u.Scheme {
	case "file":
		return openFolder(c, u, query)
	case "smtp", "smtps":
		return openSMTP(c, u, query)
	}
	return nil, errors.New("read MAIL_URL: it must begin with smtp://, smtps:// or file://")
}

func openFolder(c Config, u *url.URL, query url.Values) (Mailer, error) {
	from, err := sender(query, localFrom)
	switch {
	case err != nil:
		return nil, err
	case u.Host != "" || !strings.HasPrefix(u.Path, "/") || query.Has("tls"):
		return nil, errors.New("read MAIL_URL: a folder is written as file:///path")
	}
	return newFolder(c, u.Path, envelope{from: from, now: c.Now}), nil
}

func openSMTP(c Config, u *url.URL, query url.Values) (Mailer, error) {
	if !query.Has("from") {
		return nil, errors.New("read MAIL_URL: it names no sender: add ?from=AIaaS%20<no-reply@example.com>")
	}
	from, err := sender(query, "")
	if err != nil {
		return nil, err
	}
	s := &SMTP{host: u.Hostname(), port: u.Port(), secure: startTLS, roots: c.Roots, envelope: envelope{from: from, now: c.Now}}
	s.user = u.User.Username()
	s.password, _ = u.User.Password()
	port := "587"
	switch mode := query.Get("tls"); {
	case u.Scheme == "smtps" && mode == "":
		s.secure, port = implicitTLS, "465"
	case u.Scheme == "smtp" && mode == "none":
		s.secure, port = inTheClear, "25"
		if !loopback(s.host) {
			return nil, errors.New("read MAIL_URL: tls=none is for 127.0.0.1, ::1 and localhost only")
		}
		if s.user != "" {
			return nil, errors.New("read MAIL_URL: a password is not sent in the clear: leave out user and password, or tls=none")
		}
	case mode != "":
		return nil, errors.New("read MAIL_URL: tls can be none, with smtp:// only")
	}
	if s.port == "" {
		s.port = port
	}
	if s.host == "" || (u.Path != "" && u.Path != "/") {
		return nil, errors.New("read MAIL_URL: it is written as smtp://user:password@host:port?from=…")
	}
	return s, nil
}

func sender(query url.Values, otherwise string) (netmail.Address, error) {
	text := query.Get("from")
	if text == "" {
		return netmail.Address{Name: "AIaaS", Address: otherwise}, nil
	}
	a, err := netmail.ParseAddress(text)
	if err != nil || mail.CheckAddress(a.Address) != nil {
		return netmail.Address{}, errors.New("read MAIL_URL: from must be an address, such as AIaaS%20<no-reply@example.com>")
	}
	return *a, nil
}

// loopback tells whether a host is this machine, whatever a name server says.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// envelope makes mails of messages.
type envelope struct {
	from netmail.Address
	now  func() time.Time
}

func (e envelope) domain() string {
	_, domain, _ := strings.Cut(e.from.Address, "@")
	return domain
}

// compose is a message in the form of RFC 5322: two alternatives, in text and in
// HTML. A message that can't be one is a [mail.RefusedError].
func (e envelope) compose(m mail.Message) (*gomail.Msg, error) {
	if err := mail.CheckAddress(m.To); err != nil {
		return nil, &mail.RefusedError{Reason: "the address can't be written to", Err: err}
	}
	if !plainID(m.ID) {
		return nil, &mail.RefusedError{Reason: "the mail's id can't be used"}
	}
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	msg.FromMailAddress(&e.from)
	msg.ToMailAddress(&netmail.Address{Address: m.To})
	msg.Subject(m.Subject)
	msg.SetMessageIDWithValue(mail.MessageID(m.ID, e.domain()))
	msg.SetDateWithValue(e.now())
	// Nobody's holiday notice is to answer, and mailboxes can sort by these.
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetGenHeader(gomail.HeaderXAutoResponseSuppress, "All")
	msg.SetGenHeader("List-Id", "<notifications."+e.domain()+">")
	msg.SetGenHeader("X-AIaaS-Kind", string(m.Kind))
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	return msg, nil
}

// plainID tells whether an id can stand in a header and in the name of a file.
func plainID(s string) bool {
	if s == "" || len(s) > 100 {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '-'
	})
}
