package organizations

import (
	"net/netip"
	"time"

	"github.com/aiaas/aiaas/shared/organization"
	"github.com/aiaas/aiaas/shared/tenant"
)

// OrganizationLimits are limits that an organization has instead of its plan's.
type OrganizationLimits struct {
	RequestsPerMinute     *int64 `json:"requests_per_minute" required:"false" minimum:"0" doc:"Of the whole organization. null: the plan's; 0: none."`
	TokensPerMinute       *int64 `json:"tokens_per_minute" required:"false" minimum:"0"`
	ConcurrentRequests    *int64 `json:"concurrent_requests" required:"false" minimum:"0"`
	KeyRequestsPerMinute  *int64 `json:"key_requests_per_minute" required:"false" minimum:"0" doc:"Of each key that has no limit of its own."`
	KeyTokensPerMinute    *int64 `json:"key_tokens_per_minute" required:"false" minimum:"0"`
	KeyConcurrentRequests *int64 `json:"key_concurrent_requests" required:"false" minimum:"0"`
}

// PlanLimits are limits; 0 is none.
type PlanLimits struct {
	RequestsPerMinute     int64 `json:"requests_per_minute" minimum:"0" doc:"Of a whole organization; 0: none."`
	TokensPerMinute       int64 `json:"tokens_per_minute" minimum:"0"`
	ConcurrentRequests    int64 `json:"concurrent_requests" minimum:"0"`
	KeyRequestsPerMinute  int64 `json:"key_requests_per_minute" minimum:"0" doc:"Of each key that has no limit of its own."`
	KeyTokensPerMinute    int64 `json:"key_tokens_per_minute" minimum:"0"`
	KeyConcurrentRequests int64 `json:"key_concurrent_requests" minimum:"0"`
}

// OrganizationContacts are e-mail addresses; "" where none is named.
type OrganizationContacts struct {
	Billing   string `json:"billing"`
	Security  string `json:"security"`
	Technical string `json:"technical"`
}

// OrganizationContactsChange changes contacts: what is left out stays, "" takes one away.
type OrganizationContactsChange struct {
	Billing   *string `json:"billing,omitempty" maxLength:"254" nullable:"false"`
	Security  *string `json:"security,omitempty" maxLength:"254" nullable:"false"`
	Technical *string `json:"technical,omitempty" maxLength:"254" nullable:"false"`
}

// OrganizationHours are when people may work, on the organization's clock.
type OrganizationHours struct {
	Days []int  `json:"days" maxItems:"7" uniqueItems:"true" nullable:"false" doc:"0 is Sunday. None: at any time."`
	From string `json:"from" maxLength:"5" example:"08:00"`
	To   string `json:"to" maxLength:"5" example:"18:00" doc:"24:00 is the day's end."`
}

// OrganizationSettings are what an organization demands of who works in it.
type OrganizationSettings struct {
	IPAllowList        []string           `json:"ip_allow_list" nullable:"false" doc:"Networks that it can be used from; none: anywhere."`
	AccessHours        *OrganizationHours `json:"access_hours" doc:"null: at any time."`
	MFARoles           []string           `json:"mfa_required_roles" nullable:"false" doc:"Roles that need a second factor, besides those that always do."`
	KeyMaxDays         int                `json:"key_max_days" doc:"The longest that a new key may live; 0: without end."`
	SessionHours       int                `json:"session_hours" doc:"How long a session lasts."`
	SessionIdleMinutes int                `json:"session_idle_minutes" doc:"How long a session may go unused."`
	MaxSessions        int                `json:"max_sessions" doc:"Sessions that one person has at once; with another one, the oldest ends."`
	AlertMembers       bool               `json:"alert_members" doc:"Mail goes to owners and admins, besides the contacts."`
}

// Organization is an organization as the platform sees it.
type Organization struct {
	ID              string               `json:"id"`
	Name            string               `json:"name"`
	Slug            string               `json:"slug"`
	Kind            string               `json:"kind" enum:"tenant,platform"`
	Status          string               `json:"status" enum:"active,trial,suspended,closed"`
	StatusReason    string               `json:"status_reason"`
	StatusAt        *time.Time           `json:"status_at" doc:"null: from the start."`
	Serves          bool                 `json:"serves" doc:"Its keys work now: it is active, or in a trial that is not over."`
	TrialEndsAt     *time.Time           `json:"trial_ends_at"`
	Plan            string               `json:"plan"`
	Limits          OrganizationLimits   `json:"limits" doc:"Its own, instead of the plan's."`
	EffectiveLimits PlanLimits           `json:"effective_limits"`
	Currency        string               `json:"currency"`
	PriceBook       string               `json:"price_book"`
	TimeZone        string               `json:"time_zone"`
	Contacts        OrganizationContacts `json:"contacts"`
	Settings        OrganizationSettings `json:"settings"`
	LegalHold       bool                 `json:"legal_hold" doc:"Nothing of it is pruned."`
	CreatedAt       time.Time            `json:"created_at"`
	UpdatedAt       *time.Time           `json:"updated_at"`
}

// OwnOrganization is an organization as its own people see it.
type OwnOrganization struct {
	ID              string               `json:"id"`
	Name            string               `json:"name"`
	Slug            string               `json:"slug"`
	Status          string               `json:"status" enum:"active,trial,suspended,closed"`
	TrialEndsAt     *time.Time           `json:"trial_ends_at"`
	Plan            string               `json:"plan"`
	EffectiveLimits PlanLimits           `json:"effective_limits"`
	Currency        string               `json:"currency"`
	TimeZone        string               `json:"time_zone"`
	Contacts        OrganizationContacts `json:"contacts"`
	Settings        OrganizationSettings `json:"settings"`
	CreatedAt       time.Time            `json:"created_at"`
	UpdatedAt       *time.Time           `json:"updated_at"`
}

func show(o organization.Organization, now time.Time) Organization {
	org, key := o.Overrides.Org, o.Overrides.Key
	return Organization{
		ID: o.ID, Name: o.Name, Slug: o.Slug, Kind: string(o.Kind), Status: string(o.Status), StatusReason: o.StatusReason,
		StatusAt: orNull(o.StatusAt), Serves: o.Serves(now), TrialEndsAt: orNull(o.TrialEnds), Plan: string(o.Plan),
		Limits: OrganizationLimits{
			RequestsPerMinute: org.RequestsPerMinute, TokensPerMinute: org.TokensPerMinute, ConcurrentRequests: org.ConcurrentRequests,
			KeyRequestsPerMinute: key.RequestsPerMinute, KeyTokensPerMinute: key.TokensPerMinute, KeyConcurrentRequests: key.ConcurrentRequests,
		},
		EffectiveLimits: showBounds(o.Bounds()), Currency: o.Currency, PriceBook: o.PriceBook, TimeZone: o.Zone,
		Contacts: OrganizationContacts(o.Contacts), Settings: showSettings(o.Settings), LegalHold: o.LegalHold,
		CreatedAt: o.CreatedAt, UpdatedAt: orNull(o.UpdatedAt),
	}
}

func showOwn(o organization.Organization) OwnOrganization {
	return OwnOrganization{
		ID: o.ID, Name: o.Name, Slug: o.Slug, Status: string(o.Status), TrialEndsAt: orNull(o.TrialEnds), Plan: string(o.Plan),
		EffectiveLimits: showBounds(o.Bounds()), Currency: o.Currency, TimeZone: o.Zone, Contacts: OrganizationContacts(o.Contacts),
		Settings: showSettings(o.Settings), CreatedAt: o.CreatedAt, UpdatedAt: orNull(o.UpdatedAt),
	}
}

func showBounds(b tenant.Bounds) PlanLimits {
	return PlanLimits{
		RequestsPerMinute: b.Org.RequestsPerMinute, TokensPerMinute: b.Org.TokensPerMinute, ConcurrentRequests: b.Org.ConcurrentRequests,
		KeyRequestsPerMinute: b.Key.RequestsPerMinute, KeyTokensPerMinute: b.Key.TokensPerMinute, KeyConcurrentRequests: b.Key.ConcurrentRequests,
	}
}

func showSettings(s tenant.Settings) OrganizationSettings {
	out := OrganizationSettings{
		IPAllowList: texts(s.IPAllowList, netip.Prefix.String), KeyMaxDays: s.KeyMaxDays,
		SessionHours: int(s.SessionLength().Hours()), SessionIdleMinutes: int(s.SessionIdle().Minutes()), MaxSessions: s.SessionCount(),
		AlertMembers: s.AlertMembers,
		MFARoles:     make([]string, len(s.MFARoles)),
	}
	for i, r := range s.MFARoles {
		out.MFARoles[i] = string(r)
	}
	if h := s.AccessHours; h != nil {
		out.AccessHours = &OrganizationHours{Days: h.Days, From: h.From, To: h.To}
	}
	return out
}

func texts[T any](list []T, text func(T) string) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = text(v)
	}
	return out
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func (l OrganizationLimits) read() tenant.Overrides {
	return tenant.Overrides{
		Org: tenant.Override{RequestsPerMinute: l.RequestsPerMinute, TokensPerMinute: l.TokensPerMinute, ConcurrentRequests: l.ConcurrentRequests},
		Key: tenant.Override{RequestsPerMinute: l.KeyRequestsPerMinute, TokensPerMinute: l.KeyTokensPerMinute, ConcurrentRequests: l.KeyConcurrentRequests},
	}
}

func (l PlanLimits) read() tenant.Bounds {
	return tenant.Bounds{
		Org: tenant.Limits{RequestsPerMinute: l.RequestsPerMinute, TokensPerMinute: l.TokensPerMinute, ConcurrentRequests: l.ConcurrentRequests},
		Key: tenant.Limits{RequestsPerMinute: l.KeyRequestsPerMinute, TokensPerMinute: l.KeyTokensPerMinute, ConcurrentRequests: l.KeyConcurrentRequests},
	}
}
