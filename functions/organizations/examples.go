package organizations

import "time"

func exampleNew() NewOrganization {
	billing := "billing@example.com"
	return NewOrganization{
		Name: "Example Ltd", Slug: "example", Plan: "business", TimeZone: "Europe/Berlin",
		Contacts: &OrganizationContactsChange{Billing: &billing}, Owner: NewOwner{Email: "ada@example.com", Name: "Ada"},
	}
}

func example() Organization {
	rpm, at := int64(500), time.Date(2026, 10, 12, 9, 0, 0, 0, time.UTC)
	return Organization{
		ID: "org_0199c0b2f3a47c1e8d6a5b4c3d2e1f00", Name: "Example Ltd", Slug: "example", Kind: "tenant", Status: "active", Serves: true,
		Plan: "business", Limits: OrganizationLimits{RequestsPerMinute: &rpm}, EffectiveLimits: exampleLimits(rpm),
		Currency: "USD", PriceBook: "default", TimeZone: "Europe/Berlin", Contacts: OrganizationContacts{Billing: "billing@example.com"},
		Settings: exampleSettings(), CreatedAt: at, UpdatedAt: &at,
	}
}

func exampleLimits(rpm int64) PlanLimits {
	return PlanLimits{RequestsPerMinute: rpm, ConcurrentRequests: 500, KeyRequestsPerMinute: 1000, KeyConcurrentRequests: 100}
}

func exampleSettings() OrganizationSettings {
	return OrganizationSettings{IPAllowList: []string{"192.0.2.0/24"}, MFARoles: []string{"manager"}, KeyMaxDays: 90, SessionHours: 12, SessionIdleMinutes: 60, MaxSessions: 10}
}

func exampleOwn() OwnOrganization {
	o := example()
	return OwnOrganization{
		ID: o.ID, Name: o.Name, Slug: o.Slug, Status: o.Status, Plan: o.Plan, EffectiveLimits: o.EffectiveLimits, Currency: o.Currency,
		TimeZone: o.TimeZone, Contacts: o.Contacts, Settings: o.Settings, CreatedAt: o.CreatedAt, UpdatedAt: o.UpdatedAt,
	}
}

func exampleCreated() CreatedOrganization {
	return CreatedOrganization{
		Organization: example(), ProjectID: "proj_0199c0b2f3a47c1e8d6a5b4c3d2e1f01", OwnerID: "user_0199c0b2f3a47c1e8d6a5b4c3d2e1f02",
		Key: FirstKey{
			ID: "key_0199c0b2f3a47c1e8d6a5b4c3d2e1f03", Key: "aiaas_live_…", Fingerprint: "aiaas_live_6f1d2c3b4a59",
			Scopes: []string{"inference", "keys:read", "keys:write"},
		},
	}
}

func examplePlan() NewPlan {
	return NewPlan{Name: "Business", Limits: exampleLimits(10000), MaxMembers: 500, MaxProjects: 200, MaxKeys: 2000}
}
