package event_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func at() time.Time { return time.Date(2026, 10, 12, 9, 0, 0, 0, time.UTC) }

func record(action string, detail map[string]any) audit.Record {
	return audit.Record{
		OrgID: "org_1", ID: "aud_0199c0b2f3a47c1e8d6a5b4c3d2e1f00", At: at(), Actor: "key_9", Action: action, Target: "key_1",
		Detail: detail, RequestID: "req_1",
	}
}

func TestAnEventSaysWhatTheRecordSays(t *testing.T) {
	e, ok, err := event.Of(record("key.create", map[string]any{"name": "CI", "scopes": []string{"inference"}, "hash": "not named by the catalogue"}))
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if e.ID != "evt_0199c0b2f3a47c1e8d6a5b4c3d2e1f00" || e.OrgID != "org_1" || e.Type != "key.created" || e.Object != "key_1" || !e.At.Equal(at()) {
		t.Errorf("event %+v", e)
	}
	const want = `{"type":"key.created","timestamp":"2026-10-12T09:00:00Z","data":{"event_id":"evt_0199c0b2f3a47c1e8d6a5b4c3d2e1f00",` +
		`"organization_id":"org_1","object":{"kind":"api_key","id":"key_1"},"actor":"key_9","request_id":"req_1","detail":{"name":"CI","scopes":["inference"]}}}`
	if string(e.Payload) != want {
		t.Errorf("payload %s\nwant %s", e.Payload, want)
	}
}

func TestWhichRecordsAreEvents(t *testing.T) {
	denied := record("key.create", nil)
	denied.Outcome = audit.Denied
	for name, c := range map[string]struct {
		rec  audit.Record
		want string // the type; "" for none
	}{
		"a change":                     {record("key.revoke", nil), "key.revoked"},
		"one that was refused":         {denied, ""},
		"one that nobody is told of":   {record("invoice.draft", nil), ""},
		"one that nobody knows":        {record("nobody.knows", nil), ""},
		"a model that is disabled":     {record("model.update", map[string]any{"disabled": true}), "model.disabled"},
		"a model that is enabled":      {record("model.update", map[string]any{"disabled": false}), "model.enabled"},
		"a model that changes besides": {record("model.update", map[string]any{"restricted": true}), "model.updated"},
		"no details":                   {record("budget.delete", nil), "budget.deleted"},
	} {
		e, ok, err := event.Of(c.rec)
		if err != nil || ok != (c.want != "") || e.Type != c.want {
			t.Errorf("%s: %q, %t, %v; want %q", name, e.Type, ok, err, c.want)
		}
	}
}

func TestAnEventHasABoundedSize(t *testing.T) {
	e, _, err := event.Of(record("key.create", map[string]any{"name": strings.Repeat("x", 1<<20)}))
	var p struct {
		Data struct{ Detail map[string]any }
	}
	if err != nil || json.Unmarshal(e.Payload, &p) != nil || len(e.Payload) > 1024 || p.Data.Detail["left_out"] == nil {
		t.Errorf("%d bytes, %v: %v", len(e.Payload), err, p)
	}
	if _, _, err := event.Of(record("key.create", map[string]any{"name": func() {}})); err == nil {
		t.Error("what is no JSON became an event")
	}
}

func TestWhatAWebhookTakes(t *testing.T) {
	for _, c := range []struct {
		events []string
		kind   string
		want   bool
	}{
		{[]string{"*"}, "key.created", true},
		{[]string{"key.*"}, "key.created", true},
		{[]string{"key.*"}, "keys.created", false},
		{[]string{"key.created"}, "key.created", true},
		{[]string{"key.created"}, "key.revoked", false},
		{[]string{"budget.*", "key.revoked"}, "key.revoked", true},
		{[]string{"key"}, "key.created", false},
		{nil, "key.created", false},
	} {
		if got := (event.Webhook{Events: c.events}).Takes(c.kind); got != c.want {
			t.Errorf("%v takes %s: %t", c.events, c.kind, got)
		}
	}
}

// line is a queue of one lease, which keeps how it was settled.
type line struct {
	mu      sync.Mutex
	lease   event.Lease
	left    int
	most    int // at once; 0: as many as are asked for
	asked   int // how often
	settled []event.Settlement
	told    chan struct{} // may be nil
}

func (q *line) Lease(_ context.Context, a event.Leasing) ([]event.Lease, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []event.Lease
	q.asked++
	for q.left > 0 && len(out) < a.Most && (q.most == 0 || len(out) < q.most) {
		q.left--
		l := q.lease
		l.Until = a.Until
		out = append(out, l)
	}
	return out, nil
}

func (q *line) Settle(_ context.Context, s event.Settlement) (bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.settled = append(q.settled, s)
	if q.told != nil {
		q.told <- struct{}{}
	}
	return q.left > 0, nil
}

type post func(context.Context, event.Posting) event.Attempt

func (p post) Post(ctx context.Context, x event.Posting) event.Attempt { return p(ctx, x) }

// vault opens what is "sealed for <host>".
type vault struct{}

func (vault) Seal(plain, host string) (string, error) { return plain + "@" + host, nil }

func (vault) Open(sealed, host string) (string, error) {
	plain, ok := strings.CutSuffix(sealed, "@"+host)
	if !ok {
		return "", errors.New("sealed for another host")
	}
	return plain, nil
}

func deliverer(t *testing.T, q *line, p post, change func(*event.DelivererConfig)) *event.Deliverer {
	t.Helper()
	c := event.DelivererConfig{
		Queue: q, Poster: p, Vault: vault{}, Now: at, Random: func() float64 { return 0.5 }, Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&c)
	}
	d := event.NewDeliverer(t.Context(), c)
	t.Cleanup(func() { _ = d.Finish(context.WithoutCancel(t.Context())) })
	return d
}

func TestWhatAnAttemptLeadsTo(t *testing.T) {
	lease := func(try int) event.Lease {
		return event.Lease{OrgID: "org_1", DeliveryID: "dlv_1", WebhookID: "wh_1", EventID: "evt_1", URL: "https://example.com/x", Secret: "s@example.com", Try: try}
	}
	failed := func(code int) event.Attempt { return event.Attempt{Code: code, Error: "it failed"} }
	for name, c := range map[string]struct {
		try     int
		attempt event.Attempt
		status  event.Status
		wait    time.Duration
	}{
		"200":                      {1, event.Attempt{Code: 200}, event.Succeeded, 0},
		"204":                      {3, event.Attempt{Code: 204}, event.Succeeded, 0},
		"the first failure":        {1, failed(500), event.Pending, 2 * time.Second},
		"no answer at all":         {2, failed(0), event.Pending, 10 * time.Second},
		"a redirect":               {1, failed(302), event.Pending, 2 * time.Second},
		"404":                      {5, failed(404), event.Pending, 15 * time.Minute},
		"the thirteenth failure":   {13, failed(500), event.Pending, 24 * time.Hour},
		"the fourteenth, the last": {14, failed(500), event.Failed, 0},
		"410":                      {1, failed(410), event.Failed, 0},
		"asked to wait longer":     {1, event.Attempt{Code: 429, RetryAfter: time.Hour}, event.Pending, time.Hour},
		"asked to wait less":       {6, event.Attempt{Code: 503, RetryAfter: time.Second}, event.Pending, 30 * time.Minute},
		"asked to wait for ever":   {1, event.Attempt{Code: 503, RetryAfter: 1e6 * time.Hour}, event.Pending, 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			q := &line{lease: lease(c.try), left: 1}
			d := deliverer(t, q, func(context.Context, event.Posting) event.Attempt { return c.attempt }, nil)
			if counts, err := d.Deliver(t.Context()); err != nil || counts["attempts"] != 1 || len(q.settled) != 1 {
				t.Fatalf("%v, %v; settled %d times", counts, err, len(q.settled))
			}
			s := q.settled[0]
			if s.Status != c.status || (c.status == event.Failed) != (s.Error != "") {
				t.Errorf("%s %q; want %s", s.Status, s.Error, c.status)
			}
			if c.wait != 0 && s.NextAt.Sub(at()) != c.wait {
				t.Errorf("next in %s; want %s", s.NextAt.Sub(at()), c.wait)
			}
		})
	}
}

func TestAttemptsSpreadAndSumUpToThreeDays(t *testing.T) {
	var total [2]time.Duration
	for n, random := range []float64{0, 0.999} {
		for try := 1; try <= 13; try++ {
			q := &line{lease: event.Lease{URL: "https://example.com", Secret: "s@example.com", Try: try}, left: 1}
			d := deliverer(t, q, func(context.Context, event.Posting) event.Attempt { return event.Attempt{Code: 500} },
				func(c *event.DelivererConfig) { c.Random = func() float64 { return random } })
			if _, err := d.Deliver(t.Context()); err != nil {
				t.Fatal(err)
			}
			total[n] += q.settled[0].NextAt.Sub(at())
		}
	}
	if total[0] < 54*time.Hour || total[1] > 90*time.Hour || total[0] >= total[1] {
		t.Errorf("between %s and %s; want about three days, and a spread", total[0], total[1])
	}
}

func TestWhenAWebhookIsGivenUp(t *testing.T) {
	for name, c := range map[string]struct {
		code   int
		health event.Health
		want   bool
	}{
		"410":                           {410, event.Health{FailingSince: at(), Failures: 1}, true},
		"one failure":                   {500, event.Health{FailingSince: at(), Failures: 1}, false},
		"many failures within a day":    {500, event.Health{FailingSince: at().Add(-24 * time.Hour), Failures: 500}, false},
		"one failure long ago":          {500, event.Health{FailingSince: at().Add(-30 * 24 * time.Hour), Failures: 2}, false},
		"nothing but failures for days": {500, event.Health{FailingSince: at().Add(-5 * 24 * time.Hour), Failures: 20}, true},
		"it went well":                  {200, event.Health{}, false},
	} {
		q := &line{lease: event.Lease{OrgID: "org_1", WebhookID: "wh_1", URL: "https://example.com", Secret: "s@example.com", Try: 1}, left: 1}
		d := deliverer(t, q, func(context.Context, event.Posting) event.Attempt { return event.Attempt{Code: c.code} }, nil)
		if _, err := d.Deliver(t.Context()); err != nil {
			t.Fatal(err)
		}
		why := q.settled[0].GiveUp(c.health)
		if (why != "") != c.want {
			t.Errorf("%s: %q", name, why)
		}
		if rec := q.settled[0].Record(why); rec.Action != event.ActionDisable || rec.OrgID != "org_1" || rec.Target != "wh_1" {
			t.Errorf("%s: record %+v", name, rec)
		}
	}
}

func TestSecretsGoToTheirOwnHostOnly(t *testing.T) {
	for name, c := range map[string]struct {
		lease event.Lease
		want  []string // secrets that sign; none: nothing is posted
	}{
		"one":              {event.Lease{Secret: "new@example.com"}, []string{"new"}},
		"two overlap":      {event.Lease{Secret: "new@example.com", OldSecret: "old@example.com", OldUntil: at().Add(time.Second)}, []string{"new", "old"}},
		"the old is over":  {event.Lease{Secret: "new@example.com", OldSecret: "old@example.com", OldUntil: at()}, []string{"new"}},
		"of another host":  {event.Lease{Secret: "new@elsewhere.com"}, nil},
		"the old one's is": {event.Lease{Secret: "new@example.com", OldSecret: "old@elsewhere.com", OldUntil: at().Add(time.Second)}, nil},
	} {
		c.lease.URL, c.lease.Try = "https://EXAMPLE.com/path", 1
		q := &line{lease: c.lease, left: 1}
		var got []string
		d := deliverer(t, q, func(_ context.Context, p event.Posting) event.Attempt {
			got = p.Secrets
			return event.Attempt{Code: 200}
		}, nil)
		if _, err := d.Deliver(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, c.want) || (c.want == nil) == (q.settled[0].Status == event.Succeeded) {
			t.Errorf("%s: signed by %v, %s; want %v", name, got, q.settled[0].Status, c.want)
		}
	}
}

// Where work may go on in the background, a run does not wait for its answers; the
// end of the process does, and cuts what is left.
func TestARunDoesNotWaitForAnswers(t *testing.T) {
	q := &line{lease: event.Lease{URL: "https://example.com", Secret: "s@example.com", Try: 1}, left: 3, told: make(chan struct{}, 3)}
	hold, begun := make(chan struct{}), make(chan struct{}, 3)
	d := deliverer(t, q, func(ctx context.Context, _ event.Posting) event.Attempt {
		begun <- struct{}{}
		select {
		case <-hold:
			return event.Attempt{Code: 200}
		case <-ctx.Done():
			return event.Attempt{Error: "cut"}
		}
	}, func(c *event.DelivererConfig) { c.Background = true })
	if counts, err := d.Deliver(t.Context()); err != nil || counts["attempts"] != 3 {
		t.Fatalf("%v, %v", counts, err)
	}
	for range 3 {
		<-begun
	}
	hold <- struct{}{} // one of them is answered
	<-q.told
	ctx, cancel := context.WithCancel(t.Context())
	waited := make(chan error)
	go func() { waited <- d.Finish(ctx) }()
	cancel()
	if err := <-waited; err != nil {
		t.Error(err)
	}
	if len(q.settled) != 1 || q.settled[0].Status != event.Succeeded {
		t.Errorf("settled %+v; want the one that was answered: what was cut is tried again", q.settled)
	}
	q.left = 1
	if counts, err := d.Deliver(t.Context()); err != nil || counts["attempts"] != 0 {
		t.Errorf("after the end: %v, %v", counts, err)
	}
}

func TestNoMoreAreUnderWayThanThereIsRoomFor(t *testing.T) {
	q := &line{lease: event.Lease{URL: "https://example.com", Secret: "s@example.com", Try: 1}, left: 1000}
	hold := make(chan struct{})
	d := deliverer(t, q, func(context.Context, event.Posting) event.Attempt { <-hold; return event.Attempt{Code: 200} },
		func(c *event.DelivererConfig) { c.Background = true })
	for range 3 {
		if _, err := d.Deliver(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if begun := 1000 - q.left; begun != 64 {
		t.Errorf("%d are under way; want 64", begun)
	}
	close(hold)
}

// A fast receiver is not kept waiting for the next run: what is answered makes room.
// One that fails or is slow gets its next one with the next run.
func TestARunGoesOnByItself(t *testing.T) {
	for name, c := range map[string]struct {
		attempt event.Attempt
		want    int // attempts by one run
	}{
		"it goes well": {event.Attempt{Code: 200, Duration: 3 * time.Second}, 40},
		"it is slow":   {event.Attempt{Code: 200, Duration: 3*time.Second + 1}, 4},
		"it fails":     {event.Attempt{Code: 500}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			q := &line{lease: event.Lease{URL: "https://example.com", Secret: "s@example.com", Try: 1}, left: 40, most: 4, told: make(chan struct{}, 40)}
			d := deliverer(t, q, func(context.Context, event.Posting) event.Attempt { return c.attempt }, func(c *event.DelivererConfig) { c.Background = true })
			if _, err := d.Deliver(t.Context()); err != nil {
				t.Fatal(err)
			}
			for range c.want {
				<-q.told
			}
			if err := d.Finish(t.Context()); err != nil {
				t.Fatal(err)
			}
			if len(q.settled) != c.want || q.settled[0].Slow != (c.attempt.Duration > 3*time.Second) {
				t.Errorf("%d attempts, the first %+v; want %d", len(q.settled), q.settled[0], c.want)
			}
		})
	}
}

// A host that ends with the run gets all that is due, and nothing after its end.
func TestARunThatEndsLeasesNoMore(t *testing.T) {
	q := &line{lease: event.Lease{URL: "https://example.com", Secret: "s@example.com", Try: 1}, left: 40, most: 4}
	ctx, cancel := context.WithCancel(t.Context())
	d := deliverer(t, q, func(context.Context, event.Posting) event.Attempt { cancel(); return event.Attempt{Code: 200} }, nil)
	if counts, err := d.Deliver(ctx); err != nil || counts["attempts"] != 4 {
		t.Errorf("%v, %v; want those that were begun", counts, err)
	}
	if counts, err := d.Deliver(t.Context()); err != nil || counts["attempts"] != 36 {
		t.Errorf("%v, %v; want all that is left", counts, err)
	}
}
