package identity

import (
	"context"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/mail"
	"github.com/aiaas/aiaas/shared/profile"
)

// Person is who the caller is, in whatever organisation.
type Person struct {
	ID            string `json:"id"`
	Email         string `json:"email"`
	EmailVerified bool   `json:"email_verified" doc:"A link that was sent there was used."`
	Name          string `json:"name" doc:"As the person calls himself; organisations may call him otherwise."`
}

// MyMFA is how the caller's account stands with second factors.
type MyMFA struct {
	Enabled     bool `json:"enabled"`
	Required    bool `json:"required" doc:"The role does nothing without one."`
	Recommended bool `json:"recommended" doc:"There is none yet."`
}

// MyProfile is what the caller has set for himself.
type MyProfile struct {
	TimeZone string     `json:"time_zone" example:"Europe/Berlin" doc:"Empty: that of the organisation."`
	Locale   string     `json:"locale" example:"de-AT" doc:"A language tag (BCP 47); empty: that of the browser."`
	Mail     MailGroups `json:"mail"`
}

// MailGroups say which mails are wanted. Those that warn are always sent.
type MailGroups struct {
	Reminders  *bool `json:"reminders,omitempty" nullable:"false" doc:"Of keys that are to be rotated."`
	Budgets    *bool `json:"budgets,omitempty" nullable:"false" doc:"Of budgets that reached a threshold."`
	Invoices   *bool `json:"invoices,omitempty" nullable:"false" doc:"Of invoices that were issued."`
	Operations *bool `json:"operations,omitempty" nullable:"false" doc:"Of webhooks that were disabled."`
}

// by are the groups with what is said of each.
func (g *MailGroups) by() map[mail.Group]**bool {
	return map[mail.Group]**bool{
		mail.GroupReminders: &g.Reminders, mail.GroupBudgets: &g.Budgets, mail.GroupInvoices: &g.Invoices, mail.GroupOperations: &g.Operations,
	}
}

// MyMembership is an organisation that the caller may work in.
type MyMembership struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Role     string `json:"role" doc:"A built-in role, or the id of one of the organisation's own."`
	RoleName string `json:"role_name"`
}

// describe adds what is the person's own, where a person is signed in: a key belongs
// to an organisation, and tells nothing of its owner's others.
func (h *policyHandlers) describe(ctx context.Context, p authz.Principal, me *Me) error {
	me.Organizations = []MyMembership{}
	if _, err := p.Person(); fault.Is(err, fault.Forbidden) {
		return nil
	}
	own, err := h.profiles.Own(ctx, p)
	if err != nil {
		return err
	}
	me.Person = &Person{ID: own.UserID, Email: own.Email, EmailVerified: own.Verified, Name: own.Name}
	me.MFA = &MyMFA{Enabled: own.MFA.Enabled, Required: own.MFA.Required, Recommended: own.MFA.Recommended}
	me.Profile = &MyProfile{TimeZone: own.TimeZone, Locale: own.Locale}
	for g, said := range me.Profile.Mail.by() {
		*said = new(own.Wants(g))
	}
	for _, m := range own.Organizations {
		me.Organizations = append(me.Organizations, MyMembership{ID: m.OrgID, Name: m.OrgName, Role: m.Role, RoleName: m.RoleName})
	}
	return nil
}

// ChangedMe is the body that changes the own profile: what is left out stays.
type ChangedMe struct {
	Name     *string     `json:"name,omitempty" minLength:"1" maxLength:"100" nullable:"false"`
	TimeZone *string     `json:"time_zone,omitempty" maxLength:"64" nullable:"false" example:"Europe/Berlin" doc:"Empty: that of the organisation."`
	Locale   *string     `json:"locale,omitempty" maxLength:"35" nullable:"false" example:"de-AT" doc:"A language tag (BCP 47); empty: that of the browser."`
	Mail     *MailGroups `json:"mail,omitempty" nullable:"false" doc:"Which mails are wanted, by group."`
}

type changeMeInput struct{ Body ChangedMe }

func (h *policyHandlers) changeMe(ctx context.Context, p authz.Principal, in *changeMeInput) (*meOutput, error) {
	b := in.Body
	c := profile.Patch{Name: b.Name, TimeZone: b.TimeZone, Locale: b.Locale, Mail: map[mail.Group]bool{}}
	if b.Mail != nil {
		for g, said := range b.Mail.by() {
			if *said != nil {
				c.Mail[g] = **said
			}
		}
	}
	if err := h.profiles.Change(ctx, p, c); err != nil {
		return nil, err
	}
	return h.me(ctx, p, nil)
}
