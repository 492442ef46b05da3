package organizations

import (
	"context"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/organization"
	"github.com/aiaas/aiaas/shared/rest"
	"github.com/aiaas/aiaas/shared/tenant"
)

type noInput struct{}

type ownOutput struct{ Body OwnOrganization }

func (h *handlers) getOwn(ctx context.Context, p authz.Principal, _ *noInput) (*ownOutput, error) {
	o, err := h.own.Get(ctx, p)
	if err != nil {
		return nil, err
	}
	return &ownOutput{Body: showOwn(o)}, nil
}

// OrganizationSettingsChange changes settings: what is left out stays.
type OrganizationSettingsChange struct {
	IPAllowList        []string                      `json:"ip_allow_list,omitempty" maxItems:"100" nullable:"false" doc:"Addresses and networks; an empty list: from anywhere."`
	AccessHours        rest.Maybe[OrganizationHours] `json:"access_hours,omitzero" required:"false" doc:"null: at any time."`
	MFARoles           []string                      `json:"mfa_required_roles,omitempty" maxItems:"20" uniqueItems:"true" nullable:"false" doc:"In place of those before."`
	KeyMaxDays         *int                          `json:"key_max_days,omitempty" minimum:"0" maximum:"3650" nullable:"false" doc:"Binds keys that are made from now on; 0: without end."`
	SessionHours       *int                          `json:"session_hours,omitempty" minimum:"0" maximum:"720" nullable:"false" doc:"How long a session lasts; 0: the default, 12. It binds those that there are too."`
	SessionIdleMinutes *int                          `json:"session_idle_minutes,omitempty" minimum:"0" maximum:"43200" nullable:"false" doc:"How long a session may go unused, at least 5; 0: the default, 60."`
	MaxSessions        *int                          `json:"max_sessions,omitempty" minimum:"0" maximum:"100" nullable:"false" doc:"Sessions that one person has at once; 0: the default, 10."`
	AlertMembers       *bool                         `json:"alert_members,omitempty" nullable:"false"`
}

// OwnOrganizationChange is the body that changes the own organization: what is left
// out stays.
type OwnOrganizationChange struct {
	Name     *string                     `json:"name,omitempty" maxLength:"200" nullable:"false"`
	Slug     *string                     `json:"slug,omitempty" maxLength:"63" nullable:"false"`
	Contacts *OrganizationContactsChange `json:"contacts,omitempty" nullable:"false"`
	TimeZone *string                     `json:"time_zone,omitempty" maxLength:"100" nullable:"false"`
	Settings *OrganizationSettingsChange `json:"settings,omitempty" nullable:"false"`
	Force    bool                        `json:"force,omitempty" doc:"Take settings that lock out the caller, too."`
}

type changeOwnInput struct{ Body OwnOrganizationChange }

func (h *handlers) changeOwn(ctx context.Context, p authz.Principal, in *changeOwnInput) (*ownOutput, error) {
	b := in.Body
	o, err := h.own.Change(ctx, p, organization.OwnPatch{
		Name: b.Name, Slug: b.Slug, Contacts: b.Contacts.read(), Zone: b.TimeZone, Settings: b.Settings.read(), Force: b.Force,
	})
	if err != nil {
		return nil, err
	}
	return &ownOutput{Body: showOwn(o)}, nil
}

func (c *OrganizationSettingsChange) read() organization.Settings {
	if c == nil {
		return organization.Settings{}
	}
	out := organization.Settings{IPAllowList: c.IPAllowList, KeyMaxDays: c.KeyMaxDays, SessionHours: c.SessionHours, SessionIdleMinutes: c.SessionIdleMinutes, MaxSessions: c.MaxSessions, AlertMembers: c.AlertMembers}
	if c.AccessHours.Given {
		out.AccessHours = &tenant.AccessHours{} // at any time
		if h := c.AccessHours.Value; h != nil {
			out.AccessHours = &tenant.AccessHours{Days: h.Days, From: h.From, To: h.To}
		}
	}
	if c.MFARoles != nil {
		out.MFARoles = make([]authz.Role, len(c.MFARoles))
		for i, r := range c.MFARoles {
			out.MFARoles[i] = authz.Role(r)
		}
	}
	return out
}

type deleteOwnInput struct {
	Confirm string `query:"confirm" required:"true" maxLength:"63" doc:"The organization's slug."`
}

func (h *handlers) deleteOwn(ctx context.Context, p authz.Principal, in *deleteOwnInput) (*noOutput, error) {
	return &noOutput{}, h.own.Close(ctx, p, in.Confirm)
}
