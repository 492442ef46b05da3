package signin_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/factor"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/mail"
	"github.com/aiaas/aiaas/shared/password"
	"github.com/aiaas/aiaas/shared/session"
	"github.com/aiaas/aiaas/shared/signin"
	"github.com/aiaas/aiaas/shared/throttle"
)

func noon() time.Time { return time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC) }

// house is everything around the service: one person, with what he has.
type house struct {
	account  signin.Account
	methods  []factor.Method
	closed   []string // organisations that demand their own single sign-on
	begun    []session.Start
	asked    int
	noted    []audit.Denial
	stranger bool
}

var errUnused = errors.New("nobody should ask for this")

func (h *house) ByEmail(context.Context, string, time.Time) (signin.Account, error) {
	return h.account, nil
}
func (h *house) ByID(context.Context, string, time.Time) (signin.Account, error) {
	return h.account, nil
}
func (h *house) Renew(context.Context, string, string, string) error       { return errUnused }
func (h *house) Entered(context.Context, string, string, *mail.Note) error { return nil }
func (h *house) Ask(context.Context, signin.Open) error                    { h.asked++; return nil }
func (h *house) Meet(context.Context, string, signin.Hash, time.Time) (bool, error) {
	return false, errUnused
}

func (h *house) Asked(context.Context, signin.Hash, signin.Purpose, int, time.Time) (string, error) {
	return "", errUnused
}

func (h *house) Try(context.Context, signin.Hash, signin.Purpose, int, time.Time) (string, json.RawMessage, error) {
	return "", nil, errUnused
}

func (h *house) Take(context.Context, throttle.Kind, throttle.Keys) error { return nil }
func (h *house) Admit(context.Context, throttle.Kind, throttle.Keys) (bool, error) {
	return false, nil
}

func (h *house) Succeeded(context.Context, throttle.Kind, throttle.Keys) error { return nil }
func (h *house) Remember(context.Context, string, ...string) (throttle.Device, error) {
	return throttle.Device{Token: "d"}, nil
}

func (h *house) Methods(context.Context, string) ([]factor.Method, error) { return h.methods, nil }
func (h *house) Prove(context.Context, string, factor.Proof, factor.From) error {
	return errUnused
}
func (h *house) Options(context.Context, string) (string, json.RawMessage, error) {
	return "", nil, errUnused
}
func (h *house) ProvePasskey(context.Context, factor.PasskeyProof, factor.From) (string, error) {
	return h.account.UserID, nil
}

func (h *house) Required(_ context.Context, orgID, _ string) (bool, error) {
	return slices.Contains(h.closed, orgID), nil
}
func (h *house) LetsIn(_ context.Context, _, connection, _ string) (bool, error) {
	return connection != "gone", nil
}
func (h *house) Note(n audit.Denial) { h.noted = append(h.noted, n) }

// sessions are the house's.
type sessions struct{ *house }

func (s sessions) Begin(_ context.Context, st session.Start) (session.Opened, error) {
	s.begun = append(s.begun, st)
	if s.stranger {
		return session.Opened{}, fault.New(fault.NotFound, "there is no such membership")
	}
	return session.Opened{Session: session.Session{OrgID: st.OrgID, MFA: st.MFA, Means: st.Means}}, nil
}

func (s sessions) Prove(context.Context, string, string, session.Means, bool) (session.Opened, error) {
	return session.Opened{}, errUnused
}
func (s sessions) End(context.Context, string, string, string) error           { return errUnused }
func (s sessions) EndAll(context.Context, string, string, string) (int, error) { return 0, errUnused }

func (h *house) service() *signin.Service {
	return &signin.Service{
		Store: h, Challenges: h, Throttle: h, Factors: h, Sessions: sessions{h}, Gate: h, Denials: h, Now: noon,
	}
}

func ada(last string) signin.Account {
	return signin.Account{UserID: "user_1", Email: "ada@example.com", LastOrg: last, Places: []signin.Place{
		{OrgID: "org_1", OrgName: "Acme", Role: authz.Developer}, {OrgID: "org_2", OrgName: "Widgets", Role: authz.Analyst},
	}}
}

func TestWhereAnEntryLeadsTo(t *testing.T) {
	for _, c := range []struct {
		name         string
		last, wanted string
		means        session.Means
		closed       []string
		to, refused  string
	}{
		{"the oldest", "", "", session.Password, nil, "org_1", ""},
		{"the last", "org_2", "", session.Password, nil, "org_2", ""},
		{"the last is no more", "org_9", "", session.Password, nil, "org_1", ""},
		{"the one that is asked for", "org_2", "org_1", session.Password, nil, "org_1", ""},
		{"one that he is not of", "", "org_9", session.Password, nil, "", "invalid_api_key"},
		{"the last demands its own", "org_2", "", session.Password, []string{"org_2"}, "org_1", ""},
		{"the one that is asked for does", "", "org_2", session.Password, []string{"org_2"}, "", "forbidden"},
		{"all do", "org_2", "", session.Passkey, []string{"org_1", "org_2"}, "", "forbidden"},
		{"he comes by it", "", "org_2", session.SSO, []string{"org_2"}, "org_2", ""},
	} {
		h := &house{account: ada(c.last), closed: c.closed}
		out, err := h.service().Proceed(t.Context(), signin.Entry{Account: h.account, OrgID: c.wanted, Means: c.means})
		switch {
		case c.refused != "":
			if !fault.Is(err, fault.Code(c.refused)) || len(h.begun) > 0 || len(h.noted) != 1 {
				t.Errorf("%s: %v, %d sessions, %d words to the audit", c.name, err, len(h.begun), len(h.noted))
			}
		case err != nil || out.Session.OrgID != c.to || out.Place.OrgID != c.to:
			t.Errorf("%s: %+v, %v; want %s", c.name, out.Session, err, c.to)
		}
	}
}

func TestWhoIsAskedForASecondFactor(t *testing.T) {
	app := []factor.Method{factor.ByTOTP}
	for _, c := range []struct {
		name    string
		entry   signin.Entry
		methods []factor.Method
		asked   bool
	}{
		{"by a password, without one", signin.Entry{Means: session.Password}, nil, false},
		{"by a password, with one", signin.Entry{Means: session.Password}, app, true},
		{"by single sign-on, with one", signin.Entry{Means: session.SSO}, app, true},
		{"by single sign-on with more than one factor", signin.Entry{Means: session.SSO, MFA: true}, app, false},
	} {
		h := &house{account: ada(""), methods: c.methods}
		c.entry.Account = h.account
		out, err := h.service().Proceed(t.Context(), c.entry)
		if err != nil || (out.Challenge != nil) != c.asked || (len(h.begun) == 0) != c.asked || h.asked == 1 != c.asked {
			t.Errorf("%s: %+v, %v, %d sessions", c.name, out, err, len(h.begun))
		}
	}
	h := &house{account: ada(""), methods: app}
	out, err := h.service().Passkey(t.Context(), factor.PasskeyProof{}, "", signin.From{})
	if err != nil || out.Challenge != nil || len(h.begun) != 1 || !h.begun[0].MFA || h.begun[0].Means != session.Passkey {
		t.Errorf("by a passkey: %+v, %v, %+v", out, err, h.begun)
	}
}

func TestWhoIsRemovedMeanwhileIsRefusedLikeEverybody(t *testing.T) {
	h := &house{account: ada(""), stranger: true}
	_, err := h.service().Proceed(t.Context(), signin.Entry{Account: h.account, Means: session.Password})
	if !fault.Is(err, fault.Unauthenticated) {
		t.Error(err)
	}
	h.account = signin.Account{}
	if _, err := h.service().EntryOf(t.Context(), "user_9", signin.Entry{}); !fault.Is(err, fault.Unauthenticated) {
		t.Error(err)
	}
}

// queue has requests for links; those in bad fail.
type queue struct {
	waiting, failing int
	down             bool
}

func (q *queue) Answer(context.Context, int, time.Time, func(signin.Request, signin.Account) (signin.Link, error)) (taken, made bool, err error) {
	switch {
	case q.down:
		return false, false, fault.New(fault.Unavailable, "")
	case q.failing > 0:
		q.failing--
		return false, false, errUnused
	case q.waiting > 0:
		q.waiting--
		return true, true, nil
	}
	return false, false, nil
}
func (q *queue) Prune(context.Context, time.Time, time.Time) (int64, error) { return 0, nil }

func TestARequestThatFailsHoldsUpNoOther(t *testing.T) {
	q := &queue{waiting: 5, failing: 2}
	links := &signin.Links{Store: q, Now: noon}
	counts, err := links.Send(t.Context())
	if !errors.Is(err, errUnused) || counts["links"] != 5 {
		t.Errorf("%v, %v", counts, err)
	}
	q.down = true
	if counts, err = links.Send(t.Context()); !fault.Is(err, fault.Unavailable) || counts != nil {
		t.Errorf("without a database: %v, %v", counts, err)
	}
}

// What an issuer said is asked about again when the session begins, and who comes by it
// makes no device known to the account.
func TestWhoComesBySingleSignOn(t *testing.T) {
	for connection, want := range map[string]int{"sso_1": 1, "gone": 0} {
		h := &house{account: ada("")}
		out, err := h.service().Proceed(t.Context(), signin.Entry{Account: h.account, OrgID: "org_1", Means: session.SSO, Connection: connection})
		if len(h.begun) != want || (err == nil) != (want == 1) || out.Device != "" {
			t.Errorf("%s: %v, %d sessions, device %q", connection, err, len(h.begun), out.Device)
		}
		if err != nil && (!fault.Is(err, fault.Unauthenticated) || len(h.noted) != 1 || h.noted[0].Code != "sso_off") {
			t.Errorf("%s: %v, %+v", connection, err, h.noted)
		}
	}
}

func TestASessionOfSingleSignOnTriesNoPassword(t *testing.T) {
	h := &house{account: ada("")}
	who := authz.Principal{OrgID: "org_1", KeyID: "ses_1", OwnerID: "user_1", Role: authz.Developer, Method: authz.BySession, Means: "sso"}
	_, err := h.service().StepUp(t.Context(), who, signin.Again{Password: "a password of hers"})
	if !fault.Is(err, fault.Forbidden) || fault.From(err).Members["reason"] != "sso" {
		t.Errorf("%v", err)
	}
	h.methods = []factor.Method{"totp"}
	_, err = h.service().StepUp(t.Context(), who, signin.Again{Proof: factor.Proof{TOTP: "000000"}})
	if !errors.Is(err, errUnused) { // the proof is looked at
		t.Errorf("with a factor: %v", err)
	}
}

// door is a throttle that knows one device, and a hasher that notes who waits where.
type door struct {
	*house

	lines []password.Line
}

func (d *door) Admit(_ context.Context, _ throttle.Kind, k throttle.Keys) (bool, error) {
	return k.Device == "known", nil
}

func (d *door) Hash(context.Context, string) (string, error) { return "", errUnused }
func (d *door) Verify(_ context.Context, line password.Line, _, _ string) (ok, renew bool, err error) {
	d.lines = append(d.lines, line)
	return false, false, nil
}

func TestWhoseDeviceIsKnownWaitsWithNoStrangers(t *testing.T) {
	for device, want := range map[string]password.Line{"": password.Strangers, "invented": password.Strangers, "known": password.Known} {
		for name, account := range map[string]signin.Account{"somebody": ada(""), "nobody": {}} {
			h := &house{account: account}
			d, s := &door{house: h}, h.service()
			s.Throttle, s.Hasher = d, d
			_, err := s.SignIn(t.Context(), signin.Attempt{Email: "ada@example.com", Password: "x", From: signin.From{Device: device}})
			if !fault.Is(err, fault.Unauthenticated) || !slices.Equal(d.lines, []password.Line{want}) {
				t.Errorf("%s with the device %q: lines %v, %v; want %v", name, device, d.lines, err, want)
			}
		}
	}
}
