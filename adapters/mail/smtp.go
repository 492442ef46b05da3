package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/wneessen/go-mail/smtp"

	"github.com/aiaas/aiaas/shared/mail"
)

// SMTP hands mails to a server, over a connection for each. It needs go-mail's
// protocol without its client: that leaves connections open where a greeting or a
// sign-in fails, and does not end with its context.
type SMTP struct {
	host, port     string
	user, password string
	secure         security
	roots          *x509.CertPool
	envelope       envelope
}

// security is how the connection is secured.
type security int

const (
	startTLS security = iota // and no mail without it
	implicitTLS
	inTheClear // on this machine only
)

// timeout bounds one mail, from the connection to the server's word.
const timeout = 40 * time.Second

// Send implements [mail.Sender].
func (s *SMTP) Send(ctx context.Context, m mail.Message) error {
	msg, err := s.envelope.compose(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, hangUp, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer hangUp()
	if err := c.Mail("<" + s.envelope.from.Address + ">"); err != nil {
		return &mail.PostponedError{Reason: "the mail server does not take mails from the platform's address", Down: true, Err: fmt.Errorf("name sender: %w", err)}
	}
	if err := c.Rcpt("<" + m.To + ">"); err != nil {
		return judge("name recipient", err)
	}
	w, err := c.Data()
	if err != nil {
		return judge("begin mail", err)
	}
	if _, err := msg.WriteTo(w); err != nil {
		return judge("send mail", err)
	}
	if err := w.Close(); err != nil {
		return judge("end mail", err)
	}
	_ = c.Quit() // the server has taken the mail
	return nil
}

// Check implements [Mailer]: it connects, secures the connection and signs in.
func (s *SMTP) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, hangUp, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer hangUp()
	_ = c.Quit() // all was said
	return nil
}

// String implements [Mailer].
func (s *SMTP) String() string {
	how := map[security]string{startTLS: "STARTTLS", implicitTLS: "TLS", inTheClear: "in the clear"}[s.secure]
	return fmt.Sprintf("%s, %s, from %s", net.JoinHostPort(s.host, s.port), how, s.envelope.from.Address)
}

// connect brings a connection to the point where a mail can be handed over. It
// breaks off when ctx ends.
func (s *SMTP) connect(ctx context.Context) (*smtp.Client, func(), error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(s.host, s.port))
	if err != nil {
		return nil, nil, unreachable("connect", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // who waits on it is told
	hangUp := func() { stop(); _ = conn.Close() }
	c, err := s.begin(ctx, conn)
	if err != nil {
		hangUp()
		return nil, nil, err
	}
	return c, hangUp, nil
}

// begin secures a connection, greets and signs in.
func (s *SMTP) begin(ctx context.Context, conn net.Conn) (*smtp.Client, error) {
	if s.secure == implicitTLS {
		secured := tls.Client(conn, s.tls())
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, unreachable("secure connection", err)
		}
		conn = secured
	}
	c, err := smtp.NewClient(conn, s.host)
	if err != nil {
		return nil, unreachable("greet", err)
	}
	if err := s.greet(c); err != nil {
		return nil, err
	}
	return c, s.signIn(c)
}

func (s *SMTP) tls() *tls.Config {
	return &tls.Config{ServerName: s.host, RootCAs: s.roots, MinVersion: tls.VersionTLS12}
}

// greet says who calls: the sender's domain, for the name of a machine says
// nothing to others.
func (s *SMTP) greet(c *smtp.Client) error {
	if err := c.Hello(s.envelope.domain()); err != nil {
		return unreachable("greet", err)
	}
	if s.secure != startTLS {
		return nil
	}
	if offered, _ := c.Extension("STARTTLS"); !offered {
		return unreachable("secure connection", errNoTLS)
	}
	if err := c.StartTLS(s.tls()); err != nil {
		return unreachable("secure connection", err)
	}
	return nil
}

var (
	errNoTLS  = errors.New("the server does not offer STARTTLS")
	errNoAuth = errors.New("the server offers none of the ways to sign in: SCRAM-SHA-256, PLAIN, LOGIN")
)

func (s *SMTP) signIn(c *smtp.Client) error {
	if s.user == "" {
		return nil
	}
	_, offered := c.Extension("AUTH")
	ways := strings.Fields(strings.ToUpper(offered))
	var auth smtp.Auth
	switch {
	case slices.Contains(ways, "SCRAM-SHA-256"):
		auth = smtp.ScramSHA256Auth(s.user, s.password)
	case slices.Contains(ways, "PLAIN"):
		auth = smtp.PlainAuth("", s.user, s.password, s.host, false)
	case slices.Contains(ways, "LOGIN"):
		auth = smtp.LoginAuth(s.user, s.password, s.host, false)
	default:
		return unaccepted(errNoAuth)
	}
	if err := c.Auth(auth); err != nil {
		// A server's own words might repeat what it was sent.
		if reply, ok := errors.AsType[*textproto.Error](err); ok {
			err = fmt.Errorf("it answers %d", reply.Code)
		}
		return unaccepted(err)
	}
	return nil
}

func unreachable(attempted string, err error) error {
	return &mail.PostponedError{Reason: "the mail server can't be reached", Down: true, Err: fmt.Errorf("%s: %w", attempted, err)}
}

func unaccepted(err error) error {
	return &mail.PostponedError{Reason: "the mail server does not let the platform in", Down: true, Err: fmt.Errorf("sign in: %w", err)}
}

// closing is the reply of a server that is going down, at any point.
const closing = 421

// judge tells from a reply about one mail whether trying again makes sense.
func judge(attempted string, err error) error {
	err = fmt.Errorf("%s: %w", attempted, err)
	reply, ok := errors.AsType[*textproto.Error](err)
	switch {
	case !ok:
		return &mail.PostponedError{Reason: "the connection to the mail server broke off", Err: err}
	case reply.Code >= 500 && reply.Code < 600:
		return &mail.RefusedError{Reason: mail.Reason(reply.Code, reply.Msg), Err: err}
	}
	return &mail.PostponedError{Reason: mail.Reason(reply.Code, reply.Msg), Down: reply.Code == closing, Err: err}
}
