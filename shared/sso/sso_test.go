package sso_test

import (
	"context"
	"errors"
	"testing"

	"github.com/aiaas/aiaas/shared/egress"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/sso"
)

func TestDomainOf(t *testing.T) {
	for email, want := range map[string]string{
		"ada@corp.example": "corp.example", "Ada@Corp.Example": "corp.example", "a@b@corp.example": "corp.example",
		"": "", "ada": "", "@corp.example": "", "ada@": "",
	} {
		if got := sso.DomainOf(email); got != want {
			t.Errorf("%q: %q; want %q", email, got, want)
		}
	}
}

func TestCheckIssuer(t *testing.T) {
	listed := egress.New(egress.Loopback()...)
	for _, c := range []struct {
		issuer string
		places egress.Rules
		ok     bool
	}{
		{"https://login.example.com", egress.Rules{}, true},
		{"https://login.example.com/tenant/v2.0", egress.Rules{}, true},
		{"https://login.example.com:8443", egress.Rules{}, true},
		{"http://login.example.com", egress.Rules{}, false},
		{"http://127.0.0.1:8080", listed, true},
		{"https://127.0.0.1", egress.Rules{}, false},
		{"https://localhost", egress.Rules{}, false},
		{"https://[::1]", egress.Rules{}, false},
		{"https://0x7f000001", egress.Rules{}, false},
		{"http://10.0.0.1", listed, false},
		{"https://login.example.com?x", egress.Rules{}, false},
		{"https://login.example.com#x", egress.Rules{}, false},
		{"https://u@login.example.com", egress.Rules{}, false},
		{"https://login.example.com\n", egress.Rules{}, false},
		{"https:///x", egress.Rules{}, false},
		{"login.example.com", egress.Rules{}, false},
		{"", egress.Rules{}, false},
	} {
		if err := sso.CheckIssuer(c.issuer, c.places); (err == nil) != c.ok {
			t.Errorf("%q: %v", c.issuer, err)
		}
	}
}

func TestWhereBrowsersComeBackTo(t *testing.T) {
	for _, public := range []string{"https://ai.example.com", "https://ai.example.com/"} {
		if got := sso.RedirectURL(public, "sso_1"); got != "https://ai.example.com/v1/sign-in/sso/callback/sso_1" {
			t.Errorf("%s: %s", public, got)
		}
	}
}

// admissions tell whether somebody is bound.
type admissions struct {
	sso.Admissions

	serves bool
	err    error
}

func (a admissions) Serves(context.Context, string, string) (bool, error) { return a.serves, a.err }

func TestTheGate(t *testing.T) {
	down := errors.New("down")
	for name, c := range map[string]struct {
		admissions
		code fault.Code // "" where he may enter
	}{
		"bound":    {admissions{serves: true}, fault.Forbidden},
		"free":     {admissions{}, ""},
		"no word":  {admissions{err: down}, fault.Internal},
		"no doubt": {admissions{serves: true, err: down}, fault.Internal},
	} {
		err := (&sso.Gate{Admissions: c.admissions}).MayEnter(t.Context(), "org_1", "user_1")
		if (err == nil) != (c.code == "") || (err != nil && fault.From(err).Code != c.code) {
			t.Errorf("%s: %v", name, err)
		}
		if c.code == fault.Forbidden && fault.From(err).Members["reason"] != "sso_required" {
			t.Errorf("%s: %v", name, fault.From(err).Members)
		}
	}
}
