// Package profile is what a person sets for himself, in whatever organisation he
// works: the own name, time zone and language, and which mails he does without.
//
// It belongs to the person, so nobody else sees or changes it, and no API key does:
// an organisation has a name of its own for each of its members, and a key belongs to
// one organisation. Mails that warn can't be done without: package mail says which
// can. It also tells a person where he is a member, and how his account stands with
// second factors.
package profile

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/language"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/mail"
	"github.com/aiaas/aiaas/shared/naming"
)

// Profile is what a person has set.
type Profile struct {
	UserID   string
	Email    string
	Verified bool   // the mailbox was shown to be his
	Name     string // as he calls himself; "" where he has not said
	TimeZone string // IANA; "": that of the organisation
	Locale   string // BCP 47; "": that of the browser
	Unwanted []mail.Group
	Factors  bool // he has a second factor
}

// Wants tells whether the person gets mails of a group.
func (p Profile) Wants(g mail.Group) bool { return !slices.Contains(p.Unwanted, g) }

// Membership is an organisation that a person may work in.
type Membership struct {
	OrgID    string
	OrgName  string
	Role     string // a built-in one, or the id of one that the organisation made
	RoleName string
}

// Own is what a person is told of himself.
type Own struct {
	Profile
	MFA           MFA
	Organizations []Membership // the one that he was added to first comes first
}

// MFA is how a person's account stands with second factors.
type MFA struct {
	Enabled     bool
	Required    bool // his role does nothing without one
	Recommended bool // he has none: whoever guesses the password has the account
}

// Store keeps profiles. Every method works for one person.
type Store interface {
	// Profile reads what the person has set, and Organizations where he may work at a
	// moment.
	Profile(ctx context.Context, userID string) (Profile, error)
	Organizations(ctx context.Context, userID string, at time.Time) ([]Membership, error)
	// Change makes of the profile what edit does, under a lock of it, in one
	// transaction with the audit record, which belongs to an organisation. A nil
	// record means that nothing has changed.
	Change(ctx context.Context, org, userID string, edit func(Profile) (Profile, *audit.Record, error)) (Profile, error)
}

// Service shows and changes the own profile.
type Service struct {
	Store Store
	Now   func() time.Time
}

// Own tells a person of himself. Forbidden for keys and programs. Who came by the
// single sign-on of an organisation is told of that one only.
func (s *Service) Own(ctx context.Context, p authz.Principal) (Own, error) {
	userID, err := p.Person()
	if err != nil {
		return Own{}, err
	}
	profile, err := s.Store.Profile(ctx, userID)
	if err != nil {
		return Own{}, err
	}
	list, err := s.Store.Organizations(ctx, userID, s.Now())
	if err != nil {
		return Own{}, err
	}
	if p.Means == "sso" || p.Method != authz.BySession { // where else he is, is no business of theirs
		list = slices.DeleteFunc(list, func(m Membership) bool { return m.OrgID != p.OrgID })
	}
	required := authz.MFAForced(p.Role, p.Query("", nil).Restrictions.MFARoles)
	return Own{
		Profile: profile, Organizations: list,
		MFA: MFA{Enabled: profile.Factors, Required: required, Recommended: !profile.Factors},
	}, nil
}

// Patch is what of a profile is to be changed; what is nil stays.
type Patch struct {
	Name     *string
	TimeZone *string
	Locale   *string
	Mail     map[mail.Group]bool // which mails are wanted, by group
}

// maxLocale is longer than any language tag in use.
const maxLocale = 35

func (c *Patch) check() error {
	if c.Name != nil {
		if err := naming.Name("name", *c.Name); err != nil {
			return err
		}
	}
	if c.TimeZone != nil && *c.TimeZone != "" {
		if _, err := time.LoadLocation(*c.TimeZone); err != nil || *c.TimeZone == "Local" {
			return fault.New(fault.Unprocessable, "there is no time zone of this name; they are written like \"Europe/Berlin\"").At("time_zone")
		}
	}
	for _, g := range slices.Sorted(maps.Keys(c.Mail)) {
		if !slices.Contains(mail.Groups(), g) {
			return fault.New(fault.Unprocessable, "there is no group of mails of this name").At("mail")
		}
	}
	return c.canonical()
}

// canonical writes the language in the one way in which it is written.
func (c *Patch) canonical() error {
	if c.Locale == nil || *c.Locale == "" {
		return nil
	}
	tag, err := language.Parse(*c.Locale)
	if err != nil || len(*c.Locale) > maxLocale || tag == language.Und || strings.Contains(*c.Locale, "_") {
		return fault.New(fault.Unprocessable, "there is no such language; they are written like \"en\" or \"de-AT\"").At("locale")
	}
	c.Locale = new(tag.String())
	return nil
}

// apply returns the profile as the patch makes it, and what it changed.
func (c *Patch) apply(p Profile) (next Profile, changed []string) {
	next = p
	set := func(field string, to *string, at *string) {
		if to != nil && *to != *at {
			*at = *to
			changed = append(changed, field)
		}
	}
	set("name", c.Name, &next.Name)
	set("time_zone", c.TimeZone, &next.TimeZone)
	set("locale", c.Locale, &next.Locale)
	next.Unwanted = []mail.Group{}
	for _, g := range mail.Groups() {
		wanted, said := c.Mail[g]
		if !said {
			wanted = p.Wants(g)
		}
		if wanted != p.Wants(g) {
			changed = append(changed, "mail."+string(g))
		}
		if !wanted {
			next.Unwanted = append(next.Unwanted, g)
		}
	}
	return next, changed
}

// changing is who changes his profile. No program does it for him; nor does a session of
// single sign-on where he is a member elsewhere too, for whoever runs one organisation's
// sign-on would change what the others know him by.
func (s *Service) changing(ctx context.Context, p authz.Principal) (userID string, err error) {
	userID, err = p.Person()
	switch {
	case err != nil:
		return "", err
	case p.Method != authz.BySession:
		return "", fault.New(fault.Forbidden, "only a person who has signed in changes the own profile, and no program for him").With("reason", "person")
	case p.Means != "sso":
		return userID, nil
	}
	list, err := s.Store.Organizations(ctx, userID, s.Now())
	switch {
	case err != nil:
		return "", err
	case slices.ContainsFunc(list, func(m Membership) bool { return m.OrgID != p.OrgID }):
		return "", fault.New(fault.Forbidden, "you are a member of other organizations as well, which know you by this profile: sign in with your password or a passkey").With("reason", "sso")
	}
	return userID, nil
}

// Change sets parts of the own profile. Forbidden for programs, and for single sign-on
// of who is a member of more than one organisation.
func (s *Service) Change(ctx context.Context, p authz.Principal, c Patch) error {
	userID, err := s.changing(ctx, p)
	if err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	_, err = s.Store.Change(ctx, p.OrgID, userID, func(before Profile) (Profile, *audit.Record, error) {
		next, changed := c.apply(before)
		if len(changed) == 0 {
			return before, nil, nil
		}
		// What somebody calls himself is no business of the organisation: only that it changed.
		rec := audit.New(ctx, p, s.Now(), "profile.update", userID).With(map[string]any{"changed": changed})
		return next, &rec, nil
	})
	return err
}
