package mailtest

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"
)

// Fault is what a server does wrong, once or for good.
type Fault struct {
	At    string // the command: "GREETING", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", or "END" for the end of a mail
	Reply string // "550 5.1.1 no such user"; "" hangs up without a word
	// Taken says that the mail was kept before the fault: the reply was lost.
	Taken bool
	Times int // how often; 0: always
}

// Options say how a server is.
type Options struct {
	Addr           string // a free port of 127.0.0.1 where empty
	User, Password string // nobody may send without them, where they are set
	ImplicitTLS    bool
	NoTLS          bool   // STARTTLS is not offered
	Auth           string // the ways to sign in; "PLAIN LOGIN" where empty
}

// Server is a mail server for tests: it speaks enough of RFC 5321, 3207 and 4954
// to take mails, and keeps them.
type Server struct {
	Addr  string
	Roots *x509.CertPool // who vouches for it

	options  Options
	tls      *tls.Config
	listener net.Listener
	mu       sync.Mutex
	faults   []Fault
	raw      []Raw
	conns    map[net.Conn]bool
	group    sync.WaitGroup
	seen     []string // commands, as they came
	secured  int      // mails that came over TLS
}

// Raw is a mail as it came.
type Raw struct{ From, To, Data string }

// Serve starts a server. It ends with the test.
func Serve(t testing.TB, o Options) *Server {
	t.Helper()
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	if o.Auth == "" {
		o.Auth = "PLAIN LOGIN"
	}
	s := &Server{options: o, conns: map[net.Conn]bool{}}
	var err error
	if s.tls, s.Roots, err = certificate(); err != nil {
		t.Fatal(err)
	}
	if s.listener, err = net.Listen("tcp", o.Addr); err != nil { //nolint:noctx // binding does not block
		t.Fatal(err)
	}
	s.Addr = s.listener.Addr().String()
	s.group.Go(s.accept)
	t.Cleanup(s.Stop)
	return s
}

// Stop ends the server as a crash does: connections break off.
func (s *Server) Stop() {
	_ = s.listener.Close()
	s.mu.Lock()
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.group.Wait()
}

// Fail makes the server do something wrong.
func (s *Server) Fail(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, f)
}

// Heal ends all faults.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Mails are those that were taken.
func (s *Server) Mails() []Raw {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Raw(nil), s.raw...)
}

// Commands are the commands that came, in the order in which they came.
func (s *Server) Commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.seen...)
}

// Secured is how many mails came over TLS.
func (s *Server) Secured() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.secured
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[conn] = true
		s.mu.Unlock()
		s.group.Go(func() {
			defer func() {
				_ = conn.Close()
				s.mu.Lock()
				delete(s.conns, conn)
				s.mu.Unlock()
			}()
			d := &dialogue{Server: s, conn: conn}
			if s.options.ImplicitTLS {
				secured := tls.Server(conn, s.tls)
				if secured.Handshake() != nil { //nolint:noctx // it ends with the connection
					return
				}
				d.conn, d.secure = secured, true
			}
			d.run()
		})
	}
}

// fault is what goes wrong at a point, if anything does.
func (s *Server) fault(at string) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if f.At != at {
			continue
		}
		if f.Times == 1 {
			s.faults = append(s.faults[:i], s.faults[i+1:]...)
		} else if f.Times > 1 {
			s.faults[i].Times--
		}
		return f, true
	}
	return Fault{}, false
}

// dialogue is one connection.
type dialogue struct {
	*Server

	conn     net.Conn
	r        *textproto.Reader
	secure   bool
	signedIn bool
	from, to string
}

func (d *dialogue) say(format string, args ...any) {
	_, _ = fmt.Fprintf(d.conn, format+"\r\n", args...)
}

// ok tells whether nothing goes wrong at a point; else the fault has been done.
func (d *dialogue) ok(at string) (ok, hangUp bool) {
	f, wrong := d.fault(at)
	if !wrong {
		return true, false
	}
	if f.Reply == "" {
		return false, true
	}
	d.say("%s", f.Reply)
	return false, strings.HasPrefix(f.Reply, "421")
}

func (d *dialogue) run() {
	if ok, _ := d.ok("GREETING"); !ok {
		return
	}
	d.say("220 mail.test ESMTP")
	d.r = textproto.NewReader(bufio.NewReader(d.conn))
	for {
		line, err := d.r.ReadLine()
		if err != nil {
			return
		}
		verb, rest, _ := strings.Cut(line, " ")
		verb = strings.ToUpper(verb)
		d.mu.Lock()
		d.seen = append(d.seen, verb)
		d.mu.Unlock()
		ok, hangUp := d.ok(verb)
		switch {
		case hangUp:
			return
		case ok && !d.answer(verb, rest):
			return
		}
	}
}

// answer does what a command says; false ends the connection.
func (d *dialogue) answer(verb, rest string) bool {
	switch verb {
	case "EHLO", "HELO":
		d.greet()
	case "STARTTLS":
		return d.startTLS()
	case "AUTH":
		d.auth(rest)
	case "MAIL":
		if d.options.User != "" && !d.signedIn {
			d.say("530 5.7.0 sign in first")
			return true
		}
		d.from = address(rest)
		d.say("250 2.1.0 ok")
	case "RCPT":
		d.to = address(rest)
		d.say("250 2.1.5 ok")
	case "DATA":
		return d.data()
	case "RSET", "NOOP":
		d.say("250 2.0.0 ok")
	case "QUIT":
		d.say("221 2.0.0 bye")
		return false
	default:
		d.say("502 5.5.1 what?")
	}
	return true
}

func (d *dialogue) greet() {
	d.say("250-mail.test")
	d.say("250-8BITMIME")
	if !d.secure && !d.options.NoTLS {
		d.say("250-STARTTLS")
	}
	if d.options.User != "" && d.secure {
		d.say("250-AUTH %s", d.options.Auth)
	}
	d.say("250 ENHANCEDSTATUSCODES")
}

func (d *dialogue) startTLS() bool {
	if d.options.NoTLS || d.secure {
		d.say("502 5.5.1 not now")
		return true
	}
	d.say("220 2.0.0 go on")
	secured := tls.Server(d.conn, d.tls)
	if secured.Handshake() != nil { //nolint:noctx // it ends with the connection
		return false
	}
	d.conn, d.secure, d.r = secured, true, textproto.NewReader(bufio.NewReader(secured))
	return true
}

func (d *dialogue) auth(rest string) {
	way, first, _ := strings.Cut(rest, " ")
	var user, password string
	switch strings.ToUpper(way) {
	case "PLAIN":
		if first == "" {
			first = d.ask("")
		}
		parts := strings.Split(decode(first), "\x00")
		if len(parts) == 3 {
			user, password = parts[1], parts[2]
		}
	case "LOGIN":
		user = decode(d.ask("Username:"))
		password = decode(d.ask("Password:"))
	}
	if user != d.options.User || password != d.options.Password {
		d.say("535 5.7.8 no: %s", password) // some servers say too much
		return
	}
	d.signedIn = true
	d.say("235 2.7.0 welcome")
}

func (d *dialogue) ask(what string) string {
	d.say("334 %s", base64.StdEncoding.EncodeToString([]byte(what)))
	line, _ := d.r.ReadLine() // one that broke off signs nobody in
	return line
}

func decode(s string) string {
	b, _ := base64.StdEncoding.DecodeString(s) // what can't be read is nobody's password
	return string(b)
}

func (d *dialogue) data() bool {
	if d.from == "" || d.to == "" {
		d.say("503 5.5.1 from whom, and to whom?")
		return true
	}
	d.say("354 go on")
	body, err := io.ReadAll(d.r.DotReader())
	if err != nil {
		return false
	}
	f, wrong := d.fault("END")
	if !wrong || f.Taken {
		d.mu.Lock()
		d.raw = append(d.raw, Raw{From: d.from, To: d.to, Data: string(body)})
		if d.secure {
			d.secured++
		}
		d.mu.Unlock()
	}
	d.from, d.to = "", ""
	switch {
	case !wrong:
		d.say("250 2.0.0 taken")
	case f.Reply == "":
		return false
	default:
		d.say("%s", f.Reply)
	}
	return true
}

func address(rest string) string {
	_, after, _ := strings.Cut(rest, "<")
	inside, _, _ := strings.Cut(after, ">")
	return inside
}

// certificate makes one for 127.0.0.1, and the pool that vouches for it.
func certificate() (*tls.Config, *x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail.test"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}}, MinVersion: tls.VersionTLS12}, pool, nil
}
