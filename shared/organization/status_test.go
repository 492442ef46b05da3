package organization_test

import (
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/organization"
	"github.com/aiaas/aiaas/shared/tenant"
)

// The states and the ways between them. "trial" is one with an end, whatever became
// of it since; "closed long ago" is past the time in which it can be reopened.
func TestWhichStateFollows(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 10, 12, 9, 0, 0, 0, time.UTC)
	ends := now.Add(-time.Hour) // over: it goes on to be a trial, which serves nobody
	state := func(s tenant.Status, trial bool, at time.Time) organization.Organization {
		o := organization.Organization{Kind: tenant.Customer, Status: s, StatusAt: at}
		if trial {
			o.TrialEnds = ends
		}
		return o
	}
	states := map[string]organization.Organization{
		"active":              state(tenant.Active, false, now),
		"trial":               state(tenant.Trial, true, now),
		"suspended":           state(tenant.Suspended, false, now),
		"suspended trial":     state(tenant.Suspended, true, now),
		"closed":              state(tenant.Closed, false, now.Add(-organization.ReopenWithin)),
		"closed trial":        state(tenant.Closed, true, now),
		"closed long ago":     state(tenant.Closed, false, now.Add(-organization.ReopenWithin-1)),
		"the platform's own":  {Kind: tenant.Platform, Status: tenant.Active},
		"platform, suspended": {Kind: tenant.Platform, Status: tenant.Suspended}, // by hand, in the database
	}
	const refused = "refused"
	for name, want := range map[string]struct{ suspend, activate, close string }{
		"active":              {"suspended", "active", "closed"},
		"trial":               {"suspended", "active", "closed"},
		"suspended":           {"suspended", "active", "closed"},
		"suspended trial":     {"suspended", "trial", "closed"},
		"closed":              {refused, "active", "closed"},
		"closed trial":        {refused, "trial", "closed"},
		"closed long ago":     {refused, refused, "closed"},
		"the platform's own":  {refused, "active", refused},
		"platform, suspended": {refused, "active", refused},
	} {
		for m, want := range map[organization.Move]string{
			organization.Suspend: want.suspend, organization.Activate: want.activate, organization.Close: want.close,
		} {
			next, err := m.After(states[name], now)
			got := string(next.Status)
			if err != nil {
				got = refused
				if !fault.Is(err, fault.Conflict) {
					t.Errorf("%s, %s: %v", m, name, err)
				}
			}
			if got != want {
				t.Errorf("%s, %s: %s; want %s", m, name, got, want)
			}
		}
	}
	if next, err := organization.Activate.After(states["trial"], now); err != nil || !next.TrialEnds.IsZero() || !next.Serves(now) {
		t.Errorf("a trial that became a customer: %+v, %v", next, err)
	}
	if next, err := organization.Activate.After(states["suspended trial"], now); err != nil || next.Serves(now) {
		t.Errorf("an expired trial serves after its suspension: %+v, %v", next, err)
	}
}

func TestWhenKeysWork(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 10, 12, 9, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		status tenant.Status
		ends   time.Time
		want   bool
	}{
		{tenant.Active, time.Time{}, true},
		{tenant.Active, now.Add(-1), true}, // of no meaning where there is no trial
		{tenant.Trial, time.Time{}, true},
		{tenant.Trial, now.Add(1), true},
		{tenant.Trial, now, false},
		{tenant.Suspended, time.Time{}, false},
		{tenant.Closed, time.Time{}, false},
	} {
		if got := (organization.Organization{Status: c.status, TrialEnds: c.ends}).Serves(now); got != c.want {
			t.Errorf("%s until %v serves: %v", c.status, c.ends, got)
		}
	}
}
