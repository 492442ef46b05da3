package mail_test

import (
	"context"
	"errors"
	"fmt"
	netmail "net/mail"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	adapter "github.com/aiaas/aiaas/adapters/mail"
	"github.com/aiaas/aiaas/shared/mail"
	"github.com/aiaas/aiaas/shared/mail/mailtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	user     = "aiaas"
	password = "c0rrect h0rse/b@ttery:staple%"
	from     = "?from=Wo%C5%82osz%20%3Cno-reply@mail.example.com%3E"
)

func now() time.Time { return time.Date(2026, 10, 12, 9, 30, 15, 0, time.UTC) }

func open(t *testing.T, c adapter.Config) adapter.Mailer {
	t.Helper()
	c.Now = now
	m, err := adapter.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func mailURL(scheme, addr, pass, query string) string {
	u := url.URL{Scheme: scheme, Host: addr}
	if pass != "" {
		u.User = url.UserPassword(user, pass)
	}
	return u.String() + query
}

func overSMTP(t *testing.T, o mailtest.Options, scheme, query string) (*mailtest.Server, mailtest.Mailbox) {
	t.Helper()
	s := mailtest.Serve(t, o)
	box := mailtest.Mailbox{Sender: open(t, adapter.Config{URL: mailURL(scheme, s.Addr, o.Password, from+query), Roots: s.Roots})}
	box.Received = func(t *testing.T) []mailtest.Received {
		t.Helper()
		var out []mailtest.Received
		for _, raw := range s.Mails() {
			r, _ := mailtest.Parse(t, raw.Data)
			if raw.To != r.To || raw.From != "no-reply@mail.example.com" {
				t.Errorf("the envelope is from %q to %q", raw.From, raw.To)
			}
			out = append(out, r)
		}
		return out
	}
	return s, box
}

func TestSMTPIsASender(t *testing.T) {
	for name, c := range map[string]struct {
		options       mailtest.Options
		scheme, query string
	}{
		"STARTTLS and PLAIN":      {mailtest.Options{User: user, Password: password}, "smtp", ""},
		"STARTTLS and LOGIN":      {mailtest.Options{User: user, Password: password, Auth: "LOGIN"}, "smtp", ""},
		"TLS from the first byte": {mailtest.Options{User: user, Password: password, ImplicitTLS: true}, "smtps", ""},
		"in the clear":            {mailtest.Options{NoTLS: true}, "smtp", "&tls=none"},
	} {
		t.Run(name, func(t *testing.T) {
			mailtest.Run(t, func(t *testing.T) mailtest.Mailbox {
				s, box := overSMTP(t, c.options, c.scheme, c.query)
				t.Cleanup(func() {
					if n := len(s.Mails()); c.query == "" && s.Secured() != n {
						t.Errorf("%d of %d mails came in the clear", n-s.Secured(), n)
					}
				})
				return box
			})
		})
	}
}

func TestTheFolderIsASender(t *testing.T) {
	mailtest.Run(t, func(t *testing.T) mailtest.Mailbox {
		dir := filepath.Join(t.TempDir(), "mail")
		return mailtest.Mailbox{Sender: open(t, adapter.Config{Folder: dir}), Received: func(t *testing.T) []mailtest.Received {
			t.Helper()
			return readFolder(t, dir)
		}}
	})
}

func readFolder(t *testing.T, dir string) (out []mailtest.Received) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.eml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		r, _ := mailtest.Parse(t, string(raw))
		out = append(out, r)
	}
	return out
}

func TestHeaders(t *testing.T) {
	s, box := overSMTP(t, mailtest.Options{User: user, Password: password}, "smtp", "")
	m := mailtest.Message("mail_7", "ada@example.com")
	if err := box.Sender.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	_, header := mailtest.Parse(t, s.Mails()[0].Data)
	for name, want := range map[string]string{
		"Message-Id": "<mail_7@mail.example.com>", "Date": "Mon, 12 Oct 2026 09:30:15 +0000", "Auto-Submitted": "auto-generated",
		"X-Auto-Response-Suppress": "All", "List-Id": "<notifications.mail.example.com>", "X-Aiaas-Kind": "test", "Mime-Version": "1.0",
	} {
		if got := header.Get(name); got != want {
			t.Errorf("%s is %q; want %q", name, got, want)
		}
	}
	who, err := header.AddressList("From")
	if err != nil || len(who) != 1 || *who[0] != (netmail.Address{Name: "Wołosz", Address: "no-reply@mail.example.com"}) {
		t.Errorf("from %v: %v", who, err)
	}
	for name := range header {
		if !slices.Contains([]string{
			"Message-Id", "Date", "Auto-Submitted", "X-Auto-Response-Suppress", "List-Id", "X-Aiaas-Kind", "Mime-Version", "From", "To", "Subject", "Content-Type",
		}, name) {
			t.Errorf("there is a header %s: %s", name, header.Get(name))
		}
	}
	for line := range strings.SplitSeq(s.Mails()[0].Data, "\n") {
		if len(line) > 998 || strings.ContainsFunc(line, func(r rune) bool { return r > '~' }) {
			t.Errorf("a line is too long or not ASCII: %.80q", line)
		}
	}
}

func TestASubjectIsNoHeader(t *testing.T) {
	s, box := overSMTP(t, mailtest.Options{User: user, Password: password}, "smtp", "")
	m := mailtest.Message("mail_7", "ada@example.com")
	m.Subject = "x\r\nBcc: eve@example.com\r\n\r\nbody" // no renderer lets it through
	err := box.Sender.Send(t.Context(), m)
	if len(s.Mails()) == 0 {
		return // refused: fine too
	}
	if err != nil {
		t.Errorf("it was sent, and the answer is %v", err)
	}
	if _, header := mailtest.Parse(t, s.Mails()[0].Data); header.Get("Bcc") != "" {
		t.Error("the subject became a header")
	}
}

func TestWhatTheServerSays(t *testing.T) {
	const (
		sent      = "sent"
		refused   = "refused"   // never again
		postponed = "postponed" // this one, later
		down      = "down"      // and no other one either
	)
	for _, c := range []struct {
		fault mailtest.Fault
		want  string
		says  string
	}{
		{mailtest.Fault{At: "RCPT", Reply: "550 5.1.1 no such user"}, refused, "550 5.1.1 no such user"},
		{mailtest.Fault{At: "RCPT", Reply: "450 4.2.1 mailbox busy"}, postponed, "450 4.2.1 mailbox busy"},
		{mailtest.Fault{At: "RCPT", Reply: "451-4.7.1 greylisted\r\n451 4.7.1 come\x1b back"}, postponed, "451 4.7.1 greylisted 4.7.1 come back"},
		{mailtest.Fault{At: "DATA", Reply: "554 5.7.1 rejected"}, refused, "554 5.7.1 rejected"},
		{mailtest.Fault{At: "END", Reply: "552 5.3.4 too big"}, refused, "552 5.3.4 too big"},
		{mailtest.Fault{At: "END", Reply: "452 4.3.1 disk full"}, postponed, "452 4.3.1 disk full"},
		{mailtest.Fault{At: "END", Taken: true}, postponed, "the connection to the mail server broke off"},
		{mailtest.Fault{At: "DATA"}, postponed, "the connection to the mail server broke off"},
		{mailtest.Fault{At: "RCPT", Reply: "421 4.3.2 shutting down"}, down, "421 4.3.2 shutting down"},
		{mailtest.Fault{At: "MAIL", Reply: "553 5.7.1 not your address"}, down, "the mail server does not take mails from the platform's address"},
		{mailtest.Fault{At: "GREETING", Reply: "554 go away"}, down, "the mail server can't be reached"},
		{mailtest.Fault{At: "GREETING"}, down, "the mail server can't be reached"},
		{mailtest.Fault{At: "STARTTLS", Reply: "454 4.7.0 not now"}, down, "the mail server can't be reached"},
		{mailtest.Fault{At: "AUTH", Reply: "454 4.7.0 not now"}, down, "the mail server does not let the platform in"},
		{mailtest.Fault{At: "AUTH", Reply: "535 5.7.8 no"}, down, "the mail server does not let the platform in"},
		{mailtest.Fault{At: "QUIT"}, sent, ""}, // the mail was taken before
		{mailtest.Fault{At: "QUIT", Reply: "500 what"}, sent, ""},
	} {
		t.Run(c.fault.At+" "+c.fault.Reply, func(t *testing.T) {
			s, box := overSMTP(t, mailtest.Options{User: user, Password: password}, "smtp", "")
			s.Fail(c.fault)
			err := box.Sender.Send(t.Context(), mailtest.Message("mail_1", "ada@example.com"))
			got, says := sent, ""
			var refusal *mail.RefusedError
			var setback *mail.PostponedError
			switch {
			case errors.As(err, &refusal):
				got, says = refused, refusal.Reason
			case errors.As(err, &setback) && setback.Down:
				got, says = down, setback.Reason
			case errors.As(err, &setback):
				got, says = postponed, setback.Reason
			case err != nil:
				t.Fatalf("an error of no sort: %v", err)
			}
			if got != c.want || says != c.says {
				t.Errorf("%s, %q; want %s, %q (%v)", got, says, c.want, c.says, err)
			}
			s.Heal()
			if err := box.Sender.Send(t.Context(), mailtest.Message("mail_2", "ada@example.com")); err != nil {
				t.Errorf("the next mail: %v", err)
			}
		})
	}
}

func TestNoMailAndNoPasswordInTheClear(t *testing.T) {
	s, box := overSMTP(t, mailtest.Options{User: user, Password: password, NoTLS: true}, "smtp", "")
	err := box.Sender.Send(t.Context(), mailtest.Message("mail_1", "ada@example.com"))
	if err == nil || len(s.Mails()) != 0 {
		t.Errorf("%d mails, %v", len(s.Mails()), err)
	}
	for _, c := range s.Commands() {
		if c == "AUTH" || c == "MAIL" {
			t.Errorf("it went as far as %s", c)
		}
	}
}

func TestAServerIsWhoItSays(t *testing.T) {
	for _, scheme := range []string{"smtp", "smtps"} {
		s := mailtest.Serve(t, mailtest.Options{User: user, Password: password, ImplicitTLS: scheme == "smtps"})
		m := open(t, adapter.Config{URL: mailURL(scheme, s.Addr, password, from)}) // the system's roots do not know it
		if err := m.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s: %v; want one about its certificate", scheme, err)
		}
		if err := m.Send(t.Context(), mailtest.Message("mail_1", "ada@example.com")); err == nil || slices.Contains(s.Commands(), "AUTH") {
			t.Errorf("%s: it was sent, or the password was: %v, %v", scheme, err, s.Commands())
		}
	}
}

func TestAPasswordIsInNoError(t *testing.T) {
	secret := "S3CRET-" + strings.Repeat("x", 8)
	s := mailtest.Serve(t, mailtest.Options{User: user, Password: password})
	dead := mailtest.Serve(t, mailtest.Options{})
	dead.Stop()
	for name, u := range map[string]string{
		"wrong password":  mailURL("smtp", s.Addr, secret, from), // the server's answer repeats it
		"nobody there":    mailURL("smtp", dead.Addr, secret, from),
		"no host":         "smtp://aiaas:" + secret + "@" + from,
		"bad escape":      "smtp://aiaas:" + secret + "%zz@mail.example.com" + from,
		"bad query":       "smtp://aiaas:" + secret + "@mail.example.com?from=%zz",
		"another scheme":  "imap://aiaas:" + secret + "@mail.example.com",
		"no sender":       "smtp://aiaas:" + secret + "@mail.example.com",
		"in the clear":    "smtp://aiaas:" + secret + "@127.0.0.1" + from + "&tls=none",
		"space in a host": "smtp://aiaas:" + secret + "@mail example.com" + from,
	} {
		m, err := adapter.Open(adapter.Config{URL: u, Roots: s.Roots, Now: now})
		texts := []string{fmt.Sprint(err)}
		if err == nil {
			texts = append(texts, fmt.Sprint(m), m.String(), fmt.Sprint(m.Check(t.Context())), fmt.Sprint(m.Send(t.Context(), mailtest.Message("mail_1", "ada@example.com"))))
		}
		if err == nil && (texts[3] == "<nil>" || texts[4] == "<nil>") {
			t.Errorf("%s: it was let in", name)
		}
		for _, text := range texts {
			if strings.Contains(text, secret) || strings.Contains(text, "U0VDUkVU") {
				t.Errorf("%s: %s", name, text)
			}
		}
	}
}

func TestCheck(t *testing.T) {
	s := mailtest.Serve(t, mailtest.Options{User: user, Password: password})
	if err := open(t, adapter.Config{URL: mailURL("smtp", s.Addr, password, from), Roots: s.Roots}).Check(t.Context()); err != nil {
		t.Error(err)
	}
	if len(s.Mails()) != 0 || slices.Contains(s.Commands(), "MAIL") {
		t.Errorf("it sent something: %v", s.Commands())
	}
	if err := open(t, adapter.Config{URL: mailURL("smtp", s.Addr, "wrong", from), Roots: s.Roots}).Check(t.Context()); err == nil {
		t.Error("a wrong password is fine")
	}
	dir := t.TempDir()
	if err := open(t, adapter.Config{Folder: filepath.Join(dir, "mail")}).Check(t.Context()); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("it left %v behind: %v", left, err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(t, adapter.Config{Folder: filepath.Join(file, "mail")}).Check(t.Context()); err == nil {
		t.Error("a folder that can't be is fine")
	}
}

func TestASilentServerEndsWithTheContext(t *testing.T) {
	s := mailtest.Serve(t, mailtest.Options{ImplicitTLS: true}) // it waits for a handshake, we for a greeting
	m := open(t, adapter.Config{URL: mailURL("smtp", s.Addr, "", from+"&tls=none")})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- m.Send(ctx, mailtest.Message("mail_1", "ada@example.com")) }()
	cancel()
	if err := <-done; err == nil {
		t.Error("it was sent")
	}
}

func TestAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"smtp://mail.example.com" + from:                    "mail.example.com:587, STARTTLS, from no-reply@mail.example.com",
		"smtps://u:p@mail.example.com" + from:               "mail.example.com:465, TLS, from no-reply@mail.example.com",
		"smtp://localhost" + from + "&tls=none":             "localhost:25, in the clear, from no-reply@mail.example.com",
		"smtp://[::1]:1025" + from + "&tls=none":            "[::1]:1025, in the clear, from no-reply@mail.example.com",
		"file:///var/mail/aiaas":                            "files in /var/mail/aiaas",
		"smtp://mail.example.com" + from + "&tls=none":      "", // not this machine
		"smtp://localhost.example.com" + from + "&tls=none": "",
		"smtp://u:p@127.0.0.1" + from + "&tls=none":         "",
		"smtps://127.0.0.1" + from + "&tls=none":            "",
		"smtp://mail.example.com" + from + "&tls=maybe":     "",
		"smtp://mail.example.com?from=nobody":               "",
		"smtp://mail.example.com?from=a@b.c%0d%0aBcc:e@x.y": "",
		"smtp://mail.example.com" + from + "&insecure=1":    "",
		"smtp://mail.example.com/path" + from:               "",
		"file://host/path":                                  "",
		"file:relative":                                     "",
		"https://mail.example.com":                          "",
		"mail.example.com:587":                              "",
	} {
		m, err := adapter.Open(adapter.Config{URL: address, Now: now})
		if (err == nil) != (want != "") || (err == nil && m.String() != want) {
			t.Errorf("%s: %v, %v; want %q", address, m, err, want)
		}
	}
	if _, err := adapter.Open(adapter.Config{Now: now}); err == nil || (adapter.Config{}).Configured() {
		t.Error("without anything there is a way")
	}
}

func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mail of 100 %")
	var said []string
	m := open(t, adapter.Config{Folder: dir, Say: func(line string) { said = append(said, line) }})
	message := mailtest.Message("mail_1", "ada@example.com")
	for range 2 {
		if err := m.Send(t.Context(), message); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"mail_1.eml", "mail_1.html", "mail_1.txt"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v, %v", info, err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 3 {
		t.Errorf("the folder has %v: %v", names, err)
	}
	for suffix, want := range map[string]string{".html": message.HTML, ".txt": message.Text} {
		if got, err := os.ReadFile(filepath.Join(dir, "mail_1"+suffix)); err != nil || string(got) != want {
			t.Errorf("%s is %.60q: %v", suffix, got, err)
		}
	}
	if len(said) != 2 || !strings.HasPrefix(said[0], "Mail to ada@example.com: "+message.Subject+"  file:///") {
		t.Fatalf("said %q", said)
	}
	_, at, _ := strings.Cut(said[0], "  ")
	link, err := url.Parse(at)
	if err != nil || link.Path != filepath.Join(dir, "mail_1.html") {
		t.Errorf("the link leads to %v: %v", link, err)
	}
}

func TestAnIdIsNoPath(t *testing.T) {
	outer := t.TempDir()
	m := open(t, adapter.Config{Folder: filepath.Join(outer, "mail")})
	for _, id := range []string{"", "../x", "a/b", "a\\b", "a\x00b", "mail_1\r\nX: y", "Ä", ".", "..", "a b", strings.Repeat("a", 200)} {
		err := m.Send(t.Context(), mailtest.Message(id, "ada@example.com"))
		if _, ok := errors.AsType[*mail.RefusedError](err); !ok {
			t.Errorf("%q: %v", id, err)
		}
	}
	if left, err := os.ReadDir(outer); err != nil || len(left) != 0 {
		t.Errorf("it wrote %v: %v", left, err)
	}
}

func TestAFullDiskIsNoRefusal(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := open(t, adapter.Config{Folder: filepath.Join(file, "mail")}).Send(t.Context(), mailtest.Message("mail_1", "ada@example.com"))
	if s, ok := errors.AsType[*mail.PostponedError](err); !ok || !s.Down || strings.Contains(s.Reason, file) {
		t.Errorf("%v; want a setback that does not name the file to everybody", err)
	}
}
