package organization

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/tenant"
)

// Own is what owners and admins do with their organisation.
type Own struct {
	Store  Editor
	Ledger Ledger
	Bump   Bumper
	Now    func() time.Time
}

// Get returns the caller's organisation.
func (s *Own) Get(ctx context.Context, p authz.Principal) (Organization, error) {
	if err := p.Require(ctx, authz.DoSettingsRead); err != nil {
		return Organization{}, err
	}
	return s.Store.Organization(ctx, p.OrgID)
}

// OwnPatch is what is changed of the own organisation; what is nil stays.
type OwnPatch struct {
	Name     *string
	Slug     *string
	Contacts Contacts
	Zone     *string
	Settings Settings
	Force    bool // also where the caller locks himself out
}

// Settings are changes of settings; what is nil stays.
type Settings struct {
	IPAllowList        []string            // empty, not nil: from anywhere
	AccessHours        *tenant.AccessHours // without days: at any time
	MFARoles           []authz.Role        // empty, not nil: none besides those that always need it
	KeyMaxDays         *int
	SessionHours       *int
	SessionIdleMinutes *int
	MaxSessions        *int
	AlertMembers       *bool
}

func (c Settings) none() bool {
	return c.IPAllowList == nil && c.AccessHours == nil && c.MFARoles == nil && c.KeyMaxDays == nil && c.SessionHours == nil && c.SessionIdleMinutes == nil && c.MaxSessions == nil && c.AlertMembers == nil
}

// over returns the settings as the change makes them.
func (c Settings) over(old tenant.Settings) (tenant.Settings, error) {
	if c.IPAllowList != nil {
		networks, err := readNetworks(c.IPAllowList)
		if err != nil {
			return old, err
		}
		old.IPAllowList = networks
	}
	if c.AccessHours != nil {
		old.AccessHours = c.AccessHours
		if len(c.AccessHours.Days) == 0 {
			old.AccessHours = nil
		}
	}
	if c.MFARoles != nil {
		old.MFARoles = append([]authz.Role(nil), c.MFARoles...)
	}
	set(&old.KeyMaxDays, c.KeyMaxDays)
	set(&old.SessionHours, c.SessionHours)
	set(&old.SessionIdleMinutes, c.SessionIdleMinutes)
	set(&old.MaxSessions, c.MaxSessions)
	set(&old.AlertMembers, c.AlertMembers)
	return old, old.Check()
}

// readNetworks reads networks and single addresses; none is nil. Those of IPv4 in the
// form of IPv6 are IPv4, as addresses are compared.
func readNetworks(texts []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range texts {
		n, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil {
			a, addrErr := netip.ParseAddr(strings.TrimSpace(text))
			if addrErr != nil || a.Zone() != "" {
				return nil, fault.New(fault.Unprocessable, "%q is no address and no network; they are written like \"192.0.2.7\" and \"192.0.2.0/24\"", clip(text)).At("ip_allow_list")
			}
			n = netip.PrefixFrom(a, a.BitLen())
		}
		if n.Addr().Is4In6() {
			if n.Bits() < 96 {
				return nil, fault.New(fault.Unprocessable, "the network %q has addresses of both kinds", clip(text)).At("ip_allow_list")
			}
			n = netip.PrefixFrom(n.Addr().Unmap(), n.Bits()-96)
		}
		out = append(out, n.Masked())
	}
	return out, nil
}

// Change changes the caller's organisation. Restrictions count from the answer on, in
// other processes within a second, for programs as for people. Those that would
// refuse the caller's own next request are not taken, unless he insists.
func (s *Own) Change(ctx context.Context, p authz.Principal, c OwnPatch) (Organization, error) {
	if err := p.Require(ctx, authz.DoSettingsWrite); err != nil {
		return Organization{}, err
	}
	if c.Name == nil && c.Slug == nil && c.Contacts == (Contacts{}) && c.Zone == nil && c.Settings.none() {
		return Organization{}, errNoChange()
	}
	return s.change(ctx, p, act{action: "organization.change"}, func(o *Organization) error {
		if err := head(o, c.Name, c.Slug, c.Contacts); err != nil {
			return err
		}
		if err := setZone(ctx, s.Ledger, o, c.Zone, s.Now()); err != nil {
			return err
		}
		var err error
		if o.Settings, err = c.Settings.over(o.Settings); err != nil || c.Force {
			return err
		}
		return s.stays(ctx, p, *o)
	})
}

// stays asks the access policy whether the caller could go on under new settings.
func (s *Own) stays(ctx context.Context, p authz.Principal, o Organization) error {
	r, err := o.Settings.Restrictions()
	if err != nil {
		return err
	}
	zone, err := loadZone(o.Zone)
	if err != nil {
		return err
	}
	d, err := p.Within(authz.Bounds{Restrictions: r, Zone: zone, Now: s.Now}).Decide(ctx, authz.DoSettingsWrite, nil)
	if err != nil || d.Allow {
		return err
	}
	why := map[authz.Reason]string{
		authz.ReasonAddress: "your own address, " + known(p.Address) + ", is not in the IP allow-list",
		authz.ReasonHours:   "it is not within the access hours now",
		authz.ReasonMFA:     "your session has shown no second factor",
	}[d.Reason]
	return fault.New(fault.Unprocessable, "these settings would lock you out: %s; say force to set them all the same", why).
		At("settings").With("reason", string(d.Reason))
}

func known(address string) string {
	if address == "" {
		return "which is not known"
	}
	return address
}

// Close closes the caller's organisation: its keys stop, its data stays for its
// retention. Only the platform can reopen it. confirm is the organisation's slug.
func (s *Own) Close(ctx context.Context, p authz.Principal, confirm string) error {
	if err := p.Require(ctx, authz.DoOrganizationDelete); err != nil {
		return err
	}
	_, err := s.change(ctx, p, act{action: "organization.delete"}, func(o *Organization) error {
		if confirm != o.Slug {
			return fault.New(fault.Unprocessable, "confirm with the organization's slug").At("confirm")
		}
		return move(o, Close, "by its owner", s.Now())
	})
	return err
}

func (s *Own) change(ctx context.Context, p authz.Principal, a act, apply func(*Organization) error) (Organization, error) {
	return change(ctx, editing{s.Store, s.Bump, s.Now()}, p, a, apply)
}
