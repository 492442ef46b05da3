package event

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/egress"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/naming"
)

// Webhook is an address that hears of events.
type Webhook struct {
	OrgID        string
	ID           string
	URL          string
	Description  string
	Events       []string // types, "key.*" for all of a kind, "*" for all
	Enabled      bool
	Secret       string    // sealed, bound to the host of URL
	OldSecret    string    // signs as well until OldUntil; "" where there is none
	OldUntil     time.Time // zero where there is none
	FailingSince time.Time // zero: the last attempt went well
	Failures     int64     // since then
	DisabledWhy  string    // why the platform gave it up; "" where it did not
	CreatedBy    string
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// MaxWebhooks bounds the webhooks of an organisation.
const MaxWebhooks = 20

const (
	all            = "*"
	allOfKind      = ".*"
	maxURL         = 2000
	maxDescription = 500
	maxPatterns    = 50
)

// Takes reports whether the webhook asked for a type.
func (w Webhook) Takes(name string) bool {
	kind, _, _ := strings.Cut(name, ".")
	return slices.ContainsFunc(w.Events, func(p string) bool { return p == all || p == name || p == kind+allOfKind })
}

// Patterns are all that match a type, for stores that look for webhooks by it.
func Patterns(name string) []string {
	kind, _, _ := strings.Cut(name, ".")
	return []string{all, name, kind + allOfKind}
}

// check refuses what can't be a webhook.
func (w *Webhook) check(places egress.Rules) error {
	if len(w.Description) > maxDescription {
		return fault.New(fault.Unprocessable, "a description has at most %d bytes", maxDescription).At("description")
	}
	if err := naming.Line("description", w.Description, maxDescription); err != nil {
		return err
	}
	if err := checkURL(w.URL, places); err != nil {
		return err
	}
	return checkPatterns(w.Events)
}

func checkURL(text string, places egress.Rules) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || len(text) > maxURL || u.Host == "" || u.User != nil || u.Fragment != "" || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		return fault.New(fault.Unprocessable, "url is an https address without user or fragment").At("url")
	case u.Scheme != "https" && u.Scheme != "http":
		return fault.New(fault.Unprocessable, "url is an https address").At("url")
	}
	if err := places.CheckURL(u); err != nil {
		return fault.New(fault.Unprocessable, "url: %v", err).At("url")
	}
	if mayBeListed(u.Hostname(), places) {
		return nil
	}
	switch port := u.Port(); {
	case u.Scheme == "http":
		return fault.New(fault.Unprocessable, "url must be https: without TLS only networks that the operator has listed are posted to").At("url")
	case port != "" && !webPort(port):
		return fault.New(fault.Unprocessable, "url: the port is %d, or one from %d on", portHTTPS, portFirstFree).At("url")
	}
	return nil
}

const (
	portHTTPS     = 443
	portFirstFree = 1024 // below, there are other protocols' servers
)

func webPort(text string) bool {
	port, err := strconv.ParseUint(text, 10, 16)
	return err == nil && (port == portHTTPS || port >= portFirstFree)
}

// mayBeListed tells whether a host may turn out to be in a listed network: all names
// may where any is listed, and are looked at when they are dialled.
func mayBeListed(host string, places egress.Rules) bool {
	if ip, ok := egress.Literal(host); ok {
		return places.Listed(ip)
	}
	return places.Lists()
}

func checkPatterns(patterns []string) error {
	if len(patterns) == 0 || len(patterns) > maxPatterns {
		return fault.New(fault.Unprocessable, "events names 1 to %d types, as in \"key.*\"", maxPatterns).At("events")
	}
	types := Types()
	for _, p := range patterns {
		one := Webhook{Events: []string{p}}
		if !slices.ContainsFunc(types, func(t Type) bool { return one.Takes(t.Name) }) {
			return fault.New(fault.Unprocessable, "there are no events %q; GET /v1/event-types lists them", clip(p)).At("events")
		}
	}
	return nil
}

func clip(s string) string {
	if len(s) > 60 {
		return strings.ToValidUTF8(s[:60], "") + "…"
	}
	return s
}

// host is what the secrets of a webhook are bound to.
func host(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "" // no secret is bound to it
	}
	return strings.ToLower(u.Host)
}
