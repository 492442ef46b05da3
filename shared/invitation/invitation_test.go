package invitation_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/invitation"
	"github.com/aiaas/aiaas/shared/mail"
	"github.com/aiaas/aiaas/shared/member"
)

func noon() time.Time { return time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC) }

// vault shows what is sealed, and for what.
type vault struct{}

func (vault) Seal(plain, bound string) (string, error) { return bound + "|" + plain, nil }

// shelf is a store that has one invitation at most, and asks the rules.
type shelf struct {
	standing invitation.Standing // what there is besides the invitation
	kept     *invitation.Invitation
	sent     []invitation.Sending
	records  []audit.Record
	inviter  *member.Asked
	person   string // who has the address
	password bool
	joined   []invitation.Joining
	taking   invitation.Taking
}

func (s *shelf) Send(_ context.Context, i invitation.Invitation, _ time.Time, edit func(invitation.Standing) (invitation.Sending, error)) (invitation.Invitation, error) {
	if i.Email == "" {
		if s.kept == nil {
			return i, invitation.ErrNone()
		}
		i = *s.kept
	}
	st := s.standing
	st.Invitation = i
	out, err := edit(st)
	if err != nil {
		return i, err
	}
	s.kept, s.sent, s.records = &out.Invitation, append(s.sent, out), append(s.records, out.Record)
	return out.Invitation, nil
}

func (s *shelf) List(context.Context, string, invitation.Query) ([]invitation.Invitation, error) {
	return []invitation.Invitation{*s.kept}, nil
}

func (s *shelf) Get(context.Context, string, string) (invitation.Invitation, error) {
	return *s.kept, nil
}

func (s *shelf) Withdraw(_ context.Context, _, _ string, edit func(invitation.Standing) (audit.Record, error)) error {
	rec, err := edit(invitation.Standing{Invitation: *s.kept})
	if err != nil {
		return err
	}
	s.kept.Status, s.records = invitation.Withdrawn, append(s.records, rec)
	return nil
}

func (s *shelf) Find(_ context.Context, h invitation.Hash, _ time.Time) (invitation.Offer, error) {
	if len(s.sent) == 0 || s.sent[len(s.sent)-1].Hash != h {
		return invitation.Offer{}, invitation.ErrNone()
	}
	return invitation.Offer{Invitation: *s.kept, OrgName: "Engines", OrgOpen: true, RoleName: s.kept.Role, UserID: s.person, Password: s.password}, nil
}

func (s *shelf) Accept(_ context.Context, _ string, _ invitation.Hash, t invitation.Taking, edit func(invitation.Taken) (invitation.Joining, error)) error {
	who := s.person
	if who == "" {
		who = "user_new"
	}
	j, err := edit(invitation.Taken{Invitation: *s.kept, UserID: who, OwnName: t.Name, Inviter: s.inviter, Members: s.standing.Members, Projects: s.standing.Projects})
	if err != nil {
		return err
	}
	s.taking, s.joined = t, append(s.joined, j)
	return nil
}

// passwords has one that is right.
type passwords struct{ checked []string }

var errWrong = fault.New(fault.Unauthenticated, "wrong")

func (p *passwords) Check(_ context.Context, email, password string, _ invitation.From) error {
	p.checked = append(p.checked, email)
	if password != "the right one" {
		return errWrong
	}
	return nil
}

func (p *passwords) First(_ context.Context, password string, about ...string) (string, error) {
	if len(password) < 12 || len(about) == 0 {
		return "", fault.New(fault.Unprocessable, "weak").At("password")
	}
	return "hash of " + password, nil
}

type bumps struct{ orgs []string }

func (b *bumps) Bump(_ context.Context, org string) error {
	b.orgs = append(b.orgs, org)
	return nil
}

// world is the rules over a shelf.
type world struct {
	*shelf

	now       time.Time
	admin     *invitation.Service
	accept    *invitation.Acceptance
	passwords *passwords
	bumps     *bumps
}

func newWorld() *world {
	w := &world{shelf: &shelf{}, now: noon(), passwords: &passwords{}, bumps: &bumps{}}
	w.standing = invitation.Standing{
		Members:   member.Standing{Roles: map[string]authz.CustomRole{}},
		Projects:  map[string]bool{"proj_1": true, "proj_2": true},
		Directory: mail.Directory{Name: "Engines", People: []mail.Person{{ID: "user_o", Address: "o@example.com", Name: "Olga", Role: authz.Owner}}},
		RoleName:  "developer",
	}
	w.inviter = asked(authz.Owner)
	clock := func() time.Time { return w.now }
	w.admin = &invitation.Service{Store: w.shelf, Vault: vault{}, Now: clock}
	w.accept = &invitation.Acceptance{Store: w.shelf, Passwords: w.passwords, Bump: w.bumps, Now: clock}
	return w
}

func asked(r authz.Role) *member.Asked {
	return &member.Asked{Subject: authz.Subject{OrgID: "org_1", OwnerID: "user_o", Role: r}}
}

func as(r authz.Role) authz.Principal {
	return authz.Principal{OrgID: "org_1", KeyID: "key_1", OwnerID: "user_o", Role: r, Scopes: authz.Scopes(), Method: authz.ByKey}
}

func ada() invitation.New { return invitation.New{Email: "Ada@Example.com", Role: "developer"} }

func (w *world) invite(t *testing.T, n invitation.New) invitation.Invitation {
	t.Helper()
	i, err := w.admin.Invite(t.Context(), as(authz.Owner), n)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// token is the secret of the last link that was sent.
func (w *world) token(t *testing.T) string {
	t.Helper()
	var l mail.Letter
	d := w.sent[len(w.sent)-1].Mail
	if err := json.Unmarshal(d.Data, &l); err != nil {
		t.Fatal(err)
	}
	token, ok := strings.CutPrefix(l.Sealed, mail.Bound(d.ID)+"|")
	if !ok {
		t.Fatalf("the link is sealed as %q", l.Sealed)
	}
	return token
}

func TestAnInvitationGoesOut(t *testing.T) {
	w := newWorld()
	i := w.invite(t, invitation.New{Email: "Ada@Example.com", Name: "Ada", Role: "developer", Projects: map[string]authz.ProjectRole{"proj_1": "viewer"}})
	if !id.Valid(id.Invitation, i.ID) || i.Email != "ada@example.com" || i.Status != invitation.Open || i.Sends != 1 ||
		!i.ExpiresAt.Equal(noon().Add(7*24*time.Hour)) || i.InvitedBy != "key_1" || i.InviterID != "user_o" {
		t.Errorf("%+v", i)
	}
	out := w.sent[0]
	if out.Mail.Recipient != "ada@example.com" || out.Mail.Kind != mail.KindInvited || out.Mail.OrgID != "org_1" {
		t.Errorf("%+v", out.Mail)
	}
	token := w.token(t)
	if !strings.HasPrefix(token, invitation.TokenPrefix) || len(token) != len(invitation.TokenPrefix)+43 {
		t.Errorf("the secret is %q", token)
	}
	if rec := w.records[0]; rec.Action != "invitation.create" || rec.Target != i.ID || rec.Actor != "key_1" || strings.Contains(fmt.Sprint(rec), token) {
		t.Errorf("%+v", rec)
	}
	text := string(out.Mail.Data)
	for _, want := range []string{"Engines", "developer", "Olga"} {
		if !strings.Contains(text, want) {
			t.Errorf("the mail does not name %s: %s", want, text)
		}
	}
}

func TestWhoMayInviteToWhat(t *testing.T) {
	for _, c := range []struct {
		name string
		by   authz.Role
		to   string
		code fault.Code // "": fine
	}{
		{"an owner another owner", authz.Owner, "owner", ""},
		{"an owner an admin", authz.Owner, "admin", ""},
		{"an admin a developer", authz.Admin, "developer", ""},
		{"an admin a peer", authz.Admin, "admin", fault.Forbidden},
		{"an admin a superior", authz.Admin, "owner", fault.Forbidden},
		{"a developer anybody", authz.Developer, "analyst", fault.Forbidden},
		{"a manager anybody", authz.Manager, "developer", fault.Forbidden},
		{"a role of the platform", authz.Owner, "security", fault.Unprocessable},
		{"a role that there is not", authz.Owner, "king", fault.Unprocessable},
		{"a role of another organisation", authz.Owner, id.New(id.Role), fault.NotFound},
		{"the word for roles of its own", authz.Owner, "custom", fault.Unprocessable},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			_, err := w.admin.Invite(t.Context(), as(c.by), invitation.New{Email: "a@example.com", Role: c.to})
			if c.code == "" && err != nil || c.code != "" && !fault.Is(err, c.code) {
				t.Errorf("%v; want %q", err, c.code)
			}
			if (err == nil) != (len(w.sent) == 1) {
				t.Errorf("%d were sent", len(w.sent))
			}
		})
	}
}

func TestWhatStandsInTheWay(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(*world, *invitation.New)
		code fault.Code
	}{
		"a member already":       {func(w *world, _ *invitation.New) { w.standing.Known = true }, fault.Conflict},
		"invited already":        {func(w *world, _ *invitation.New) { w.standing.Another = true }, fault.Conflict},
		"no room in the plan":    {func(w *world, _ *invitation.New) { w.standing.Full = true }, fault.Conflict},
		"too many within a hour": {func(w *world, _ *invitation.New) { w.standing.Hourly = 100 }, fault.RateLimited},
		"no address":             {func(_ *world, n *invitation.New) { n.Email = "ada" }, fault.Unprocessable},
		"a header":               {func(_ *world, n *invitation.New) { n.Email = "a@example.com\r\nBcc: b@example.com" }, fault.Unprocessable},
		"two addresses":          {func(_ *world, n *invitation.New) { n.Email = "a@example.com,b@example.com" }, fault.Unprocessable},
		"letters that look alike": {
			func(_ *world, n *invitation.New) { n.Email = "аda@example.com" }, fault.Unprocessable,
		},
		"a name with marks":             {func(_ *world, n *invitation.New) { n.Name = "a\u202eb" }, fault.Unprocessable},
		"a project that there is not":   {func(_ *world, n *invitation.New) { n.Projects = map[string]authz.ProjectRole{"proj_9": "viewer"} }, fault.NotFound},
		"a role that no project has":    {func(_ *world, n *invitation.New) { n.Projects = map[string]authz.ProjectRole{"proj_1": "owner"} }, fault.Unprocessable},
		"more projects than there is a": {func(_ *world, n *invitation.New) { n.Projects = many(51) }, fault.Unprocessable},
	} {
		t.Run(name, func(t *testing.T) {
			w, n := newWorld(), ada()
			c.set(w, &n)
			if _, err := w.admin.Invite(t.Context(), as(authz.Owner), n); !fault.Is(err, c.code) || len(w.sent) != 0 {
				t.Errorf("%v, %d sent; want %q", err, len(w.sent), c.code)
			}
		})
	}
}

func many(n int) map[string]authz.ProjectRole {
	out := map[string]authz.ProjectRole{}
	for i := range n {
		out[fmt.Sprint("proj_", i)] = "viewer"
	}
	return out
}

func TestSendingAgain(t *testing.T) {
	w := newWorld()
	i := w.invite(t, ada())
	first := w.token(t)
	if _, err := w.admin.Resend(t.Context(), as(authz.Owner), i.ID); !fault.Is(err, fault.RateLimited) {
		t.Errorf("at once: %v", err)
	}
	w.now = w.now.Add(time.Minute)
	again, err := w.admin.Resend(t.Context(), as(authz.Owner), i.ID)
	if err != nil || again.Sends != 2 || !again.ExpiresAt.Equal(w.now.Add(7*24*time.Hour)) || w.records[1].Action != "invitation.resend" {
		t.Fatalf("%+v, %v", again, err)
	}
	if second := w.token(t); second == first {
		t.Error("the link is the same")
	}
	if _, err := w.accept.Inspect(t.Context(), first); !fault.Is(err, fault.NotFound) {
		t.Errorf("the old link: %v", err)
	}
	w.now = w.now.Add(8 * 24 * time.Hour)
	if got, err := w.admin.Get(t.Context(), as(authz.Owner), i.ID); err != nil || got.Status != invitation.Expired {
		t.Errorf("%+v, %v", got, err)
	}
	for sends := 3; sends <= 10; sends++ {
		if again, err = w.admin.Resend(t.Context(), as(authz.Owner), i.ID); err != nil || again.Status != invitation.Open || again.Sends != sends {
			t.Fatalf("%+v, %v", again, err)
		}
		w.now = w.now.Add(time.Hour)
	}
	if _, err := w.admin.Resend(t.Context(), as(authz.Owner), i.ID); !fault.Is(err, fault.Conflict) {
		t.Errorf("for the eleventh time: %v", err)
	}
}

func TestWhatHasEndedIsNotSentAgain(t *testing.T) {
	for _, s := range []invitation.Status{invitation.Accepted, invitation.Withdrawn} {
		w := newWorld()
		i := w.invite(t, ada())
		w.kept.Status, w.now = s, w.now.Add(time.Hour)
		if _, err := w.admin.Resend(t.Context(), as(authz.Owner), i.ID); !fault.Is(err, fault.Conflict) {
			t.Errorf("%s: %v", s, err)
		}
		if err := w.admin.Withdraw(t.Context(), as(authz.Owner), i.ID); !fault.Is(err, fault.Conflict) {
			t.Errorf("%s: withdrawn: %v", s, err)
		}
	}
}

func TestASuperiorsInvitationIsNotTouched(t *testing.T) {
	w := newWorld()
	i := w.invite(t, invitation.New{Email: "b@example.com", Role: "owner"})
	w.now = w.now.Add(time.Hour)
	if _, err := w.admin.Resend(t.Context(), as(authz.Admin), i.ID); !fault.Is(err, fault.Forbidden) {
		t.Errorf("sent again: %v", err)
	}
	if err := w.admin.Withdraw(t.Context(), as(authz.Admin), i.ID); !fault.Is(err, fault.Forbidden) {
		t.Errorf("withdrawn: %v", err)
	}
	if err := w.admin.Withdraw(t.Context(), as(authz.Owner), i.ID); err != nil || w.records[1].Action != "invitation.withdraw" {
		t.Errorf("%v, %+v", err, w.records)
	}
}

func TestWithoutTheRightNothingIsSeen(t *testing.T) {
	w := newWorld()
	i := w.invite(t, ada())
	_, get := w.admin.Get(t.Context(), as(authz.Developer), i.ID)
	_, list := w.admin.List(t.Context(), as(authz.Developer), "", "", 10)
	_, resend := w.admin.Resend(t.Context(), as(authz.Developer), i.ID)
	for name, err := range map[string]error{"get": get, "list": list, "resend": resend, "withdraw": w.admin.Withdraw(t.Context(), as(authz.Developer), i.ID)} {
		if !fault.Is(err, fault.Forbidden) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatALinkShows(t *testing.T) {
	w := newWorld()
	w.invite(t, ada())
	token := w.token(t)
	o, err := w.accept.Inspect(t.Context(), token)
	if err != nil || o.OrgName != "Engines" || invitation.Masked(o.Email) != "a…@example.com" {
		t.Fatalf("%+v, %v", o, err)
	}
	var texts []string
	for name, try := range map[string]func() string{
		"no token":     func() string { return "" },
		"another kind": func() string { return strings.Replace(token, "invitation", "session", 1) },
		"half":         func() string { return token[:len(token)-1] },
		"of nobody":    func() string { return invitation.TokenPrefix + strings.Repeat("A", 43) },
		"withdrawn":    func() string { w.kept.Status = invitation.Withdrawn; return token },
		"accepted":     func() string { w.kept.Status = invitation.Accepted; return token },
		"past its time": func() string {
			w.kept.Status, w.now = invitation.Open, w.kept.ExpiresAt
			return token
		},
	} {
		w.now, w.kept.Status = noon(), invitation.Open
		bad := try()
		for what, err := range map[string]error{
			"inspect": second(w.accept.Inspect(t.Context(), bad)),
			"accept":  second(w.accept.Accept(t.Context(), invitation.Accept{Token: bad, Name: "Ada", Password: "long enough, surely"})),
		} {
			if !fault.Is(err, fault.NotFound) {
				t.Errorf("%s, %s: %v", name, what, err)
				continue
			}
			texts = append(texts, err.Error())
		}
	}
	for _, text := range texts {
		if text != texts[0] {
			t.Errorf("one link answers %q, another %q", texts[0], text)
		}
	}
	if len(w.joined) != 0 {
		t.Error("one of them opened something")
	}
}

func second[T any](_ T, err error) error { return err }

func TestWhoAccepts(t *testing.T) {
	person := func(userID, means string, m authz.Method) authz.Principal {
		return authz.Principal{OrgID: "org_9", KeyID: "ses_1", OwnerID: userID, Role: authz.Developer, Scopes: authz.Scopes(), Method: m, Means: means}
	}
	for _, c := range []struct {
		name     string
		known    bool
		password bool // the person has one
		in       invitation.Accept
		code     fault.Code
		param    string
		set      string // the password that is kept
	}{
		{name: "a new person", in: invitation.Accept{Name: "Ada", Password: "long enough, surely"}, set: "hash of long enough, surely"},
		{name: "a new person without a name", in: invitation.Accept{Password: "long enough, surely"}, code: fault.Unprocessable, param: "name"},
		{name: "a new person without a password", in: invitation.Accept{Name: "Ada"}, code: fault.Unprocessable, param: "password"},
		{name: "a new person with a weak one", in: invitation.Accept{Name: "Ada", Password: "weak"}, code: fault.Unprocessable, param: "password"},
		{name: "a name with marks", in: invitation.Accept{Name: "A\u202e", Password: "long enough, surely"}, code: fault.Unprocessable, param: "name"},
		{name: "known without a password", known: true, in: invitation.Accept{Name: "Ada", Password: "long enough, surely"}, set: "hash of long enough, surely"},
		{name: "known, the right password", known: true, password: true, in: invitation.Accept{Password: "the right one"}},
		{name: "known, a wrong password", known: true, password: true, in: invitation.Accept{Name: "Eve", Password: "long enough, surely"}, code: fault.Unauthenticated},
		{name: "known, no password", known: true, password: true, in: invitation.Accept{Name: "Eve"}, code: fault.Unprocessable, param: "password"},
		{name: "signed in", known: true, password: true, in: invitation.Accept{By: person("user_a", "password", authz.BySession)}},
		{name: "signed in as another", known: true, password: true, in: invitation.Accept{By: person("user_eve", "password", authz.BySession)}, code: fault.Forbidden},
		{name: "signed in, and the address is new", in: invitation.Accept{By: person("user_eve", "password", authz.BySession)}, code: fault.Forbidden},
		{name: "by single sign-on of elsewhere", known: true, password: true, in: invitation.Accept{By: person("user_a", "sso", authz.BySession)}, code: fault.Forbidden},
		{name: "by a program's token", known: true, password: true, in: invitation.Accept{By: person("user_a", "password", authz.ByToken)}, code: fault.Forbidden},
		{name: "by a key", known: true, password: true, in: invitation.Accept{By: person("user_a", "", authz.ByKey)}, code: fault.Forbidden},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			w.invite(t, ada())
			if c.known {
				w.person = "user_a"
			}
			w.password = c.password
			c.in.Token = w.token(t)
			m, err := w.accept.Accept(t.Context(), c.in)
			if c.code != "" {
				if !fault.Is(err, c.code) || fault.From(err).Param != c.param {
					t.Errorf("%v; want %q at %q", err, c.code, c.param)
				}
				if len(w.joined) != 0 || len(w.bumps.orgs) != 0 {
					t.Error("it was accepted all the same")
				}
				return
			}
			if err != nil || m.OrgID != "org_1" || m.Email != "ada@example.com" || m.Signed != c.in.By.Somebody() {
				t.Fatalf("%+v, %v", m, err)
			}
			if w.taking.Password != c.set {
				t.Errorf("kept as password: %q; want %q", w.taking.Password, c.set)
			}
			if len(w.bumps.orgs) != 1 || w.bumps.orgs[0] != "org_1" {
				t.Errorf("moved on: %v", w.bumps.orgs)
			}
		})
	}
}

func TestWhatAcceptanceGives(t *testing.T) {
	w := newWorld()
	i := w.invite(t, invitation.New{Email: "ada@example.com", Role: "developer", Projects: map[string]authz.ProjectRole{"proj_1": "viewer", "proj_2": "manager"}})
	delete(w.standing.Projects, "proj_2") // archived since
	if _, err := w.accept.Accept(t.Context(), invitation.Accept{Token: w.token(t), Name: "Ada L.", Password: "long enough, surely", From: invitation.From{Address: "192.0.2.7"}}); err != nil {
		t.Fatal(err)
	}
	j := w.joined[0]
	if m := j.Member; m.ID != "user_new" || m.Role != "developer" || m.Name != "Ada L." || m.Status != member.Active || m.AddedBy != "key_1" || m.OrgID != "org_1" {
		t.Errorf("%+v", m)
	}
	if len(j.Projects) != 1 || j.Projects["proj_1"] != "viewer" {
		t.Errorf("%v", j.Projects)
	}
	var actions []string
	for _, rec := range j.Records {
		actions = append(actions, rec.Action)
		if rec.Actor != "user_new" || rec.OrgID != "org_1" || rec.Address != "192.0.2.7" || !rec.At.Equal(noon()) {
			t.Errorf("%+v", rec)
		}
	}
	if strings.Join(actions, " ") != "invitation.accept member.add project_member.set" || j.Records[1].Detail["invitation_id"] != i.ID {
		t.Errorf("%v, %v", actions, j.Records)
	}
}

func TestAnInvitationIsWorthWhatItsInviterIs(t *testing.T) {
	inactive := asked(authz.Owner)
	inactive.Inactive = "the member is suspended"
	for name, c := range map[string]struct {
		inviter *member.Asked
		fine    bool
	}{
		"as he was":              {asked(authz.Owner), true},
		"still high enough":      {asked(authz.Admin), true},
		"suspended":              {inactive, false},
		"gone":                   {nil, false},
		"no higher than a peer":  {asked(authz.Developer), false},
		"with another high role": {asked(authz.Finance), false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.invite(t, ada())
			w.inviter = c.inviter
			_, err := w.accept.Accept(t.Context(), invitation.Accept{Token: w.token(t), Name: "Ada", Password: "long enough, surely"})
			if (err == nil) != c.fine || err != nil && !fault.Is(err, fault.NotFound) {
				t.Errorf("%v", err)
			}
		})
	}
}

// expiries is a store that has so many to end and to forget.
type expiries struct {
	open, old int
	records   []audit.Record
	err       error
}

func (e *expiries) Expire(_ context.Context, _ time.Time, limit int, tell func(invitation.Invitation) audit.Record) (int, error) {
	n := min(e.open, limit)
	e.open -= n
	for range n {
		e.records = append(e.records, tell(invitation.Invitation{OrgID: "org_1", ID: "invite_1", Role: "developer"}))
	}
	return n, e.err
}

func (e *expiries) Prune(_ context.Context, before time.Time, limit int) (int, error) {
	if !before.Equal(noon().Add(-90 * 24 * time.Hour)) {
		return 0, errors.New("forgets from another time on")
	}
	n := min(e.old, limit)
	e.old -= n
	return n, nil
}

func TestWhatIsPastItsTimeEnds(t *testing.T) {
	e := &expiries{open: 1100, old: 700}
	job := &invitation.Expiry{Store: e, Now: noon}
	counts, err := job.Run(t.Context())
	if err != nil || counts["expired"] != 1100 || counts["forgotten"] != 700 {
		t.Errorf("%v, %v", counts, err)
	}
	if r := e.records[0]; r.Action != "invitation.expire" || r.OrgID != "org_1" || r.Target != "invite_1" || r.Actor == "" {
		t.Errorf("%+v", r)
	}
	if counts, err := job.Run(t.Context()); err != nil || counts != nil {
		t.Errorf("nothing to do: %v, %v", counts, err)
	}
	e.err = errors.New("the database is away")
	e.old = 1
	if counts, err := job.Run(t.Context()); err == nil || counts["forgotten"] != 1 {
		t.Errorf("one that fails keeps the other from being done: %v, %v", counts, err)
	}
}
