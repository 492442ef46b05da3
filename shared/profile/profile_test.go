package profile_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/mail"
	"github.com/aiaas/aiaas/shared/profile"
)

func noon() time.Time { return time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC) }

// shelf holds one profile.
type shelf struct {
	kept    profile.Profile
	list    []profile.Membership
	records []audit.Record
}

func (s *shelf) Profile(context.Context, string) (profile.Profile, error) { return s.kept, nil }

func (s *shelf) Organizations(context.Context, string, time.Time) ([]profile.Membership, error) {
	return slices.Clone(s.list), nil
}

func (s *shelf) Change(_ context.Context, _, _ string, edit func(profile.Profile) (profile.Profile, *audit.Record, error)) (profile.Profile, error) {
	next, rec, err := edit(s.kept)
	if err == nil && rec != nil {
		s.kept, s.records = next, append(s.records, *rec)
	}
	return next, err
}

func as(method authz.Method, role authz.Role, means string) authz.Principal {
	return authz.Principal{OrgID: "org_1", KeyID: "ses_1", OwnerID: "user_1", Role: role, Scopes: authz.Scopes(), Method: method, Means: means}
}

func service(kept profile.Profile) (*profile.Service, *shelf) {
	kept.UserID = "user_1"
	s := &shelf{kept: kept, list: []profile.Membership{{OrgID: "org_0"}, {OrgID: "org_1"}}}
	return &profile.Service{Store: s, Now: noon}, s
}

func TestWhatIsSet(t *testing.T) {
	text := func(s string) *string { return &s }
	for name, c := range map[string]struct {
		patch   profile.Patch
		want    func(*profile.Profile)
		changed string
		param   string // of the refusal
	}{
		"a name":                {patch: profile.Patch{Name: text("Ada L.")}, want: func(p *profile.Profile) { p.Name = "Ada L." }, changed: "name"},
		"the same name":         {patch: profile.Patch{Name: text("Ada")}},
		"no name":               {patch: profile.Patch{Name: text("")}, param: "name"},
		"a name with marks":     {patch: profile.Patch{Name: text("A\u202eb")}, param: "name"},
		"a zone":                {patch: profile.Patch{TimeZone: text("Europe/Berlin")}, want: func(p *profile.Profile) { p.TimeZone = "Europe/Berlin" }, changed: "time_zone"},
		"the organisation's":    {patch: profile.Patch{TimeZone: text("")}},
		"the host's zone":       {patch: profile.Patch{TimeZone: text("Local")}, param: "time_zone"},
		"no zone":               {patch: profile.Patch{TimeZone: text("Europe/Atlantis")}, param: "time_zone"},
		"a path":                {patch: profile.Patch{TimeZone: text("../../etc/passwd")}, param: "time_zone"},
		"a language":            {patch: profile.Patch{Locale: text("de-AT")}, want: func(p *profile.Profile) { p.Locale = "de-AT" }, changed: "locale"},
		"as it is written":      {patch: profile.Patch{Locale: text("EN-us")}, want: func(p *profile.Profile) { p.Locale = "en-US" }, changed: "locale"},
		"with a script":         {patch: profile.Patch{Locale: text("zh-hant-TW")}, want: func(p *profile.Profile) { p.Locale = "zh-Hant-TW" }, changed: "locale"},
		"of POSIX":              {patch: profile.Patch{Locale: text("de_AT")}, param: "locale"},
		"of nobody":             {patch: profile.Patch{Locale: text("xx-invalid-language")}, param: "locale"},
		"markup":                {patch: profile.Patch{Locale: text("<script>")}, param: "locale"},
		"longer than any":       {patch: profile.Patch{Locale: text("en-" + strings.Repeat("x-", 20) + "a")}, param: "locale"},
		"without budgets":       {patch: profile.Patch{Mail: map[mail.Group]bool{"budgets": false}}, want: func(p *profile.Profile) { p.Unwanted = []mail.Group{"budgets", "invoices"} }, changed: "mail.budgets"},
		"with invoices":         {patch: profile.Patch{Mail: map[mail.Group]bool{"invoices": true}}, want: func(p *profile.Profile) { p.Unwanted = []mail.Group{} }, changed: "mail.invoices"},
		"as it is":              {patch: profile.Patch{Mail: map[mail.Group]bool{"invoices": false, "budgets": true}}},
		"without what warns":    {patch: profile.Patch{Mail: map[mail.Group]bool{"password": false}}, param: "mail"},
		"without a single kind": {patch: profile.Patch{Mail: map[mail.Group]bool{"key.leaked": false}}, param: "mail"},
	} {
		t.Run(name, func(t *testing.T) {
			before := profile.Profile{UserID: "user_1", Name: "Ada", Unwanted: []mail.Group{"invoices"}}
			svc, s := service(before)
			err := svc.Change(t.Context(), as(authz.BySession, authz.Developer, "password"), c.patch)
			if c.param != "" {
				if !fault.Is(err, fault.Unprocessable) || fault.From(err).Param != c.param {
					t.Errorf("%v; want a refusal at %q", err, c.param)
				}
			} else if err != nil {
				t.Error(err)
			}
			want := before
			if c.want != nil {
				c.want(&want)
			}
			if d := cmp.Diff(want, s.kept); d != "" {
				t.Error(d)
			}
			if c.changed == "" {
				if len(s.records) != 0 {
					t.Errorf("recorded: %v", s.records)
				}
				return
			}
			if r := s.records[0]; r.Action != "profile.update" || r.OrgID != "org_1" || r.Target != "user_1" || fmt.Sprint(r.Detail["changed"]) != "["+c.changed+"]" {
				t.Errorf("recorded: %+v", r)
			}
		})
	}
}

func TestItIsThePersonsAlone(t *testing.T) {
	for method, may := range map[authz.Method]struct{ see, change bool }{
		authz.BySession: {true, true}, authz.ByToken: {true, false}, authz.ByKey: {}, authz.ByClient: {},
	} {
		svc, _ := service(profile.Profile{})
		_, seen := svc.Own(t.Context(), as(method, authz.Owner, ""))
		name := "x"
		changed := svc.Change(t.Context(), as(method, authz.Owner, ""), profile.Patch{Name: &name})
		for _, c := range []struct {
			err  error
			fine bool
		}{{seen, may.see}, {changed, may.change}} {
			if (c.err == nil) != c.fine || c.err != nil && !fault.Is(c.err, fault.Forbidden) {
				t.Errorf("by %s: %v", method, c.err)
			}
		}
	}
	svc, _ := service(profile.Profile{})
	if _, err := svc.Own(t.Context(), authz.Principal{}); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("nobody: %v", err)
	}
}

func TestHowTheAccountStands(t *testing.T) {
	for _, c := range []struct {
		role    authz.Role
		factors bool
		want    profile.MFA
	}{
		{authz.Developer, false, profile.MFA{Recommended: true}},
		{authz.Developer, true, profile.MFA{Enabled: true}},
		{authz.Owner, false, profile.MFA{Required: true, Recommended: true}},
		{authz.Finance, true, profile.MFA{Enabled: true, Required: true}},
		{authz.Support, false, profile.MFA{Required: true, Recommended: true}},
	} {
		svc, _ := service(profile.Profile{Factors: c.factors})
		own, err := svc.Own(t.Context(), as(authz.BySession, c.role, "password"))
		if err != nil || own.MFA != c.want {
			t.Errorf("%s: %+v, %v; want %+v", c.role, own.MFA, err, c.want)
		}
	}
}

func TestSingleSignOnTellsOfItsOwnOrganisationOnly(t *testing.T) {
	for means, want := range map[string]int{"password": 2, "passkey": 2, "sso": 1} {
		svc, _ := service(profile.Profile{})
		own, err := svc.Own(t.Context(), as(authz.BySession, authz.Developer, means))
		if err != nil || len(own.Organizations) != want || want == 1 && own.Organizations[0].OrgID != "org_1" {
			t.Errorf("by %s: %v, %v", means, own.Organizations, err)
		}
	}
	svc, _ := service(profile.Profile{})
	own, err := svc.Own(t.Context(), as(authz.ByToken, authz.Developer, "password"))
	if err != nil || len(own.Organizations) != 1 || own.Organizations[0].OrgID != "org_1" {
		t.Errorf("to a program: %v, %v", own.Organizations, err)
	}
}

// Who runs an organisation's sign-on has no say about what others know a person by.
func TestSingleSignOnChangesTheProfileOfItsOwnPeopleOnly(t *testing.T) {
	name := "Ada"
	for what, c := range map[string]struct {
		places []profile.Membership
		fine   bool
	}{
		"a member here only":     {[]profile.Membership{{OrgID: "org_1"}}, true},
		"a member elsewhere too": {[]profile.Membership{{OrgID: "org_1"}, {OrgID: "org_2"}}, false},
	} {
		svc, s := service(profile.Profile{})
		s.list = c.places
		err := svc.Change(t.Context(), as(authz.BySession, authz.Developer, "sso"), profile.Patch{Name: &name})
		if (err == nil) != c.fine || err != nil && fault.From(err).Members["reason"] != "sso" || (s.kept.Name == name) != c.fine {
			t.Errorf("%s: %v, %q", what, err, s.kept.Name)
		}
	}
}
