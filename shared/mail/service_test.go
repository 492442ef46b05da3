package mail_test

import (
	"context"
	"testing"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/mail"
)

// store has no mails and knows the directory of the tests; it notes what reaches it.
type store struct {
	queued []mail.Draft
	asked  int
}

func (s *store) Mails(context.Context, string, mail.Filter, string, int) ([]mail.Mail, error) {
	s.asked++
	return nil, nil
}

func (s *store) Mail(_ context.Context, _, id string) (mail.Mail, error) {
	s.asked++
	return mail.Mail{ID: id}, nil
}

func (s *store) Directory(context.Context, string) (mail.Directory, error) {
	s.asked++
	return directory(), nil
}

func (s *store) QueueTest(_ context.Context, d mail.Draft, _ mail.TestLimit, rec audit.Record) error {
	s.asked++
	if rec.Action != "mail.test" || rec.Target != d.ID || rec.Detail["recipient"] != d.Recipient {
		return fault.New(fault.Internal, "the record is %+v", rec)
	}
	s.queued = append(s.queued, d)
	return nil
}

func TestTheCoreAsksWhoMay(t *testing.T) {
	for _, c := range []struct {
		role        authz.Role
		scopes      []authz.Scope
		read, write bool
	}{
		{authz.Owner, []authz.Scope{authz.SettingsRead, authz.SettingsWrite}, true, true},
		{authz.Admin, []authz.Scope{authz.SettingsRead, authz.SettingsWrite}, true, true},
		{authz.Owner, []authz.Scope{authz.SettingsRead}, true, false},
		{authz.Owner, nil, false, false},
		{authz.Developer, []authz.Scope{authz.SettingsRead, authz.SettingsWrite}, false, false},
		{authz.Finance, []authz.Scope{authz.SettingsRead, authz.SettingsWrite}, false, false},
		{"", []authz.Scope{authz.SettingsRead, authz.SettingsWrite}, false, false},
	} {
		p := authz.Principal{OrgID: "org_1", KeyID: "key_1", OwnerID: "user_o", Role: c.role, Scopes: c.scopes, Method: authz.ByKey}
		s := &store{}
		svc := &mail.Service{Store: s, Now: noon}
		_, list := svc.List(t.Context(), p, mail.Filter{}, "", 10)
		_, get := svc.Get(t.Context(), p, "mail_1")
		if (list == nil) != c.read || (get == nil) != c.read || (s.asked > 0) != c.read {
			t.Errorf("%q with %v reads: %v, %v, and the store was asked %d times", c.role, c.scopes, list, get, s.asked)
		}
		s.asked = 0
		_, test := svc.Test(t.Context(), p, "")
		if (test == nil) != c.write || (len(s.queued) == 1) != c.write || (s.asked > 0) != c.write {
			t.Errorf("%q with %v writes: %v, and the store was asked %d times", c.role, c.scopes, test, s.asked)
		}
	}
}

func TestWhoGetsATestMail(t *testing.T) {
	p := authz.Principal{OrgID: "org_1", KeyID: "key_1", OwnerID: "user_o", Role: authz.Owner, Scopes: []authz.Scope{authz.SettingsWrite}, Method: authz.ByKey}
	for to, want := range map[string]string{
		"": "technical@example.com", "DEV@example.com": "dev@example.com", "billing@example.com": "billing@example.com",
		"eve@evil.example.com": "", "dev@example.com,eve@evil.example.com": "", "dev": "", "%": "",
	} {
		s := &store{}
		_, err := (&mail.Service{Store: s, Now: noon}).Test(t.Context(), p, to)
		switch {
		case want == "" && (!fault.Is(err, fault.Unprocessable) || len(s.queued) != 0):
			t.Errorf("to %q: %v, queued %v", to, err, s.queued)
		case want != "" && (err != nil || len(s.queued) != 1 || s.queued[0].Recipient != want):
			t.Errorf("to %q: %v, queued %v; want it to %s", to, err, s.queued, want)
		}
	}
}
