// Package mailtest is what tests need of mail: a sender that keeps what it is given,
// and the suite that every [mail.Sender] passes.
package mailtest

import (
	"context"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	netmail "net/mail"
	"strings"
	"sync"
	"testing"

	"github.com/aiaas/aiaas/shared/mail"
)

// Recorder is a sender that keeps what it is given.
type Recorder struct {
	mu   sync.Mutex
	sent []mail.Message
	next func(mail.Message) error
}

// Send implements [mail.Sender].
func (r *Recorder) Send(ctx context.Context, m mail.Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := mail.CheckAddress(m.To); err != nil {
		return &mail.RefusedError{Reason: "the address can't be written to", Err: err}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next != nil {
		if err := r.next(m); err != nil {
			return err
		}
	}
	r.sent = append(r.sent, m)
	return nil
}

// Answer makes the following mails end as f says.
func (r *Recorder) Answer(f func(mail.Message) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next = f
}

// Sent are the mails that were accepted.
func (r *Recorder) Sent() []mail.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]mail.Message(nil), r.sent...)
}

// Mailbox is a sender with a way to see what arrived.
type Mailbox struct {
	Sender mail.Sender
	// Received are the mails that arrived: as messages, or where Raw, as RFC 5322
	// has them.
	Received func(t *testing.T) []Received
}

// Received is one mail that arrived.
type Received struct {
	To, Subject, Text, HTML string
	MessageID               string // without brackets; "" where the sender makes none
}

// Run runs the suite. Each part gets a mailbox of its own.
func Run(t *testing.T, open func(t *testing.T) Mailbox) {
	t.Run("a mail arrives as it is", func(t *testing.T) { arrives(t, open(t)) })
	t.Run("the same mail again keeps its id", func(t *testing.T) { again(t, open(t)) })
	t.Run("what could leave its place is refused", func(t *testing.T) { refuses(t, open(t)) })
	t.Run("several at once", func(t *testing.T) { atOnce(t, open(t)) })
	t.Run("nothing is sent when the context has ended", func(t *testing.T) { ended(t, open(t)) })
}

// Message is a mail with letters of many alphabets.
func Message(mailID, to string) mail.Message {
	return mail.Message{
		ID: mailID, OrgID: "org_1", Kind: mail.KindTest, To: to,
		Subject: "Budget „Łódź“ 預算 \U0001F680 at 80 % of 1 000,00 €",
		Text:    "First line\n\n.a line that begins with a dot\nÅngström: ünïcödé\n" + strings.Repeat("long ", 400) + "\n-- \nEnd\n",
		HTML:    "<!DOCTYPE html>\n<p>.dots &amp; <b>ünïcödé</b></p>\n.\n<p>" + strings.Repeat("x", 2000) + "</p>\n",
	}
}

func arrives(t *testing.T, box Mailbox) {
	want := Message("mail_1", "ada@example.com")
	if err := box.Sender.Send(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	got := box.Received(t)
	if len(got) != 1 {
		t.Fatalf("%d mails arrived", len(got))
	}
	m := got[0]
	if m.To != want.To || m.Subject != want.Subject {
		t.Errorf("to %q, subject %q", m.To, m.Subject)
	}
	if !sameText(m.Text, want.Text) {
		t.Errorf("text is %q; want %q", m.Text, want.Text)
	}
	if !sameText(m.HTML, want.HTML) {
		t.Errorf("HTML is %q; want %q", m.HTML, want.HTML)
	}
}

// sameText compares texts but for how lines end.
func sameText(a, b string) bool {
	unix := func(s string) string { return strings.TrimRight(strings.ReplaceAll(s, "\r\n", "\n"), "\n") }
	return unix(a) == unix(b)
}

func again(t *testing.T, box Mailbox) {
	m := Message("mail_1", "ada@example.com")
	for range 2 {
		if err := box.Sender.Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range box.Received(t) {
		if r.MessageID != "" && !strings.HasPrefix(r.MessageID, "mail_1@") {
			t.Errorf("Message-ID %q is not made of the mail's id", r.MessageID)
		}
	}
}

func refuses(t *testing.T, box Mailbox) {
	for _, to := range []string{
		"", "ada", "ada@example.com\r\nBcc: eve@example.com", "ada@example.com, eve@example.com", "Ada <ada@example.com>",
		"ada@example.com>\r\nDATA", "\"a b\"@example.com", "ada@exa mple.com", strings.Repeat("a", 300) + "@example.com",
	} {
		err := box.Sender.Send(t.Context(), Message("mail_1", to))
		if _, ok := err.(*mail.RefusedError); !ok { //nolint:errorlint // the suite wants it as it is
			t.Errorf("to %q: %v; want a refusal", to, err)
		}
	}
	if got := box.Received(t); len(got) != 0 {
		t.Errorf("%d mails arrived: %+v", len(got), got)
	}
}

func atOnce(t *testing.T, box Mailbox) {
	ids := []string{"mail_a", "mail_b", "mail_c", "mail_d", "mail_e", "mail_f"}
	var group sync.WaitGroup
	for _, mailID := range ids {
		group.Go(func() {
			if err := box.Sender.Send(t.Context(), Message(mailID, mailID+"@example.com")); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	to := map[string]int{}
	for _, r := range box.Received(t) {
		to[r.To]++
	}
	for _, mailID := range ids {
		if to[mailID+"@example.com"] != 1 {
			t.Errorf("%d mails to %s", to[mailID+"@example.com"], mailID)
		}
	}
}

func ended(t *testing.T, box Mailbox) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := box.Sender.Send(ctx, Message("mail_1", "ada@example.com")); err == nil {
		t.Error("it was sent")
	}
	if got := box.Received(t); len(got) != 0 {
		t.Errorf("%d mails arrived", len(got))
	}
}

// Parse reads a mail as RFC 5322 has it, with the parsers of the standard library.
func Parse(t *testing.T, raw string) (Received, netmail.Header) {
	t.Helper()
	m, err := netmail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		t.Fatalf("parse mail: %v\n%s", err, raw)
	}
	var r Received
	to, err := m.Header.AddressList("To")
	if err != nil || len(to) != 1 {
		t.Fatalf("To: %v, %v", to, err)
	}
	r.To = to[0].Address
	var decoder mime.WordDecoder
	if r.Subject, err = decoder.DecodeHeader(m.Header.Get("Subject")); err != nil {
		t.Fatal(err)
	}
	r.MessageID = strings.Trim(m.Header.Get("Message-Id"), "<>")
	media, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || media != "multipart/alternative" {
		t.Fatalf("content type %q: %v", m.Header.Get("Content-Type"), err)
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for _, want := range []struct {
		media string
		to    *string
	}{{"text/plain", &r.Text}, {"text/html", &r.HTML}} { // the richest comes last
		p, err := parts.NextRawPart()
		if err != nil {
			t.Fatalf("part %s: %v", want.media, err)
		}
		media, params, err := mime.ParseMediaType(p.Header.Get("Content-Type"))
		if err != nil || media != want.media || !strings.EqualFold(params["charset"], "utf-8") {
			t.Fatalf("part is %q, want %s in UTF-8: %v", p.Header.Get("Content-Type"), want.media, err)
		}
		if enc := p.Header.Get("Content-Transfer-Encoding"); enc != "quoted-printable" {
			t.Fatalf("part is encoded as %q", enc)
		}
		body, err := io.ReadAll(quotedprintable.NewReader(p))
		if err != nil {
			t.Fatal(err)
		}
		*want.to = string(body)
	}
	if _, err := parts.NextRawPart(); err != io.EOF {
		t.Errorf("there is another part: %v", err)
	}
	return r, m.Header
}
