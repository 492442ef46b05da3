package mail_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/shared/mail/mailtest"
)

const from = "?tls=none&from=AIaaS%20%3Cno-reply@platform.example%3E"

func overSMTP(t *testing.T) (*platform, *mailtest.Server) {
	t.Helper()
	s := mailtest.Serve(t, mailtest.Options{NoTLS: true})
	return start(t, false, map[string]string{"MAIL_URL": "smtp://" + s.Addr + from}), s
}

func TestFromAnEventToTheMailbox(t *testing.T) {
	t.Parallel()
	p, s := overSMTP(t)
	p.happen(p.one.org, "budget.threshold", "bud_1", map[string]any{
		"threshold": 80, "unit": "money", "currency": "USD", "spent": "8.00", "amount": "10.00", "action": "warn", "window_start": "2026-10-01T00:00:00Z",
	})
	p.run("mails")
	to := map[string]mailtest.Received{}
	for _, raw := range s.Mails() {
		r, header := mailtest.Parse(t, raw.Data)
		to[r.To] = r
		if header.Get("Date") != "Mon, 12 Oct 2026 09:30:15 +0000" {
			t.Errorf("date %q", header.Get("Date"))
		}
	}
	for _, who := range []string{"billing@one.example", "owner@one.example"} {
		r, ok := to[who]
		if !ok || r.Subject != "Budget at 80 %: 8.00 of 10.00 USD" {
			t.Fatalf("%s got %+v", who, r)
		}
		for _, part := range []string{r.Text, r.HTML} {
			if !strings.Contains(part, "8.00 of 10.00 USD") || !strings.Contains(part, "https://ai.example.com/docs#listBudgets") {
				t.Errorf("a part reads\n%s", part)
			}
		}
	}
	if len(to) != 2 || len(s.Mails()) != 2 {
		t.Errorf("%d mails to %d people", len(s.Mails()), len(to))
	}
	for _, m := range p.mails(p.one) {
		if m["status"] != "sent" || m["attempts"] != 1.0 || m["last_error"] != nil || m["next_attempt_at"] != nil || m["finished_at"] == nil || m["kind"] != "budget.threshold_reached" {
			t.Errorf("%v", m)
		}
	}
}

func TestAServerThatDiesInTheMiddle(t *testing.T) {
	t.Parallel()
	p, s := overSMTP(t)
	s.Fail(mailtest.Fault{At: "END", Taken: true, Times: 1}) // it took the mail, and nobody hears of it
	p.happen(p.one.org, "organization.suspend", p.one.org, nil)
	if n := p.run("mails"); n["postponed"] != 1 {
		t.Fatalf("%v; want it postponed", n)
	}
	s.Stop()
	p.advance(time.Minute)
	if n := p.run("mails"); n["postponed"] != 1 { // nobody is there
		t.Fatalf("%v; want it postponed", n)
	}
	if m := p.mails(p.one)[0]; m["status"] != "queued" || m["attempts"] != 2.0 || m["last_error"] != "the mail server can't be reached" {
		t.Errorf("%v", m)
	}
	again := mailtest.Serve(t, mailtest.Options{NoTLS: true, Addr: s.Addr})
	p.advance(time.Hour)
	if n := p.run("mails"); n["sent"] != 1 {
		t.Fatalf("%v; want it sent", n)
	}
	p.advance(time.Hour)
	p.run("mails")
	ids := map[string]int{}
	for _, raw := range append(s.Mails(), again.Mails()...) {
		r, _ := mailtest.Parse(t, raw.Data)
		ids[r.MessageID]++
	}
	// The mailbox has it twice and shows it once: by its Message-ID.
	if len(ids) != 1 || ids[text(t, p.mails(p.one)[0], "id")+"@platform.example"] != 2 {
		t.Errorf("mails by Message-ID: %v", ids)
	}
}

func TestABounceIsShown(t *testing.T) {
	t.Parallel()
	p, s := overSMTP(t)
	s.Fail(mailtest.Fault{At: "RCPT", Reply: "550 5.1.1 =HYPERLINK(\"http://evil.example.com\") no such user\x1b[31m", Times: 1})
	p.happen(p.one.org, "organization.suspend", p.one.org, nil)
	p.run("mails")
	m := p.mails(p.one)[0]
	if m["status"] != "failed" || !strings.HasPrefix(text(t, m, "last_error"), "550 5.1.1 ") || strings.Contains(text(t, m, "last_error"), "\x1b") {
		t.Errorf("%v", m)
	}
	p.advance(48 * time.Hour)
	if n := p.run("mails"); n != nil {
		t.Errorf("it was tried again: %v", n)
	}
}

func TestNoContentAndNoAddressInTheLog(t *testing.T) {
	t.Parallel()
	p, s := overSMTP(t)
	s.Fail(mailtest.Fault{At: "END", Reply: "451 4.3.0 later"})
	p.happen(p.one.org, "organization.suspend", p.one.org, map[string]any{"reason": "the secret reason"})
	p.run("mails")
	list := p.do(http.MethodGet, "/v1/mails", p.one.admin, "").Body.String()
	one := p.do(http.MethodGet, "/v1/mails/"+text(t, p.mails(p.one)[0], "id"), p.one.admin, "").Body.String()
	for what, text := range map[string]string{"log": p.log.String(), "list": list, "mail": one} {
		if strings.Contains(text, "secret reason") {
			t.Errorf("the %s says what a mail says: %s", what, text)
		}
	}
	if !strings.Contains(p.log.String(), "mail postponed") || strings.Contains(p.log.String(), "owner@one.example") {
		t.Errorf("the log: %s", p.log.String())
	}
}

func TestTheFolder(t *testing.T) {
	t.Parallel()
	p := start(t, true, nil)
	p.happen(p.one.org, "organization.suspend", p.one.org, nil)
	p.run("mails")
	mailID := text(t, p.mails(p.one)[0], "id")
	path := filepath.Join(p.dir, "mail", mailID+".html")
	if want := "Mail to owner@one.example: Your organization was suspended  file://" + path + "\n"; p.said.String() != want {
		t.Errorf("said %q; want %q", p.said.String(), want)
	}
	page, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(page), "was suspended") {
		t.Errorf("%v: %s", err, page)
	}
}

func TestWhereNothingIsSetMailsWait(t *testing.T) {
	t.Parallel()
	p := start(t, false, nil)
	p.happen(p.one.org, "organization.suspend", p.one.org, nil)
	if n := p.run("mails"); n != nil {
		t.Errorf("%v", n)
	}
	if m := p.mails(p.one)[0]; m["status"] != "queued" || m["attempts"] != 0.0 {
		t.Errorf("%v", m)
	}
}

func TestTestMail(t *testing.T) {
	t.Parallel()
	p, s := overSMTP(t)
	post := func(key, body string, status int) map[string]any {
		t.Helper()
		return p.call(http.MethodPost, "/v1/mails/test", key, body, status)
	}
	for _, c := range []struct{ name, body, want string }{
		{"to the caller, where there is no technical contact", `{}`, "owner@one.example"},
		{"to a contact", `{"to":"billing@one.example"}`, "billing@one.example"},
		{"to a member, in another case", `{"to":"OWNER@one.example"}`, "owner@one.example"},
	} {
		v := post(p.one.admin, c.body, http.StatusAccepted)
		if v["recipient"] != c.want || v["status"] != "queued" || v["kind"] != "test" {
			t.Errorf("%s: %v", c.name, v)
		}
	}
	for _, to := range []string{
		"eve@evil.example.com", "owner@two.example", "billing@two.example", "owner@one.example\r\nBcc: eve@evil.example.com",
		"owner@one.example,eve@evil.example.com", "Olga <owner@one.example>", "owner@one.example ", "%", "' OR 1=1 --",
	} {
		v := post(p.one.admin, fmt.Sprintf(`{"to":%q}`, to), http.StatusUnprocessableEntity)
		if v["code"] != "unprocessable" || strings.Contains(fmt.Sprint(v), "two.example") && !strings.Contains(to, "two.example") {
			t.Errorf("%q: %v", to, v)
		}
	}
	post(p.one.reader, `{}`, http.StatusForbidden)
	post(p.one.developer, `{}`, http.StatusForbidden)
	post("", `{}`, http.StatusUnauthorized)
	post(p.one.admin, `{"to":"owner@one.example","org_id":"`+p.two.org+`"}`, http.StatusUnprocessableEntity)
	p.run("mails")
	if n := len(s.Mails()); n != 3 {
		t.Errorf("%d mails were sent; want 3", n)
	}
	postgrestest.Exec(t, p.url, `UPDATE accounts.organizations SET contacts = '{"technical": "ops@one.example"}' WHERE org_id = '`+p.one.org+`'`)
	if v := post(p.one.admin, `{}`, http.StatusAccepted); v["recipient"] != "ops@one.example" {
		t.Errorf("%v; want it to the technical contact", v)
	}
	for range 6 {
		post(p.one.admin, `{}`, http.StatusAccepted)
	}
	w := p.do(http.MethodPost, "/v1/mails/test", p.one.admin, `{}`)
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("the eleventh: %d %s", w.Code, w.Body)
	}
	if v := post(p.two.admin, `{}`, http.StatusAccepted); v["recipient"] != "owner@two.example" {
		t.Errorf("another organization: %v", v)
	}
}

func TestTheAPIOfMails(t *testing.T) {
	t.Parallel()
	p := start(t, true, nil)
	for range 3 {
		p.happen(p.one.org, "organization.suspend", p.one.org, nil)
	}
	p.happen(p.two.org, "organization.suspend", p.two.org, nil)
	mails := p.mails(p.one)
	if len(mails) != 3 || len(p.mails(p.two)) != 1 {
		t.Fatalf("%v", mails)
	}
	first := p.call(http.MethodGet, "/v1/mails?limit=2", p.one.admin, "", http.StatusOK)
	rest := p.call(http.MethodGet, "/v1/mails?limit=2&cursor="+text(t, first, "next_cursor"), p.one.admin, "", http.StatusOK)
	if len(items(first)) != 2 || len(items(rest)) != 1 || rest["next_cursor"] != nil {
		t.Errorf("%v, then %v", first, rest)
	}
	own, foreign := text(t, mails[0], "id"), text(t, p.mails(p.two)[0], "id")
	if v := p.call(http.MethodGet, "/v1/mails/"+own, p.one.admin, "", http.StatusOK); v["id"] != own || v["recipient"] != "owner@one.example" {
		t.Errorf("%v", v)
	}
	missing := p.call(http.MethodGet, "/v1/mails/mail_0199c0b2f3a47c1e8d6a5b4c3d2e1f00", p.one.admin, "", http.StatusNotFound)
	if v := p.call(http.MethodGet, "/v1/mails/"+foreign, p.one.admin, "", http.StatusNotFound); v["detail"] != missing["detail"] {
		t.Errorf("a foreign mail answers %v, a missing one %v", v, missing)
	}
	for path, status := range map[string]int{
		"/v1/mails?status=lost": http.StatusUnprocessableEntity, "/v1/mails?cursor=x": http.StatusBadRequest, "/v1/mails?limit=0": http.StatusUnprocessableEntity,
	} {
		if w := p.do(http.MethodGet, path, p.one.admin, ""); w.Code != status {
			t.Errorf("%s: %d; want %d: %s", path, w.Code, status, w.Body)
		}
	}
	for _, path := range []string{"/v1/mails", "/v1/mails/" + own} {
		p.call(http.MethodGet, path, p.one.reader, "", http.StatusForbidden)
		p.call(http.MethodGet, path, p.one.developer, "", http.StatusForbidden)
		p.call(http.MethodGet, path, "", "", http.StatusUnauthorized)
	}
}

func TestSettingsThatCanNotBe(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string]map[string]string{
		"MAIL_URL":         {"MAIL_URL": "smtp://user:S3CRET@mail.example.com"},
		"AIAAS_PUBLIC_URL": {"AIAAS_PUBLIC_URL": "ai.example.com"},
	} {
		err := wireError(t, settings)
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "S3CRET") {
			t.Errorf("%s: %v; want an error that names it", name, err)
		}
	}
}
