package tenant

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
)

// Settings are what an organisation decides for itself. They are stored as one
// JSON document; what is left out has its default.
type Settings struct {
	IPAllowList        []netip.Prefix `json:"ip_allow_list,omitempty"` // none: from anywhere
	AccessHours        *AccessHours   `json:"access_hours,omitempty"`  // nil: at any time
	MFARoles           []authz.Role   `json:"mfa_required_roles,omitempty"`
	KeyMaxDays         int            `json:"key_max_days,omitempty"`         // the longest that a new key may live; 0: without end
	SessionHours       int            `json:"session_hours,omitempty"`        // how long a session lasts; 0: the default
	SessionIdleMinutes int            `json:"session_idle_minutes,omitempty"` // how long one may go unused; 0: the default
	MaxSessions        int            `json:"max_sessions,omitempty"`         // that one person has at once; 0: the default
	AlertMembers       bool           `json:"alert_members,omitempty"`        // mail goes to owners and admins besides the contacts
}

// AccessHours are when people may work, on the clock of the organisation.
type AccessHours struct {
	Days []int  `json:"days"` // 0 is Sunday
	From string `json:"from"` // "08:00"
	To   string `json:"to"`   // "18:00"; "24:00" is the day's end
}

const (
	maxNetworks = 100
	dayMinutes  = 24 * 60
)

// Check returns what is wrong with the settings.
func (s Settings) Check() error {
	if len(s.IPAllowList) > maxNetworks {
		return fault.New(fault.Unprocessable, "an IP allow-list has at most %d networks", maxNetworks).At("ip_allow_list")
	}
	for _, r := range s.MFARoles {
		if !builtIn(r) && r != authz.Custom { // that one stands for all that the organisation made
			return fault.New(fault.Unprocessable, "there is no role %q", clip(string(r))).At("mfa_required_roles")
		}
	}
	if s.KeyMaxDays < 0 || s.KeyMaxDays > 3650 {
		return fault.New(fault.Unprocessable, "key_max_days is between 0 and 3650").At("key_max_days")
	}
	if err := s.checkSessions(); err != nil {
		return err
	}
	if s.AccessHours == nil {
		return nil
	}
	return s.AccessHours.check()
}

// The bounds and defaults of sessions.
const (
	MaxSessionHours       = 30 * 24
	defaultSessionHours   = 12
	minIdleMinutes        = 5
	defaultIdleMinutes    = 60
	maxSessionsAtOnce     = 100
	defaultSessionsAtOnce = 10
)

func (s Settings) checkSessions() error {
	switch {
	case s.SessionHours < 0 || s.SessionHours > MaxSessionHours:
		return fault.New(fault.Unprocessable, "session_hours is between 1 and %d, or 0 for %d", MaxSessionHours, defaultSessionHours).At("session_hours")
	case s.SessionIdleMinutes != 0 && s.SessionIdleMinutes < minIdleMinutes || s.SessionIdleMinutes > MaxSessionHours*60:
		return fault.New(fault.Unprocessable, "session_idle_minutes is between %d and %d, or 0 for %d", minIdleMinutes, MaxSessionHours*60, defaultIdleMinutes).
			At("session_idle_minutes")
	case s.MaxSessions < 0 || s.MaxSessions > maxSessionsAtOnce:
		return fault.New(fault.Unprocessable, "max_sessions is between 1 and %d, or 0 for %d", maxSessionsAtOnce, defaultSessionsAtOnce).At("max_sessions")
	}
	return nil
}

// SessionLength is how long a session lasts at most.
func (s Settings) SessionLength() time.Duration {
	return time.Duration(or(s.SessionHours, defaultSessionHours)) * time.Hour
}

// SessionIdle is how long a session may go unused.
func (s Settings) SessionIdle() time.Duration {
	return time.Duration(or(s.SessionIdleMinutes, defaultIdleMinutes)) * time.Minute
}

// SessionCount is how many sessions one person has at once.
func (s Settings) SessionCount() int { return or(s.MaxSessions, defaultSessionsAtOnce) }

func or(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

func (h *AccessHours) check() error {
	from, err := minute(h.From)
	if err != nil {
		return err
	}
	to, err := minute(h.To)
	if err != nil {
		return err
	}
	if len(h.Days) == 0 || len(h.Days) > 7 || from >= to {
		return fault.New(fault.Unprocessable, "access hours name one to seven days, and begin before they end").At("access_hours")
	}
	for _, d := range h.Days {
		if d < 0 || d > 6 {
			return fault.New(fault.Unprocessable, "a day is between 0, Sunday, and 6").At("access_hours.days")
		}
	}
	return nil
}

func minute(clock string) (int, error) {
	if clock == "24:00" {
		return dayMinutes, nil
	}
	t, err := time.Parse("15:04", clock)
	if err != nil {
		return 0, fault.New(fault.Unprocessable, "a time of day is written like \"08:30\"").At("access_hours")
	}
	return t.Hour()*60 + t.Minute(), nil
}

// Restrictions are the settings as the access policy asks for them. Settings that
// can't be read restrict nobody less: they are an error.
func (s Settings) Restrictions() (authz.Restrictions, error) {
	r := authz.Restrictions{IPs: s.IPAllowList, MFARoles: s.MFARoles}
	if s.AccessHours == nil {
		return r, nil
	}
	if err := s.AccessHours.check(); err != nil {
		return r, fmt.Errorf("read access hours: %w", err)
	}
	r.Hours.Days = s.AccessHours.Days
	r.Hours.From, _ = minute(s.AccessHours.From)
	r.Hours.To, _ = minute(s.AccessHours.To)
	return r, nil
}

func builtIn(r authz.Role) bool {
	return slices.Contains(authz.OrganizationRoles(), r) || slices.Contains(authz.PlatformRoles(), r)
}

func clip(s string) string {
	if len(s) > 60 {
		return strings.ToValidUTF8(s[:60], "") + "…"
	}
	return s
}
