package event

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/egress"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
)

// Webhooks keeps an organisation's webhooks. Changes are one transaction each with
// their audit records.
type Webhooks interface {
	// CreateWebhook is a Conflict where the organisation has [MaxWebhooks].
	CreateWebhook(ctx context.Context, w Webhook, rec audit.Record) error
	ListWebhooks(ctx context.Context, org, after string, limit int) ([]Webhook, error)
	GetWebhook(ctx context.Context, org, webhookID string) (Webhook, error)
	// ChangeWebhook applies a change to the webhook, which nobody else changes
	// meanwhile. What is pending of one that is then disabled is given up.
	ChangeWebhook(ctx context.Context, org, webhookID string, change func(Webhook) (Webhook, audit.Record, error)) (Webhook, error)
	DeleteWebhook(ctx context.Context, org, webhookID string, rec audit.Record) error
	// RecordTest only writes the record, whose event goes to this webhook; RateLimited
	// beyond the quota.
	RecordTest(ctx context.Context, org, webhookID string, q Quota, rec audit.Record) error
}

// History reads what happened and what became of its deliveries, the newest first.
type History interface {
	ListEvents(ctx context.Context, q Query) ([]Event, error)
	ListDeliveries(ctx context.Context, q DeliveryQuery) ([]Delivery, error)
	// Replay makes deliveries pending anew, under the ids they have, and returns how
	// many; RateLimited beyond the quota.
	Replay(ctx context.Context, r Replaying) (int, error)
}

// Query asks for a page of an organisation's events.
type Query struct {
	OrgID  string
	Types  []string  // none: of any type
	Since  time.Time // zero: from the first
	Before string    // the id that the page before ended with; "" for the first page
	Limit  int
}

// DeliveryQuery asks for a page of a webhook's deliveries.
type DeliveryQuery struct {
	OrgID, WebhookID string
	Status           Status // "" for any
	Before           string
	Limit            int
}

// Quota is how many there may be of what an organisation asks for, since a moment.
type Quota struct {
	Most       int
	Since, Now time.Time
}

// How often an organisation may ask within an hour: what it asks for is written, and
// posted to others.
const (
	TestsAnHour       = 60
	ReplaysAnHour     = 10 // of all events since a moment
	RedeliveriesAHour = 60 // of one event
)

func anHour(most int, now time.Time) Quota {
	return Quota{Most: most, Since: now.Add(-time.Hour), Now: now}
}

// Replaying says what is to be delivered again: one delivery, or of a webhook all
// events that it takes from a moment on.
type Replaying struct {
	OrgID      string
	DeliveryID string
	WebhookID  string
	Since      time.Time
	At         time.Time
	Most       int
	Quota      Quota // of replays of its kind
	// Record makes the audit record, once it is known how many there are.
	Record func(webhookID string, deliveries int) audit.Record
}

// Vault seals secrets for a host, and opens them for that host only.
type Vault interface {
	Seal(plain, host string) (string, error)
	Open(sealed, host string) (string, error)
}

// Service is what an organisation does with its events and webhooks.
type Service struct {
	Webhooks Webhooks
	History  History
	Vault    Vault
	Places   egress.Rules // where webhooks may be
	Now      func() time.Time
}

// NewWebhook is what a webhook is created from.
type NewWebhook struct {
	URL         string
	Description string
	Events      []string
	Enabled     bool
}

const (
	secretPrefix = "whsec_"
	secretBytes  = 32
)

func newSecret() string {
	b := make([]byte, secretBytes)
	_, _ = rand.Read(b) // never fails: it ends the process instead
	return secretPrefix + base64.StdEncoding.EncodeToString(b)
}

// Create adds a webhook and returns it with its secret, which is shown only now.
func (s *Service) Create(ctx context.Context, p authz.Principal, n NewWebhook) (w Webhook, secret string, err error) {
	if err := p.Require(ctx, authz.DoWebhooksWrite); err != nil {
		return Webhook{}, "", err
	}
	now := s.Now()
	w = Webhook{
		OrgID: p.OrgID, ID: id.New(id.Webhook), URL: n.URL, Description: n.Description, Events: tidy(n.Events), Enabled: n.Enabled,
		CreatedBy: p.Actor(), CreatedAt: now, UpdatedAt: now,
	}
	if err := w.check(s.Places); err != nil {
		return Webhook{}, "", err
	}
	secret = newSecret()
	if w.Secret, err = s.Vault.Seal(secret, host(w.URL)); err != nil {
		return Webhook{}, "", fmt.Errorf("seal secret: %w", err)
	}
	rec := audit.New(ctx, p, now, "webhook.create", w.ID).With(map[string]any{"url": w.URL, "events": w.Events, "enabled": w.Enabled})
	return w, secret, s.Webhooks.CreateWebhook(ctx, w, rec)
}

// List returns a page of the organisation's webhooks.
func (s *Service) List(ctx context.Context, p authz.Principal, after string, limit int) ([]Webhook, error) {
	if err := p.Require(ctx, authz.DoWebhooksRead); err != nil {
		return nil, err
	}
	return s.Webhooks.ListWebhooks(ctx, p.OrgID, after, limit)
}

// Get returns a webhook.
func (s *Service) Get(ctx context.Context, p authz.Principal, webhookID string) (Webhook, error) {
	if err := p.Require(ctx, authz.DoWebhooksRead); err != nil {
		return Webhook{}, err
	}
	return s.Webhooks.GetWebhook(ctx, p.OrgID, webhookID)
}

// Change is what can be changed of a webhook. A nil member stays as it is.
type Change struct {
	URL         *string
	Description *string
	Events      []string
	Enabled     *bool
}

// Update changes a webhook. Enabling one that was given up forgives its failures.
func (s *Service) Update(ctx context.Context, p authz.Principal, webhookID string, c Change) (Webhook, error) {
	if err := p.Require(ctx, authz.DoWebhooksWrite); err != nil {
		return Webhook{}, err
	}
	now := s.Now()
	return s.Webhooks.ChangeWebhook(ctx, p.OrgID, webhookID, func(w Webhook) (Webhook, audit.Record, error) {
		next, detail := c.apply(w)
		next.UpdatedAt = now
		if err := next.check(s.Places); err != nil {
			return w, audit.Record{}, err
		}
		if err := s.rebind(&next, w.URL, now); err != nil {
			return w, audit.Record{}, err
		}
		return next, audit.New(ctx, p, now, "webhook.update", webhookID).With(detail), nil
	})
}

func (c Change) apply(w Webhook) (Webhook, map[string]any) {
	detail := map[string]any{}
	if c.URL != nil {
		w.URL, detail["url"] = *c.URL, *c.URL
	}
	if c.Description != nil {
		w.Description, detail["description"] = *c.Description, *c.Description
	}
	if c.Events != nil {
		w.Events = tidy(c.Events)
		detail["events"] = w.Events
	}
	if c.Enabled != nil {
		w.Enabled, detail["enabled"] = *c.Enabled, *c.Enabled
		if *c.Enabled {
			w.FailingSince, w.Failures, w.DisabledWhy = time.Time{}, 0, ""
		}
	}
	return w, detail
}

// rebind seals the secrets for the host of a new address.
func (s *Service) rebind(w *Webhook, before string, now time.Time) error {
	if host(w.URL) == host(before) {
		return nil
	}
	if !w.OldUntil.After(now) {
		w.OldSecret, w.OldUntil = "", time.Time{}
	}
	for _, sealed := range []*string{&w.Secret, &w.OldSecret} {
		if *sealed == "" {
			continue
		}
		plain, err := s.Vault.Open(*sealed, host(before))
		if err != nil {
			return fmt.Errorf("open secret of webhook %s: %w", w.ID, err)
		}
		if *sealed, err = s.Vault.Seal(plain, host(w.URL)); err != nil {
			return fmt.Errorf("seal secret of webhook %s: %w", w.ID, err)
		}
	}
	return nil
}

// Delete removes a webhook, its secrets and what is known of its deliveries.
func (s *Service) Delete(ctx context.Context, p authz.Principal, webhookID string) error {
	if err := p.Require(ctx, authz.DoWebhooksWrite); err != nil {
		return err
	}
	w, err := s.Webhooks.GetWebhook(ctx, p.OrgID, webhookID)
	if err != nil {
		return err
	}
	rec := audit.New(ctx, p, s.Now(), "webhook.delete", webhookID).With(map[string]any{"url": w.URL})
	return s.Webhooks.DeleteWebhook(ctx, p.OrgID, webhookID, rec)
}

// The time for which the old secret signs beside a new one.
const (
	DefaultOverlap = 24 * time.Hour
	MaxOverlap     = 7 * 24 * time.Hour
)

// RotateSecret gives a webhook a new secret, which is shown only now. The one before
// signs as well for the overlap. While an overlap runs there is a Conflict: a third
// secret would end the first before its time. Without an overlap it is never one,
// and the newest signs alone at once.
func (s *Service) RotateSecret(ctx context.Context, p authz.Principal, webhookID string, overlap time.Duration) (Webhook, string, error) {
	if err := p.Require(ctx, authz.DoWebhooksWrite); err != nil {
		return Webhook{}, "", err
	}
	if overlap < 0 || overlap > MaxOverlap {
		return Webhook{}, "", fault.New(fault.Unprocessable, "the overlap is at most %d seconds", int(MaxOverlap.Seconds())).At("overlap_seconds")
	}
	now, secret := s.Now(), newSecret()
	w, err := s.Webhooks.ChangeWebhook(ctx, p.OrgID, webhookID, func(w Webhook) (Webhook, audit.Record, error) {
		sealed, err := s.Vault.Seal(secret, host(w.URL))
		if err != nil {
			return w, audit.Record{}, fmt.Errorf("seal secret: %w", err)
		}
		if overlap > 0 && w.OldSecret != "" && w.OldUntil.After(now) {
			return w, audit.Record{}, fault.New(fault.Conflict, "the secret before signs until %s: rotate after that, or with overlap_seconds 0, which ends it",
				w.OldUntil.UTC().Format(time.RFC3339))
		}
		w.OldSecret, w.OldUntil = w.Secret, now.Add(overlap)
		if overlap == 0 {
			w.OldSecret, w.OldUntil = "", time.Time{}
		}
		w.Secret, w.UpdatedAt = sealed, now
		rec := audit.New(ctx, p, now, "webhook.rotate_secret", webhookID).With(map[string]any{"overlap_until": now.Add(overlap)})
		return w, rec, nil
	})
	return w, secret, err
}

// Test sends the webhook an event of [TypeTest] and returns the event's id. It comes
// by the way that all events come; [TestsAnHour] at most.
func (s *Service) Test(ctx context.Context, p authz.Principal, webhookID string) (eventID string, err error) {
	if err := p.Require(ctx, authz.DoWebhooksWrite); err != nil {
		return "", err
	}
	now := s.Now()
	rec := audit.New(ctx, p, now, "webhook.test", webhookID)
	return idOf(rec.ID), s.Webhooks.RecordTest(ctx, p.OrgID, webhookID, anHour(TestsAnHour, now), rec)
}

// Events returns a page of what happened.
func (s *Service) Events(ctx context.Context, p authz.Principal, q Query) ([]Event, error) {
	if err := p.Require(ctx, authz.DoWebhooksRead); err != nil {
		return nil, err
	}
	q.OrgID = p.OrgID
	return s.History.ListEvents(ctx, q)
}

// Deliveries returns a page of what was sent to a webhook.
func (s *Service) Deliveries(ctx context.Context, p authz.Principal, q DeliveryQuery) ([]Delivery, error) {
	if err := p.Require(ctx, authz.DoWebhooksRead); err != nil {
		return nil, err
	}
	q.OrgID = p.OrgID
	if _, err := s.Webhooks.GetWebhook(ctx, p.OrgID, q.WebhookID); err != nil {
		return nil, err
	}
	return s.History.ListDeliveries(ctx, q)
}

// MostReplayed bounds one replay.
const MostReplayed = 10_000

// ReplaySince delivers to a webhook all events again that it takes, from a moment
// on, and returns how many; at most [MostReplayed], the oldest, and [ReplaysAnHour].
func (s *Service) ReplaySince(ctx context.Context, p authz.Principal, webhookID string, since time.Time) (int, error) {
	return s.replay(ctx, p, Replaying{WebhookID: webhookID, Since: since})
}

// ReplayDelivery delivers one event again; at most [RedeliveriesAHour].
func (s *Service) ReplayDelivery(ctx context.Context, p authz.Principal, deliveryID string) error {
	_, err := s.replay(ctx, p, Replaying{DeliveryID: deliveryID})
	return err
}

func (s *Service) replay(ctx context.Context, p authz.Principal, r Replaying) (int, error) {
	if err := p.Require(ctx, authz.DoWebhooksWrite); err != nil {
		return 0, err
	}
	r.OrgID, r.At, r.Most = p.OrgID, s.Now(), MostReplayed
	r.Quota = anHour(ReplaysAnHour, r.At)
	if r.DeliveryID != "" {
		r.Quota = anHour(RedeliveriesAHour, r.At)
	}
	r.Record = func(webhookID string, deliveries int) audit.Record {
		detail := map[string]any{"deliveries": deliveries}
		if r.DeliveryID != "" {
			detail["delivery_id"] = r.DeliveryID
		} else {
			detail["since"] = r.Since.UTC()
		}
		return audit.New(ctx, p, r.At, "webhook.replay", webhookID).With(detail)
	}
	return s.History.Replay(ctx, r)
}

// tidy sorts patterns and names each once.
func tidy(patterns []string) []string {
	out := slices.Clone(patterns)
	slices.Sort(out)
	return slices.Compact(out)
}
