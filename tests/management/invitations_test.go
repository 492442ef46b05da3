package management_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/mail"
)

// link is the secret of the last link that was sent to an address.
func (p *platform) link(kind mail.Kind, address string) string {
	p.t.Helper()
	box, err := open.Secrets(p.t.Context(), p.env)
	if err != nil {
		p.t.Fatal(err)
	}
	row := p.scalar(fmt.Sprintf(`SELECT mail_id || ' ' || data::text FROM accounts.mails WHERE kind = '%s' AND recipient = '%s' ORDER BY mail_id DESC LIMIT 1`, kind, address))
	mailID, data, _ := strings.Cut(row, " ")
	var l mail.Letter
	if err := json.Unmarshal([]byte(data), &l); err != nil {
		p.t.Fatal(err)
	}
	secret, err := box.Open(l.Sealed, mail.Bound(mailID))
	if err != nil {
		p.t.Fatal(err)
	}
	return secret
}

// people is a platform where people can come in.
func people(t *testing.T) *platform {
	t.Helper()
	p := start(t)
	if p.handler["signin"] == nil {
		p.wire("signin")
	}
	return p
}

// twin is another process over the platform's database.
func (p *platform) twin(names ...string) *platform {
	p.t.Helper()
	settings := map[string]string{"DATABASE_URL": p.url, "AIAAS_DATA_DIR": p.t.TempDir(), "AIAAS_DATABASE_CONNS": "4"}
	other := *p
	other.env = &function.Env{
		Now: p.clock.Now, Log: p.env.Log, Getenv: func(n string) string { return settings[n] }, Fatal: func(err error) { p.t.Error(err) }, LocalDisk: true,
	}
	other.mux, other.handler = http.NewServeMux(), map[string]http.Handler{}
	p.t.Cleanup(func() {
		if err := other.env.Close(context.WithoutCancel(p.t.Context())); err != nil {
			p.t.Error(err)
		}
	})
	other.wire(names...)
	return &other
}

const goodPassword = "eleven purple herons"

func (p *platform) invite(key, email, role string) map[string]any {
	p.t.Helper()
	return p.do("POST", "/v1/invitations", key, fmt.Sprintf(`{"email":%q,"role":%q}`, email, role)).want(http.StatusCreated)
}

// accept takes an invitation up by a bearer session.
func (p *platform) accept(address, more string, change ...func(*http.Request)) answer {
	p.t.Helper()
	return p.do("POST", "/v1/invitations/accept", "", fmt.Sprintf(`{"token":%q,"transport":"bearer"%s}`, p.link(mail.KindInvited, address), more), change...)
}

func TestAPersonIsInvitedAndComesIn(t *testing.T) {
	t.Parallel()
	p := people(t)
	sent := p.do("POST", "/v1/invitations", p.one.admin, fmt.Sprintf(`{"email":"Ada@Example.com","role":"developer","projects":[{"project_id":%q,"role":"manager"}]}`, p.one.project)).want(http.StatusCreated)
	if sent["email"] != "ada@example.com" || sent["status"] != "open" || sent["ended_at"] != nil || fmt.Sprint(sent["sends"]) != "1" || sent["expires_at"] != "2026-10-19T09:30:15Z" {
		t.Errorf("%v", sent)
	}
	token := p.link(mail.KindInvited, "ada@example.com")
	offer := p.do("POST", "/v1/invitations/inspect", "", fmt.Sprintf(`{"token":%q}`, token)).want(http.StatusOK)
	if offer["organization"] != "org_one" || offer["role"] != "developer" || offer["email"] != "a…@example.com" || strings.Contains(fmt.Sprint(offer), "password") {
		t.Errorf("%v", offer)
	}
	in := p.accept("ada@example.com", `,"name":"Ada Lovelace","password":"`+goodPassword+`"`).want(http.StatusOK)
	session := member[string](in, "token")
	if in["status"] != "signed_in" || session == "" {
		t.Fatalf("%v", in)
	}
	me := p.do("GET", "/v1/me", session, "").want(http.StatusOK)
	person := member[map[string]any](me, "person")
	if person["email"] != "ada@example.com" || person["email_verified"] != true || person["name"] != "Ada Lovelace" || len(member[[]any](me, "projects")) != 1 || len(member[[]any](me, "organizations")) != 1 {
		t.Errorf("%v", me)
	}
	if mfa := member[map[string]any](me, "mfa"); mfa["enabled"] != false || mfa["required"] != false || mfa["recommended"] != true {
		t.Errorf("%v", mfa)
	}
	p.accept("ada@example.com", `,"name":"Eve","password":"`+goodPassword+`"`).refused(http.StatusNotFound, "not_found")
	list := items(p.do("GET", "/v1/invitations?status=accepted", p.one.admin, "").want(http.StatusOK))
	if len(list) != 1 || member[string](list[0], "member_id") != person["id"] {
		t.Errorf("%v", list)
	}
	if text := p.log.String(); strings.Contains(text, token) || strings.Contains(text, goodPassword) || strings.Contains(text, session) {
		t.Error("a secret is in the log")
	}
}

func TestAKnownPersonJoinsASecondOrganization(t *testing.T) {
	t.Parallel()
	p := people(t)
	p.invite(p.one.admin, "ada@example.com", "developer")
	first := p.accept("ada@example.com", `,"name":"Ada","password":"`+goodPassword+`"`).want(http.StatusOK)
	session := member[string](first, "token")
	t.Run("by a password", func(t *testing.T) {
		p.invite(p.two.admin, "ada@example.com", "analyst")
		p.accept("ada@example.com", "").refused(http.StatusUnprocessableEntity, "unprocessable")
		p.accept("ada@example.com", `,"password":"another one, surely"`).refused(http.StatusUnauthorized, "invalid_api_key")
		in := p.accept("ada@example.com", `,"password":"`+goodPassword+`"`).want(http.StatusOK)
		me := p.do("GET", "/v1/me", member[string](in, "token"), "").want(http.StatusOK)
		if member[map[string]any](me, "organization")["id"] != p.two.org || len(member[[]any](me, "organizations")) != 2 {
			t.Errorf("%v", me)
		}
		p.do("GET", "/v1/me", session, "").want(http.StatusOK)
	})
	t.Run("signed in", func(t *testing.T) {
		three := p.tenant("org_three")
		p.invite(three.admin, "ada@example.com", "analyst")
		as := func(token string) func(*http.Request) {
			return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
		}
		p.accept("ada@example.com", "", as(three.admin)).refused(http.StatusForbidden, "forbidden")
		in := p.accept("ada@example.com", "", as(session)).want(http.StatusOK)
		if in["token"] == session {
			t.Error("the token is the same")
		}
		p.do("GET", "/v1/me", session, "").refused(http.StatusUnauthorized, "invalid_api_key")
		me := p.do("GET", "/v1/me", member[string](in, "token"), "").want(http.StatusOK)
		if member[map[string]any](me, "organization")["id"] != three.org || len(member[[]any](me, "organizations")) != 3 {
			t.Errorf("%v", me)
		}
	})
}

func TestASessionOfAnotherAcceptsNothing(t *testing.T) {
	t.Parallel()
	p := people(t)
	p.invite(p.one.admin, "eve@example.com", "developer")
	eve := member[string](p.accept("eve@example.com", `,"name":"Eve","password":"`+goodPassword+`"`).want(http.StatusOK), "token")
	p.invite(p.two.admin, "ada@example.com", "admin")
	asEve := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+eve) }
	p.accept("ada@example.com", "", asEve).refused(http.StatusForbidden, "forbidden")
	p.accept("ada@example.com", `,"name":"Ada","password":"`+goodPassword+`"`, asEve).want(http.StatusOK) // Ada, at Eve's desk
	if me := p.do("GET", "/v1/me", eve, "").want(http.StatusOK); len(member[[]any](me, "organizations")) != 1 {
		t.Errorf("Eve has joined: %v", me)
	}
	stale := func(r *http.Request) { r.Header.Set("Authorization", "Bearer aiaas_session_"+strings.Repeat("A", 43)) }
	p.invite(p.two.admin, "bo@example.com", "developer")
	p.accept("bo@example.com", `,"name":"Bo","password":"`+goodPassword+`"`, stale).want(http.StatusOK)
}

func TestTheLifeOfAnInvitation(t *testing.T) {
	t.Parallel()
	p := people(t)
	sent := p.invite(p.one.admin, "ada@example.com", "developer")
	path := "/v1/invitations/" + member[string](sent, "id")
	first := p.link(mail.KindInvited, "ada@example.com")
	p.do("POST", "/v1/invitations", p.one.admin, `{"email":"ADA@example.com","role":"developer"}`).refused(http.StatusConflict, "conflict")
	if p.do("POST", path+"/resend", p.one.admin, "").refused(http.StatusTooManyRequests, "rate_limit_exceeded"); p.scalar(`SELECT count(*)::text FROM accounts.mails`) != "1" {
		t.Error("it was sent again at once")
	}
	for _, key := range []string{p.two.admin, p.two.platform} {
		p.do("GET", path, key, "").want(map[string]int{p.two.admin: http.StatusNotFound, p.two.platform: http.StatusForbidden}[key])
	}
	p.do("DELETE", path, p.two.admin, "").refused(http.StatusNotFound, "not_found")
	p.do("POST", path+"/resend", p.two.admin, "").refused(http.StatusNotFound, "not_found")
	p.do("GET", "/v1/invitations", p.one.reader, "").refused(http.StatusForbidden, "forbidden")
	p.clock.advance(time.Hour)
	if again := p.do("POST", path+"/resend", p.one.admin, "").want(http.StatusOK); fmt.Sprint(again["sends"]) != "2" || again["expires_at"] != "2026-10-19T10:30:15Z" {
		t.Errorf("%v", again)
	}
	dead := p.do("POST", "/v1/invitations/inspect", "", fmt.Sprintf(`{"token":%q}`, first)).refused(http.StatusNotFound, "not_found")
	p.do("DELETE", path, p.one.admin, "").want(http.StatusNoContent)
	p.do("DELETE", path, p.one.admin, "").refused(http.StatusConflict, "conflict")
	withdrawn := p.accept("ada@example.com", `,"name":"Ada","password":"`+goodPassword+`"`).refused(http.StatusNotFound, "not_found")
	if dead["detail"] != withdrawn["detail"] {
		t.Errorf("a dead link says %v, a withdrawn one %v", dead["detail"], withdrawn["detail"])
	}
	p.invite(p.one.admin, "ada@example.com", "developer")
	p.clock.advance(7 * 24 * time.Hour)
	p.accept("ada@example.com", `,"name":"Ada","password":"`+goodPassword+`"`).refused(http.StatusNotFound, "not_found")
	if list := items(p.do("GET", "/v1/invitations?status=expired", p.one.admin, "").want(http.StatusOK)); len(list) != 1 {
		t.Errorf("%v", list)
	}
	p.do("GET", "/v1/invitations/"+id.New(id.Invitation), p.one.admin, "").refused(http.StatusNotFound, "not_found")
}

func TestWhatNobodyIsInvitedBy(t *testing.T) {
	t.Parallel()
	p := start(t)
	for name, body := range map[string]string{
		"a role of the platform": `{"email":"a@example.com","role":"system_administrator"}`,
		"no role":                `{"email":"a@example.com"}`,
		"a header":               `{"email":"a@example.com\r\nBcc: b@example.com","role":"developer"}`,
		"a list":                 `{"email":"a@example.com,b@example.com","role":"developer"}`,
		"a hidden name":          `{"email":"a@example.com","role":"developer","name":"A\u202eb"}`,
		"a member unknown here":  `{"email":"a@example.com","role":"developer","admin":true}`,
		"a project twice":        fmt.Sprintf(`{"email":"a@example.com","role":"developer","projects":[{"project_id":%[1]q,"role":"viewer"},{"project_id":%[1]q,"role":"manager"}]}`, p.one.project),
		"a role of no project":   fmt.Sprintf(`{"email":"a@example.com","role":"developer","projects":[{"project_id":%q,"role":"owner"}]}`, p.one.project),
		"a foreign project":      fmt.Sprintf(`{"email":"a@example.com","role":"developer","projects":[{"project_id":%q,"role":"viewer"}]}`, p.two.project),
	} {
		if a := p.do("POST", "/v1/invitations", p.one.admin, body); a.Code/100 != 4 {
			t.Errorf("%s: %d: %s", name, a.Code, a.Body)
		}
	}
	if n := p.scalar(`SELECT ((SELECT count(*) FROM accounts.invitations) + (SELECT count(*) FROM accounts.mails))::text`); n != "0" {
		t.Errorf("%s were kept", n)
	}
}

func TestNobodyAcceptsMoreThanHeIsOffered(t *testing.T) {
	t.Parallel()
	p := people(t)
	p.invite(p.one.admin, "ada@example.com", "developer")
	for _, more := range []string{`,"role":"owner"`, `,"organization_id":"org_x"`, `,"email":"eve@example.com"`, `,"projects":[]`, `,"token":"x"`, `,"name":["a"]`} {
		if a := p.accept("ada@example.com", `,"name":"Ada","password":"`+goodPassword+`"`+more); a.Code/100 != 4 {
			t.Errorf("%s: %d: %s", more, a.Code, a.Body)
		}
	}
	if n := p.scalar(`SELECT count(*)::text FROM accounts.members`); n != "0" {
		t.Errorf("%s are members", n)
	}
}

func TestOfFiftyAcceptancesOverTwoProcessesOneSucceeds(t *testing.T) {
	t.Parallel()
	p := people(t)
	p.invite(p.one.admin, "ada@example.com", "developer")
	p.invite(p.two.admin, "ada@example.com", "developer")
	p.accept("ada@example.com", `,"name":"Ada","password":"`+goodPassword+`"`).want(http.StatusOK) // of the second
	session := member[string](p.do("POST", "/v1/sign-in", "", `{"email":"ada@example.com","password":"`+goodPassword+`","transport":"bearer"}`).want(http.StatusOK), "token")
	row := p.scalar(`SELECT mail_id || ' ' || data::text FROM accounts.mails WHERE org_id = '` + p.one.org + `'`)
	mailID, data, _ := strings.Cut(row, " ")
	var l mail.Letter
	if err := json.Unmarshal([]byte(data), &l); err != nil {
		t.Fatal(err)
	}
	box, err := open.Secrets(t.Context(), p.env)
	if err != nil {
		t.Fatal(err)
	}
	token, err := box.Open(l.Sealed, mail.Bound(mailID))
	if err != nil {
		t.Fatal(err)
	}
	other := p.twin("signin")
	var mu sync.Mutex
	codes := map[int]int{}
	var group sync.WaitGroup
	for n := range 50 {
		at := []*platform{p, other}[n%2]
		group.Go(func() {
			a := at.do("POST", "/v1/invitations/accept", session, fmt.Sprintf(`{"token":%q,"transport":"bearer"}`, token))
			mu.Lock()
			defer mu.Unlock()
			codes[a.Code]++
		})
	}
	group.Wait()
	// Who comes late finds the session replaced, or the invitation taken.
	if codes[http.StatusOK] != 1 || codes[http.StatusOK]+codes[http.StatusNotFound]+codes[http.StatusUnprocessableEntity]+codes[http.StatusUnauthorized] != 50 {
		t.Errorf("%v", codes)
	}
	if p.scalar(`SELECT count(*)::text FROM accounts.members WHERE org_id = '`+p.one.org+`'`) != "1" || p.scalar(`SELECT count(*)::text FROM accounts.audit_records WHERE action = 'invitation.accept' AND org_id = '`+p.one.org+`'`) != "1" {
		t.Error("it was accepted more than once")
	}
}

func TestTheOwnProfile(t *testing.T) {
	t.Parallel()
	p := people(t)
	p.invite(p.one.admin, "ada@example.com", "owner")
	ada := member[string](p.accept("ada@example.com", `,"name":"Ada","password":"`+goodPassword+`"`).want(http.StatusOK), "token")
	me := p.do("PATCH", "/v1/me", ada, `{"name":"Ada L.","time_zone":"Europe/London","locale":"en-gb","mail":{"budgets":false}}`).want(http.StatusOK)
	profile := member[map[string]any](me, "profile")
	wants := member[map[string]any](profile, "mail")
	if profile["time_zone"] != "Europe/London" || profile["locale"] != "en-GB" || wants["budgets"] != false || wants["invoices"] != true || member[map[string]any](me, "person")["name"] != "Ada L." {
		t.Errorf("%v", me)
	}
	if mfa := member[map[string]any](me, "mfa"); mfa["required"] != true {
		t.Errorf("an owner: %v", mfa)
	}
	for name, body := range map[string]string{
		"no zone":            `{"time_zone":"Mars/Olympus"}`,
		"the host's":         `{"time_zone":"Local"}`,
		"no language":        `{"locale":"<b>"}`,
		"a name with marks":  `{"name":"A\u202e"}`,
		"no name":            `{"name":""}`,
		"mails that warn":    `{"mail":{"password.reset":false}}`,
		"another's address":  `{"email":"eve@example.com"}`,
		"a role for oneself": `{"role":"owner"}`,
		"somebody else":      `{"id":"user_0"}`,
	} {
		if a := p.do("PATCH", "/v1/me", ada, body); a.Code/100 != 4 {
			t.Errorf("%s: %d: %s", name, a.Code, a.Body)
		}
	}
	p.do("PATCH", "/v1/me", p.one.admin, `{"name":"Key"}`).refused(http.StatusForbidden, "forbidden")
	key := p.do("GET", "/v1/me", p.one.admin, "").want(http.StatusOK)
	if key["person"] != nil || key["profile"] != nil || key["mfa"] != nil || len(member[[]any](key, "organizations")) != 0 {
		t.Errorf("a key is told of a person: %v", key)
	}
	if after := p.do("GET", "/v1/me", ada, "").want(http.StatusOK); fmt.Sprint(after) != fmt.Sprint(me) {
		t.Errorf("%v; want %v", after, me)
	}
}
