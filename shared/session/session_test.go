package session_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/session"
	"github.com/aiaas/aiaas/shared/tenant"
)

func noon() time.Time { return time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC) }

func live() session.Record {
	return session.Record{
		Session: session.Session{
			ID: "ses_1", OrgID: "org_1", HolderID: "user_1", Kind: session.Browser, Means: session.Password,
			ProvedAt: noon(), CreatedAt: noon(), SeenAt: noon(), ExpiresAt: noon().Add(12 * time.Hour),
		},
		HolderActive: true, Role: authz.Developer, OrgStatus: tenant.Active,
	}
}

func TestWhenASessionIsUsable(t *testing.T) {
	t.Parallel()
	strict := tenant.Settings{SessionHours: 1, SessionIdleMinutes: 5}
	for name, tt := range map[string]struct {
		change func(*session.Record)
		after  time.Duration
		want   bool
	}{
		"at once":                                     {after: 0, want: true},
		"in use, to its last moment":                  {func(r *session.Record) { r.SeenAt = noon().Add(11 * time.Hour) }, 12*time.Hour - 1, true},
		"past its end":                                {func(r *session.Record) { r.SeenAt = noon().Add(11 * time.Hour) }, 12 * time.Hour, false},
		"unused for an hour":                          {nil, time.Hour, false},
		"unused for less":                             {nil, time.Hour - 1, true},
		"ended":                                       {func(r *session.Record) { r.Ended = true }, 0, false},
		"its holder suspended or gone":                {func(r *session.Record) { r.HolderActive = false }, 0, false},
		"its organisation suspended":                  {func(r *session.Record) { r.OrgStatus = tenant.Suspended }, 0, false},
		"the trial over":                              {func(r *session.Record) { r.OrgStatus, r.TrialEnds = tenant.Trial, noon() }, 0, false},
		"a setting made stricter binds it":            {func(r *session.Record) { r.Settings, r.SeenAt = strict, noon().Add(59*time.Minute) }, time.Hour, false},
		"idle by a stricter setting":                  {func(r *session.Record) { r.Settings = strict }, 5 * time.Minute, false},
		"a grant of OAuth does not idle":              {func(r *session.Record) { r.Kind = session.OAuth }, 11 * time.Hour, true},
		"nor lasts longer than its organisation says": {func(r *session.Record) { r.Kind, r.Settings = session.OAuth, strict }, time.Hour, false},
		"a program's has its own end":                 {func(r *session.Record) { r.Kind, r.Settings = session.Client, strict }, 2 * time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := live()
			if tt.change != nil {
				tt.change(&r)
			}
			if got := r.Usable(noon().Add(tt.after)); got != tt.want {
				t.Errorf("usable: %v, want %v", got, tt.want)
			}
		})
	}
}

func TestThePrincipalOfASession(t *testing.T) {
	t.Parallel()
	now := noon
	r := live()
	p := r.Principal(now)
	if p.Method != authz.BySession || p.Actor() != "user_1" || p.KeyID != "ses_1" || !slices.Equal(p.Scopes, authz.Scopes()) || slices.Contains(p.Scopes, authz.Platform) {
		t.Errorf("a browser's is %+v, actor %s", p, p.Actor())
	}
	if id, err := p.Person(); id != "user_1" || err != nil {
		t.Errorf("its person: %q, %v", id, err)
	}
	if err := p.RequireRecent(noon().Add(authz.RecentFor)); err != nil {
		t.Errorf("a proof is good for its time: %v", err)
	}
	if err := p.RequireRecent(noon().Add(authz.RecentFor + 1)); !fault.Is(err, fault.Forbidden) {
		t.Errorf("and no longer: %v", err)
	}
	r.Role = authz.Security
	if p := r.Principal(now); !slices.Contains(p.Scopes, authz.Platform) {
		t.Error("a role of the platform has its scope")
	}
	r.Kind, r.Scopes = session.OAuth, []authz.Scope{}
	if p := r.Principal(now); p.Method != authz.ByToken || len(p.Scopes) != 0 {
		t.Errorf("a grant of no scope is %+v", p)
	}
	r.Kind, r.HolderID = session.Client, "sa_1"
	if p := r.Principal(now); p.Method != authz.ByClient {
		t.Errorf("a program's is %s", p.Method)
	} else if _, err := p.Person(); !fault.Is(err, fault.Forbidden) {
		t.Errorf("a program is no person: %v", err)
	}
}

// store keeps one session in memory.
type store struct {
	session.Store

	mu       sync.Mutex
	standing session.Standing
	saved    []session.Saved
	ended    []session.Session
}

func (s *store) Standing(context.Context, string, string) (session.Standing, error) {
	return s.standing, nil
}

func (s *store) Save(_ context.Context, kept session.Saved) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saved = append(s.saved, kept)
	return nil
}

func (s *store) List(context.Context, session.Filter, time.Time) ([]session.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.saved) == 0 {
		return nil, nil
	}
	return []session.Session{s.saved[len(s.saved)-1].Session}, nil
}

func (s *store) End(_ context.Context, _ session.Filter, _ time.Time, _ string, record func(session.Session) audit.Record) ([]session.Session, error) {
	for _, v := range s.ended {
		record(v)
	}
	return s.ended, nil
}

type bumps struct{ orgs []string }

func (b *bumps) Bump(_ context.Context, org string) error {
	b.orgs = append(b.orgs, org)
	return nil
}

func newManager(url string) (*session.Manager, *store, *bumps) {
	st, b := &store{standing: session.Standing{Active: true, Serves: true}}, &bumps{}
	return session.NewManager(st, b, url, noon), st, b
}

func begin(t *testing.T, m *session.Manager, s session.Start) session.Opened {
	t.Helper()
	s.OrgID, s.HolderID, s.Means = "org_1", "user_1", session.Password
	o, err := m.Begin(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestATokenIsMadeAnewAtEachProof(t *testing.T) {
	t.Parallel()
	m, st, b := newManager("https://ai.example.com")
	first := begin(t, m, session.Start{Kind: session.Browser})
	again, err := m.Prove(t.Context(), "org_1", first.ID, session.Passkey, true)
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Token) != len(session.TokenPrefix)+43 || first.Token == again.Token || first.ID != again.ID {
		t.Errorf("tokens %q and %q of the sessions %s and %s", first.Token, again.Token, first.ID, again.ID)
	}
	if !again.MFA || again.Means != session.Passkey {
		t.Errorf("what was proved: %+v", again.Session)
	}
	if st.saved[0].Hash == "" || st.saved[0].Hash == st.saved[1].Hash || strings.Contains(first.Token, st.saved[0].Hash) {
		t.Errorf("hashes %q and %q", st.saved[0].Hash, st.saved[1].Hash)
	}
	if !slices.Equal(b.orgs, []string{"org_1"}) {
		t.Errorf("the old token dies everywhere: bumped %v", b.orgs)
	}
	if weaker, err := m.Prove(t.Context(), "org_1", first.ID, session.Password, false); err != nil || !weaker.MFA {
		t.Errorf("a second factor is not taken back: %+v, %v", weaker.Session, err)
	}
}

func TestSingleSignOnStaysWhatItIs(t *testing.T) {
	t.Parallel()
	m, st, _ := newManager("https://ai.example.com")
	first := begin(t, m, session.Start{Kind: session.Browser})
	st.saved[0].Session.Means = session.SSO
	again, err := m.Prove(t.Context(), "org_1", first.ID, session.Password, true)
	if err != nil || again.Means != session.SSO {
		t.Errorf("where it may be used widened: %+v, %v", again.Session, err)
	}
}

func TestHowLongASessionLasts(t *testing.T) {
	t.Parallel()
	m, st, _ := newManager("")
	st.standing.Settings.SessionHours = 2
	for name, tt := range map[string]struct{ asked, want time.Time }{
		"as the organisation says": {time.Time{}, noon().Add(2 * time.Hour)},
		"less where less is asked": {noon().Add(time.Hour), noon().Add(time.Hour)},
		"never more":               {noon().Add(9 * time.Hour), noon().Add(2 * time.Hour)},
	} {
		if o := begin(t, m, session.Start{Kind: session.Bearer, Expires: tt.asked}); !o.ExpiresAt.Equal(tt.want) {
			t.Errorf("%s: %s, want %s", name, o.ExpiresAt, tt.want)
		}
	}
}

func TestAccessTokensHaveNoTokenOfTheirOwn(t *testing.T) {
	t.Parallel()
	m, st, _ := newManager("")
	if o := begin(t, m, session.Start{Kind: session.OAuth}); o.Token != "" || st.saved[0].Hash != "" {
		t.Errorf("a grant has the token %q, hash %q", o.Token, st.saved[0].Hash)
	}
}

func TestNobodyBeginsWithoutAMembership(t *testing.T) {
	t.Parallel()
	for name, standing := range map[string]session.Standing{"suspended": {Serves: true}, "in a suspended organisation": {Active: true}} {
		m, st, _ := newManager("")
		st.standing = standing
		_, err := m.Begin(t.Context(), session.Start{OrgID: "org_1", HolderID: "user_1", Kind: session.Browser})
		if !fault.Is(err, fault.NotFound) || len(st.saved) != 0 {
			t.Errorf("%s: %v, %d saved", name, err, len(st.saved))
		}
	}
}

func TestCookies(t *testing.T) {
	t.Parallel()
	for url, secure := range map[string]bool{"https://ai.example.com": true, "http://127.0.0.1:8080": false, "": false} {
		m, _, _ := newManager(url)
		o := begin(t, m, session.Start{Kind: session.Browser})
		c := m.Cookie(o)
		if c.Value != o.Token || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge != 12*3600 {
			t.Errorf("%s: %+v", url, c)
		}
		if c.Secure != secure || strings.HasPrefix(c.Name, "__Host-") != secure {
			t.Errorf("%s: %s, secure %v", url, c.Name, c.Secure)
		}
		if gone := m.NoCookie(); gone.Name != c.Name || gone.MaxAge >= 0 || gone.Value != "" {
			t.Errorf("%s: taken back by %+v", url, gone)
		}
	}
}

func TestEndingAllIsToldToEachOrganisationOnce(t *testing.T) {
	t.Parallel()
	m, st, b := newManager("")
	st.ended = []session.Session{{OrgID: "org_1"}, {OrgID: "org_2"}, {OrgID: "org_1"}}
	n, err := m.EndAll(t.Context(), "user_1", "", "the password was changed")
	if n != 3 || err != nil || !slices.Equal(b.orgs, []string{"org_1", "org_2"}) {
		t.Errorf("%d, %v, bumped %v", n, err, b.orgs)
	}
}

// finder is a session's record that changes while it is being read.
type finder struct {
	mu     sync.Mutex
	record session.Record
	latest uint64
	gone   bool
	noted  int
	hold   chan chan struct{}
}

func (f *finder) FindSession(context.Context, session.Name) (*session.Record, error) {
	f.mu.Lock()
	r, gone, hold := f.record, f.gone, f.hold
	f.mu.Unlock()
	if hold != nil {
		goOn := make(chan struct{})
		hold <- goOn
		<-goOn
	}
	if gone {
		return nil, fault.New(fault.NotFound, "none")
	}
	return &r, nil
}

func (f *finder) NoteSession(context.Context, string, string, time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.noted++
	return nil
}

func (f *finder) Latest() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.latest
}
func (f *finder) Version(string) uint64 { return f.Latest() }

func (f *finder) change(edit func(*finder)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	edit(f)
	f.latest++
}

func token() string { return session.TokenPrefix + strings.Repeat("a", 43) }

func TestAnEndedSessionIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	f := &finder{record: live()}
	r := session.NewResolver(f, f, noon)
	if _, err := r.ByToken(t.Context(), token()); err != nil {
		t.Fatal(err)
	}
	f.change(func(f *finder) { f.record.Ended = true })
	if _, err := r.ByToken(t.Context(), token()); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("after its end: %v", err)
	}
}

func TestAReadThatRacesTheEndResurrectsNothing(t *testing.T) {
	t.Parallel()
	f := &finder{record: live(), hold: make(chan chan struct{})}
	r := session.NewResolver(f, f, noon)
	var early sync.WaitGroup
	early.Go(func() { _, _ = r.ByToken(context.WithoutCancel(t.Context()), token()) })
	reading := <-f.hold
	f.change(func(f *finder) { f.record.Ended, f.hold = true, nil })
	close(reading)
	early.Wait()
	if _, err := r.ByToken(t.Context(), token()); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("after its end: %v", err)
	}
}

func TestWhatIsNoSession(t *testing.T) {
	t.Parallel()
	f := &finder{gone: true}
	r := session.NewResolver(f, f, noon)
	for _, text := range []string{"", "aiaas_session_", token() + "a", "aiaas_live_" + strings.Repeat("a", 49), strings.Repeat("a", 43), token()} {
		if _, err := r.ByToken(t.Context(), text); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// The id of a session is shown in lists: it opens nothing that has a token.
func TestAnIdIsNoSecret(t *testing.T) {
	t.Parallel()
	f := &finder{record: live()}
	r := session.NewResolver(f, f, noon)
	if _, err := r.ByID(t.Context(), "ses_1"); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a browser's session by its id: %v", err)
	}
	f.change(func(f *finder) { f.record.Kind = session.OAuth })
	if _, err := r.ByID(t.Context(), "ses_1"); err != nil {
		t.Errorf("a grant by its id: %v", err)
	}
	if _, err := r.ByToken(t.Context(), token()); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a grant by a token: %v", err)
	}
}

func TestUsesAreNotedOnceAMinute(t *testing.T) {
	t.Parallel()
	f := &finder{record: live()}
	now := noon()
	r := session.NewResolver(f, f, func() time.Time { return now })
	for range 3 {
		_, _ = r.ByToken(t.Context(), token())
	}
	if f.noted != 0 {
		t.Errorf("noted %d times within a minute", f.noted)
	}
	now = noon().Add(2 * time.Minute)
	if _, err := r.ByToken(t.Context(), token()); err != nil || f.noted != 1 {
		t.Errorf("noted %d times, %v", f.noted, err)
	}
}

// asked keeps what is asked of it.
type asked struct {
	session.Store
	filters []session.Filter
}

func (a *asked) List(_ context.Context, f session.Filter, _ time.Time) ([]session.Session, error) {
	a.filters = append(a.filters, f)
	return nil, nil
}

func (a *asked) End(_ context.Context, f session.Filter, _ time.Time, _ string, _ func(session.Session) audit.Record) ([]session.Session, error) {
	a.filters = append(a.filters, f)
	return []session.Session{{OrgID: "org_1"}}, nil
}

// A program that acts for somebody, and an organisation's sign-on, learn nothing of
// where else he is.
func TestWhichSessionsAreOnesOwn(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		method authz.Method
		means  session.Means
		list   session.Filter
		other  fault.Code // of the end of another session
	}{
		"a person":       {authz.BySession, session.Password, session.Filter{HolderID: "user_1"}, ""},
		"single sign-on": {authz.BySession, session.SSO, session.Filter{HolderID: "user_1", OrgID: "org_1"}, ""},
		"a program":      {authz.ByToken, session.Password, session.Filter{HolderID: "user_1", OrgID: "org_1", ID: "ses_1"}, fault.NotFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := &asked{}
			svc := &session.Service{Manager: session.NewManager(st, &bumps{}, "", noon)}
			p := authz.Principal{OrgID: "org_1", OwnerID: "user_1", KeyID: "ses_1", Role: authz.Developer, Method: tt.method, Means: string(tt.means)}
			if _, err := svc.List(t.Context(), p); err != nil || st.filters[0] != tt.list {
				t.Errorf("%v, %v", st.filters, err)
			}
			err := svc.End(t.Context(), p, "ses_0199c0b2f3a47c1e8d6a5b4c3d2e1f00")
			if tt.other == "" && err != nil || tt.other != "" && !fault.Is(err, tt.other) {
				t.Errorf("the end of another: %v", err)
			}
		})
	}
}

// old has so many sessions that are long over.
type old struct {
	session.Store
	left int
}

func (o *old) Prune(_ context.Context, _ time.Time, limit int) (int, error) {
	n := min(limit, o.left)
	o.left -= n
	return n, nil
}

func TestHoweverManySessionsAreOverAllAreForgotten(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 1000, 2500} {
		st := &old{left: n}
		counts, err := session.NewManager(st, &bumps{}, "", noon).Prune(t.Context())
		if err != nil || st.left != 0 || counts["sessions"] != int64(n) {
			t.Errorf("of %d %d are left, %v, %v", n, st.left, counts, err)
		}
	}
}
