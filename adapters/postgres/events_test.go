package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/event"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
)

// office is a database with two organisations, and what works on its events.
type office struct {
	t        *testing.T
	url      string
	events   *postgres.Events
	webhooks *postgres.Webhooks
}

func openOffice(t *testing.T) *office {
	t.Helper()
	url := postgrestest.New(t)
	postgrestest.Exec(t, url, `INSERT INTO accounts.organizations (org_id, name, created_at) VALUES ('org_1', 'one', now()), ('org_2', 'two', now());
		INSERT INTO accounts.organizations (org_id, name, kind, created_at) VALUES ('org_p', 'platform', 'platform', now())`)
	return &office{
		t: t, url: url, events: postgres.NewEvents(openDB(t, url, postgres.RoleNotifier)), webhooks: postgres.NewWebhooks(openDB(t, url, postgres.RoleAccounts)),
	}
}

func openDB(t *testing.T, url string, role postgres.Role) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), url, role, 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

func now() time.Time { return time.Date(2026, 10, 12, 9, 0, 0, 0, time.UTC) }

func (o *office) hook(org string, events ...string) event.Webhook {
	o.t.Helper()
	w := event.Webhook{
		OrgID: org, ID: id.New(id.Webhook), URL: "https://example.com", Events: events, Enabled: true, Secret: "sealed", CreatedBy: "key_1",
		CreatedAt: now(), UpdatedAt: now(),
	}
	if err := o.webhooks.CreateWebhook(o.t.Context(), w, o.record(org, "webhook.create", w.ID)); err != nil {
		o.t.Fatal(err)
	}
	return w
}

func (o *office) record(org, action, target string) audit.Record {
	return audit.Record{OrgID: org, ID: id.New(id.Audit), At: now(), Actor: "key_1", Action: action, Target: target, Detail: map[string]any{}}
}

func (o *office) publish(events ...event.Event) {
	o.t.Helper()
	if err := o.events.Publish(o.t.Context(), events, now()); err != nil {
		o.t.Fatal(err)
	}
}

func happened(org, kind string) event.Event {
	return event.Event{ID: id.New(id.Event), OrgID: org, Type: kind, At: now(), Object: "key_1", Payload: []byte(`{"type":"` + kind + `"}`)}
}

func (o *office) lease(at time.Time, most int) []event.Lease {
	o.t.Helper()
	list, err := o.events.Lease(o.t.Context(), event.Leasing{At: at, Until: at.Add(20 * time.Second), Most: most, MostOfOne: 16})
	if err != nil {
		o.t.Fatal(err)
	}
	return list
}

// settle ends an attempt, by default as one that went well.
func (o *office) settle(l event.Lease, at time.Time, change func(*event.Settlement)) (more bool) {
	o.t.Helper()
	s := event.Settlement{
		Lease: l, AttemptID: id.New(id.Attempt), Attempt: event.Attempt{At: at, Code: 200}, Status: event.Succeeded, At: at,
		GiveUp: func(event.Health) string { return "" },
		Record: func(string) audit.Record { return o.record(l.OrgID, event.ActionDisable, l.WebhookID) },
	}
	if change != nil {
		change(&s)
	}
	more, err := o.events.Settle(o.t.Context(), s)
	if err != nil {
		o.t.Fatal(err)
	}
	return more
}

func (o *office) scalar(sql string) string { return postgrestest.Scalar(o.t, o.url, sql) }

func failing(next time.Time) func(*event.Settlement) {
	return func(s *event.Settlement) {
		s.Attempt.Code, s.Attempt.Error, s.Status, s.NextAt = 500, "The receiver answered 500.", event.Pending, next
	}
}

func anHour(most int) event.Quota {
	return event.Quota{Most: most, Since: now().Add(-time.Hour), Now: now()}
}

// What was changed is in the outbox with its record, or neither is there.
func TestTheOutboxHasWhatWasCommitted(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	w := o.hook("org_1", "*")
	// The same record again: the transaction fails in the end.
	rec := o.record("org_1", "webhook.test", w.ID)
	if err := o.webhooks.RecordTest(t.Context(), "org_1", w.ID, anHour(1), rec); err != nil {
		t.Fatal(err)
	}
	if err := o.webhooks.DeleteWebhook(t.Context(), "org_1", w.ID, rec); err == nil {
		t.Fatal("a record was written twice")
	}
	if got := o.scalar(`SELECT string_agg(type, ',' ORDER BY seq) FROM accounts.outbox`); got != "webhook.created,webhook.test" {
		t.Errorf("the outbox has %s", got)
	}
	if got := o.scalar(`SELECT count(*)::text FROM accounts.audit_records a JOIN accounts.outbox o ON o.event_id = 'evt_' || substr(a.audit_id, 5)`); got != "2" {
		t.Errorf("%s events have their records", got)
	}
}

// However many dispatch at once, each event gets one delivery for each webhook that
// takes it.
func TestDispatchersAtOnceDeliverOnce(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	for _, events := range [][]string{{"*"}, {"webhook.*"}, {"webhook.test"}, {"key.*"}} {
		o.hook("org_1", events...)
	}
	postgrestest.Exec(t, o.url, `DELETE FROM accounts.outbox`)
	const n = 400
	postgrestest.Exec(t, o.url, fmt.Sprintf(`INSERT INTO accounts.outbox (org_id, event_id, type, at, object, payload)
		SELECT CASE i %% 2 WHEN 0 THEN 'org_1' ELSE 'org_2' END, 'evt_' || lpad(i::text, 32, '0'), 'webhook.updated', '2026-10-12', 'wh', '{}' FROM generate_series(1, %d) i`, n))
	var group sync.WaitGroup
	for range 6 {
		db := openDB(t, o.url, postgres.RoleNotifier)
		d := event.Dispatcher{Outboxes: []event.Outbox{postgres.NewOutbox(db, function.Accounts)}, Log: postgres.NewEvents(db), Now: now}
		group.Go(func() {
			if _, err := d.Dispatch(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for what, want := range map[string]string{
		`SELECT count(*)::text FROM accounts.outbox`:                                                                                      "0",
		`SELECT count(*)::text FROM accounts.events`:                                                                                      strconv.Itoa(n),
		`SELECT count(*)::text FROM accounts.webhook_deliveries`:                                                                          strconv.Itoa(n), // two of org_1's webhooks, half of the events
		`SELECT count(DISTINCT (webhook_id, event_id))::text FROM accounts.webhook_deliveries`:                                            strconv.Itoa(n),
		`SELECT count(DISTINCT webhook_id)::text FROM accounts.webhook_deliveries`:                                                        "2",
		`SELECT count(*)::text FROM accounts.webhook_deliveries d JOIN accounts.webhooks w USING (webhook_id) WHERE w.org_id <> d.org_id`: "0",
	} {
		if got := o.scalar(what); got != want {
			t.Errorf("%s: %s; want %s", what, got, want)
		}
	}
}

func TestPublishing(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	mine, off, theirs, platform := o.hook("org_1", "key.*"), o.hook("org_1", "*"), o.hook("org_2", "*"), o.hook("org_p", "*")
	_, err := o.webhooks.ChangeWebhook(t.Context(), "org_1", off.ID, func(w event.Webhook) (event.Webhook, audit.Record, error) {
		w.Enabled = false
		return w, o.record("org_1", "webhook.update", w.ID), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	key, budget, test := happened("org_1", "key.created"), happened("org_1", "budget.created"), happened("org_1", event.TypeTest)
	test.Object = off.ID
	o.publish(key, budget, test, happened(audit.PlatformOrg, "model.created"))
	o.publish(key, test) // again
	takers := func(w event.Webhook) string {
		return o.scalar(`SELECT coalesce(string_agg(e.type, ',' ORDER BY e.type), '') FROM accounts.webhook_deliveries d JOIN accounts.events e USING (org_id, event_id) WHERE webhook_id = '` + w.ID + `'`)
	}
	for name, c := range map[string]struct {
		hook event.Webhook
		want string
	}{
		"of the type":                  {mine, "key.created"},
		"disabled, but tested":         {off, event.TypeTest},
		"another organisation's":       {theirs, ""},
		"what belongs to none of them": {platform, "model.created"},
	} {
		if got := takers(c.hook); got != c.want {
			t.Errorf("%s: %q; want %q", name, got, c.want)
		}
	}
	list, err := o.webhooks.ListEvents(t.Context(), event.Query{OrgID: "org_1", Limit: 10, Types: []string{"key.created", event.TypeTest}})
	if err != nil || len(list) != 2 || list[0].ID != test.ID || string(list[1].Payload) != string(key.Payload) {
		t.Errorf("the log: %+v, %v; want the newest first", list, err)
	}
}

// One webhook has very much to be delivered; it takes its few slots, and the others
// theirs.
func TestABusyWebhookLeavesRoom(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	busy, quiet := o.hook("org_1", "key.*"), o.hook("org_2", "*")
	var many []event.Event
	for range 50 {
		many = append(many, happened("org_1", "key.created"))
	}
	o.publish(many...)
	o.publish(happened("org_2", "key.created"))
	count := func(list []event.Lease, w event.Webhook) (n int) {
		for _, l := range list {
			if l.WebhookID == w.ID {
				n++
			}
		}
		return n
	}
	first := o.lease(now(), 64)
	if count(first, busy) != 4 || count(first, quiet) != 1 {
		t.Fatalf("leased %d and %d; want 4 and 1", count(first, busy), count(first, quiet))
	}
	if again := o.lease(now(), 64); len(again) != 0 {
		t.Errorf("%d more while four are under way", len(again))
	}
	for _, l := range first {
		if l.WebhookID == busy.ID {
			o.settle(l, now(), failing(now().Add(time.Hour)))
		}
	}
	if next := o.lease(now(), 64); len(next) != 1 {
		t.Errorf("%d of one that fails; want one at a time", len(next))
	}
	if late := o.lease(now().Add(21*time.Second), 64); len(late) != 2 { // the leases of those that nobody settled are over
		t.Errorf("%d after the leases ended; want that of each again", len(late))
	}
}

func TestLeasesAtOnceAreDistinct(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	for i := range 12 {
		o.hook([]string{"org_1", "org_2"}[i%2], "*")
	}
	o.publish(happened("org_1", "key.created"), happened("org_2", "key.created"))
	var mu sync.Mutex
	var ids []string
	var group sync.WaitGroup
	for range 4 {
		events := postgres.NewEvents(openDB(t, o.url, postgres.RoleNotifier))
		group.Go(func() {
			list, err := events.Lease(t.Context(), event.Leasing{At: now(), Until: now().Add(time.Minute), Most: 64, MostOfOne: 16})
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, l := range list {
				ids = append(ids, l.DeliveryID)
			}
		})
	}
	group.Wait()
	slices.Sort(ids)
	if len(ids) != 12 || len(slices.Compact(ids)) != 12 {
		t.Errorf("leased %d; want each of the 12 once", len(ids))
	}
}

func TestSettling(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	w := o.hook("org_1", "key.*")
	o.publish(happened("org_1", "key.created"))
	l := o.lease(now(), 1)[0]
	o.settle(l, now(), failing(now().Add(time.Minute)))
	health := func() string {
		return o.scalar(`SELECT failures || ' ' || (failing_since IS NOT NULL) || ' ' || enabled FROM accounts.webhooks WHERE webhook_id = '` + w.ID + `'`)
	}
	if got := health(); got != "1 true true" {
		t.Errorf("after a failure: %s", got)
	}
	if early := o.lease(now().Add(59*time.Second), 9); len(early) != 0 {
		t.Errorf("%d are tried before their time", len(early))
	}
	second := o.lease(now().Add(time.Minute), 9)[0]
	if second.DeliveryID != l.DeliveryID || second.Try != 2 || second.EventID != l.EventID {
		t.Errorf("second %+v; want %s again", second, l.DeliveryID)
	}
	o.settle(l, now(), nil) // of the first lease: too late
	if got := o.scalar(`SELECT status || ' ' || attempts FROM accounts.webhook_deliveries`); got != "pending 2" {
		t.Errorf("a lease that is over made it %s", got)
	}
	o.settle(second, now(), nil)
	if got := o.scalar(`SELECT status || ' ' || (SELECT count(*) FROM accounts.webhook_attempts) FROM accounts.webhook_deliveries`); got != "succeeded 3" {
		t.Errorf("after it went well: %s", got)
	}
	if got := health(); got != "0 false true" {
		t.Errorf("after it went well: %s; want the failures forgotten", got)
	}
	list, err := o.webhooks.ListDeliveries(t.Context(), event.DeliveryQuery{OrgID: "org_1", WebhookID: w.ID, Limit: 10})
	if err != nil || len(list) != 1 || len(list[0].Attempts) != 3 || list[0].Attempts[0].Code != 500 || list[0].FinishedAt.IsZero() {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestGivingUpAWebhook(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	w := o.hook("org_1", "key.*")
	o.publish(happened("org_1", "key.created"), happened("org_1", "key.revoked"))
	postgrestest.Exec(t, o.url, `DELETE FROM accounts.outbox`)
	l := o.lease(now(), 1)[0]
	var seen event.Health
	o.settle(l, now(), func(s *event.Settlement) {
		failing(now().Add(time.Minute))(s)
		s.GiveUp = func(h event.Health) string { seen = h; return "enough" }
	})
	if seen.Failures != 1 || !seen.FailingSince.Equal(now()) {
		t.Errorf("it was judged by %+v", seen)
	}
	for what, want := range map[string]string{
		`SELECT enabled || ' ' || disabled_why FROM accounts.webhooks`:                                  "false enough",
		`SELECT count(*) || ' ' || min(error) FROM accounts.webhook_deliveries WHERE status = 'failed'`: "2 enough",
		`SELECT string_agg(type || ' ' || object, ',') FROM accounts.outbox`:                            "webhook.disabled " + w.ID,
		`SELECT count(*)::text FROM accounts.audit_records WHERE action = 'webhook.disable'`:            "1",
	} {
		if got := o.scalar(what); got != want {
			t.Errorf("%s: %s; want %s", what, got, want)
		}
	}
	if err := o.webhooks.DeleteWebhook(t.Context(), "org_1", w.ID, o.record("org_1", "webhook.delete", w.ID)); err != nil {
		t.Fatal(err)
	}
	o.settle(l, now(), nil) // of what is gone
	if got := o.scalar(`SELECT count(*)::text FROM accounts.webhook_deliveries`); got != "0" {
		t.Errorf("%s deliveries are left of a webhook that is deleted", got)
	}
}

func TestReplaying(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	w, other := o.hook("org_1", "key.*"), o.hook("org_2", "*")
	first, second, foreign, budget := happened("org_1", "key.created"), happened("org_1", "key.revoked"), happened("org_2", "key.created"), happened("org_1", "budget.created")
	second.At = now().Add(time.Hour)
	o.publish(first, second, foreign, budget)
	for _, l := range o.lease(now(), 9) {
		o.settle(l, now(), nil)
	}
	replay := func(r event.Replaying) (int, error) {
		r.OrgID, r.At, r.Most, r.Quota = "org_1", now(), 100, anHour(100)
		r.Record = func(webhookID string, n int) audit.Record { return o.record("org_1", "webhook.replay", webhookID) }
		return o.webhooks.Replay(t.Context(), r)
	}
	for name, c := range map[string]struct {
		r    event.Replaying
		want int
		code fault.Code
	}{
		"all":                     {event.Replaying{WebhookID: w.ID, Since: now()}, 2, ""},
		"since later":             {event.Replaying{WebhookID: w.ID, Since: now().Add(time.Minute)}, 1, ""},
		"nothing":                 {event.Replaying{WebhookID: w.ID, Since: now().Add(2 * time.Hour)}, 0, ""},
		"another organisation's":  {event.Replaying{WebhookID: other.ID, Since: now()}, 0, fault.NotFound},
		"a delivery of another's": {event.Replaying{DeliveryID: o.scalar(`SELECT delivery_id FROM accounts.webhook_deliveries WHERE org_id = 'org_2'`)}, 0, fault.NotFound},
		"one delivery":            {event.Replaying{DeliveryID: o.scalar(`SELECT delivery_id FROM accounts.webhook_deliveries WHERE org_id = 'org_1' LIMIT 1`)}, 1, ""},
	} {
		n, err := replay(c.r)
		if n != c.want || (c.code == "") != (err == nil) || (err != nil && !fault.Is(err, c.code)) {
			t.Errorf("%s: %d, %v; want %d %s", name, n, err, c.want, c.code)
		}
	}
	if got := o.scalar(`SELECT count(*)::text FROM accounts.webhook_deliveries`); got != "3" {
		t.Errorf("%s deliveries; want those that there were, again", got)
	}
	if n := len(o.lease(now(), 9)); n != 2 {
		t.Errorf("%d are due", n)
	}
}

func TestAnOrganisationHasAFewWebhooks(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	for range event.MaxWebhooks - 1 {
		o.hook("org_1", "*")
	}
	var group sync.WaitGroup
	codes := make([]error, 4)
	for i := range codes {
		w := event.Webhook{OrgID: "org_1", ID: id.New(id.Webhook), URL: "https://example.com", Events: []string{"*"}, Secret: "s", CreatedBy: "k", CreatedAt: now(), UpdatedAt: now()}
		group.Go(func() {
			codes[i] = o.webhooks.CreateWebhook(context.WithoutCancel(t.Context()), w, o.record("org_1", "webhook.create", w.ID))
		})
	}
	group.Wait()
	made := 0
	for _, err := range codes {
		switch {
		case err == nil:
			made++
		case !fault.Is(err, fault.Conflict):
			t.Error(err)
		}
	}
	if made != 1 || o.scalar(`SELECT count(*)::text FROM accounts.webhooks`) != strconv.Itoa(event.MaxWebhooks) {
		t.Errorf("%d of four at once found room for the last", made)
	}
}

func TestOldEventsGo(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	o.hook("org_1", "*")
	old, recent := happened("org_1", "key.created"), happened("org_1", "key.created")
	old.At = now().Add(-event.Kept - time.Second)
	o.publish(old, recent)
	d := event.Dispatcher{Log: o.events, Now: now}
	counts, err := d.Prune(t.Context())
	if err != nil || counts["events"] != 1 {
		t.Errorf("%v, %v", counts, err)
	}
	if got := o.scalar(`SELECT string_agg(event_id, ',') FROM accounts.webhook_deliveries`); !strings.Contains(got, recent.ID) || strings.Contains(got, old.ID) {
		t.Errorf("deliveries of %s are left", got)
	}
}

// repeat is so many of an event.
func repeat(n int, org, kind string) (list []event.Event) {
	for range n {
		list = append(list, happened(org, kind))
	}
	return list
}

func perOrg(list []event.Lease) map[string]int {
	out := map[string]int{}
	for _, l := range list {
		out[l.OrgID]++
	}
	return out
}

// An organisation with as many webhooks as it may have, an old backlog at each, has
// its quarter; whoever comes later has the next turn.
func TestAnOrganisationHasItsShare(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	for range event.MaxWebhooks {
		o.hook("org_1", "*")
	}
	o.publish(repeat(10, "org_1", "key.created")...)
	postgrestest.Exec(t, o.url, `UPDATE accounts.webhook_deliveries SET next_at = next_at - interval '1 hour'`)
	first := o.lease(now(), 64)
	hooks := map[string]bool{}
	for _, l := range first {
		hooks[l.WebhookID] = true
	}
	if len(first) != 16 || len(hooks) != 16 {
		t.Fatalf("leased %d of %d webhooks; want one of each of 16", len(first), len(hooks))
	}
	if again := o.lease(now(), 64); len(again) != 0 {
		t.Errorf("%d more while a quarter is under way", len(again))
	}
	o.hook("org_2", "*")
	o.publish(repeat(9, "org_2", "key.created")...)
	for _, l := range first[:6] {
		if !o.settle(l, now(), nil) {
			t.Error("it is not told that there is more")
		}
	}
	// org_1 has ten under way and much that is older; org_2 has its first four turns.
	if got := perOrg(o.lease(now(), 4)); got["org_2"] != 4 {
		t.Errorf("leased %v; want who has nothing under way first", got)
	}
	if got := perOrg(o.lease(now(), 64)); got["org_1"] != 6 || len(got) != 1 {
		t.Errorf("leased %v; want what was freed", got)
	}
	if late := perOrg(o.lease(now().Add(21*time.Second), 64)); late["org_1"] != 16 || late["org_2"] != 4 {
		t.Errorf("after the leases ended: %v", late)
	}
}

// Two processes that lease at once do not both fill an organisation's share.
func TestTheShareIsOfAllProcesses(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	for range event.MaxWebhooks {
		o.hook("org_1", "*")
	}
	o.publish(repeat(10, "org_1", "key.created")...)
	var group sync.WaitGroup
	var total [6]int
	for i := range total {
		events := postgres.NewEvents(openDB(t, o.url, postgres.RoleNotifier))
		group.Go(func() {
			list, err := events.Lease(t.Context(), event.Leasing{At: now(), Until: now().Add(time.Minute), Most: 5, MostOfOne: 16})
			if err != nil {
				t.Error(err)
			}
			total[i] = len(list)
		})
	}
	group.Wait()
	if sum := total[0] + total[1] + total[2] + total[3] + total[4] + total[5]; sum != 16 {
		t.Errorf("leased %v; want 16 together", total)
	}
}

func TestASlowWebhookGetsOneAtATime(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	o.hook("org_1", "*")
	o.publish(repeat(30, "org_1", "key.created")...)
	slow := func(s *event.Settlement) { s.Slow = true }
	for _, l := range o.lease(now(), 64) {
		o.settle(l, now(), slow)
	}
	next := o.lease(now(), 64)
	if len(next) != 1 {
		t.Fatalf("%d of one that is slow; want one at a time", len(next))
	}
	o.settle(next[0], now(), nil)
	if got := len(o.lease(now(), 64)); got != 4 {
		t.Errorf("%d after a quick answer; want four again", got)
	}
}

// Who is not served is told so, and hears the rest when it is served again.
func TestASuspendedOrganisationHearsOfThatOnly(t *testing.T) {
	t.Parallel()
	for _, status := range []string{"suspended", "closed"} {
		t.Run(status, func(t *testing.T) {
			t.Parallel()
			o := openOffice(t)
			o.hook("org_1", "*")
			o.hook("org_2", "*")
			o.publish(happened("org_1", "key.created"), happened("org_2", "key.created"))
			postgrestest.Exec(t, o.url, `UPDATE accounts.organizations SET status = '`+status+`' WHERE org_id = 'org_1'; UPDATE accounts.organizations SET status = 'trial' WHERE org_id = 'org_2'`)
			o.publish(happened("org_1", "organization."+status), happened("org_1", "key.revoked"))
			kinds := func() string {
				var list []string
				for _, l := range o.lease(now(), 64) {
					list = append(list, l.OrgID+" "+strings.TrimSuffix(strings.TrimPrefix(string(l.Payload), `{"type":"`), `"}`))
				}
				slices.Sort(list)
				return strings.Join(list, ",")
			}
			if got := kinds(); got != "org_1 organization."+status+",org_2 key.created" {
				t.Errorf("leased %s", got)
			}
			postgrestest.Exec(t, o.url, `UPDATE accounts.organizations SET status = 'active'`)
			want := map[string]string{"suspended": "org_1 key.created,org_1 key.revoked", "closed": ""}[status]
			if got := kinds(); got != want {
				t.Errorf("active again: %q; want %q", got, want)
			}
			if status == "closed" {
				if got := o.scalar(`SELECT error FROM accounts.webhook_deliveries WHERE org_id = 'org_1' AND status = 'failed'`); got != event.WhyClosed {
					t.Errorf("what waited: %q", got)
				}
			}
		})
	}
}

func TestWhatASuspendedOrganisationMissesIsGivenUp(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	o.hook("org_1", "*")
	o.hook("org_2", "*")
	o.publish(happened("org_1", "key.created"), happened("org_2", "key.created"))
	postgrestest.Exec(t, o.url, `UPDATE accounts.organizations SET status = 'suspended' WHERE org_id = 'org_1'`)
	failed := func(after time.Duration) string {
		d := event.Dispatcher{Log: o.events, Now: func() time.Time { return now().Add(after) }}
		if _, err := d.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		return o.scalar(`SELECT coalesce(string_agg(org_id || ' ' || error, ','), '') FROM accounts.webhook_deliveries WHERE status = 'failed'`)
	}
	if got := failed(72 * time.Hour); got != "" {
		t.Errorf("within three days: %s", got)
	}
	if got := failed(72*time.Hour + time.Second); got != "org_1 "+event.WhySuspended {
		t.Errorf("after three days: %s", got)
	}
}

func TestALegalHoldKeepsEvents(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	o.hook("org_1", "*")
	o.hook("org_2", "*")
	o.publish(happened("org_1", "key.created"), happened("org_2", "key.created"))
	for _, l := range o.lease(now(), 9) {
		o.settle(l, now(), nil)
	}
	postgrestest.Exec(t, o.url, `UPDATE accounts.organizations SET legal_hold = true WHERE org_id = 'org_1'`)
	d := event.Dispatcher{Log: o.events, Now: func() time.Time { return now().Add(event.Kept + time.Second) }}
	if counts, err := d.Prune(t.Context()); err != nil || counts["events"] != 1 {
		t.Errorf("%v, %v", counts, err)
	}
	if got := o.scalar(`SELECT string_agg(e.org_id, ',') FROM accounts.events e JOIN accounts.webhook_deliveries d USING (org_id, event_id) JOIN accounts.webhook_attempts a USING (org_id, delivery_id)`); got != "org_1" {
		t.Errorf("kept of %s; want of the one under legal hold", got)
	}
}

// What is asked for beyond the quota is refused until the first of it is an hour old.
func TestTestsAndReplaysHaveAQuota(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	w := o.hook("org_1", "key.*")
	o.publish(happened("org_1", "key.created"))
	delivery := o.scalar(`SELECT delivery_id FROM accounts.webhook_deliveries`)
	replaying := func(r event.Replaying, q event.Quota) error {
		r.OrgID, r.At, r.Most, r.Quota = "org_1", q.Now, 100, q
		r.Record = func(webhookID string, _ int) audit.Record {
			rec := o.record("org_1", "webhook.replay", webhookID)
			if rec.At = q.Now; r.DeliveryID != "" {
				rec.Detail["delivery_id"] = r.DeliveryID
			}
			return rec
		}
		_, err := o.webhooks.Replay(context.WithoutCancel(t.Context()), r)
		return err
	}
	for name, ask := range map[string]func(event.Quota) error{
		"tests": func(q event.Quota) error {
			rec := o.record("org_1", "webhook.test", w.ID)
			rec.At = q.Now
			return o.webhooks.RecordTest(context.WithoutCancel(t.Context()), "org_1", w.ID, q, rec)
		},
		"replays":             func(q event.Quota) error { return replaying(event.Replaying{WebhookID: w.ID}, q) },
		"single redeliveries": func(q event.Quota) error { return replaying(event.Replaying{DeliveryID: delivery}, q) },
	} {
		at := func(after time.Duration) event.Quota {
			return event.Quota{Most: 3, Since: now().Add(after - time.Hour), Now: now().Add(after)}
		}
		var group sync.WaitGroup
		var mu sync.Mutex
		done := 0
		for range 6 {
			group.Go(func() {
				err := ask(at(0))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					done++
				case !fault.Is(err, fault.RateLimited) || fault.From(err).RetryAfter != time.Hour:
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		group.Wait()
		if done != 3 {
			t.Errorf("%s: %d of six at once; want three", name, done)
		}
		if err := ask(at(45 * time.Minute)); !fault.Is(err, fault.RateLimited) || fault.From(err).RetryAfter != 15*time.Minute {
			t.Errorf("%s, within the hour: %v", name, err)
		}
		if err := ask(at(time.Hour)); err != nil {
			t.Errorf("%s, after an hour: %v", name, err)
		}
	}
}
