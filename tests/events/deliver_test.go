package events_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aiaas/aiaas/tests/harness"
)

func eventsArriveSigned(t *testing.T, p *platform) {
	r := receive(t, nil)
	w := p.webhook(t, r.URL+"/hooks", "key.*")
	keyID, key := p.CreateKey(t, harness.Limits{}, "inference")
	m := r.wait("key.created", 1)[0]
	if err := m.verify(w.Secret); err != nil || !strings.HasPrefix(w.Secret, "whsec_") {
		t.Errorf("signature %q by %q: %v", m.Signature, w.Secret, err)
	}
	if m.Data.Object.ID != keyID || m.Data.Object.Kind != "api_key" || m.Data.OrganizationID != p.OrganizationID || m.Data.EventID != m.ID || m.Data.Actor == "" || m.Data.RequestID == "" {
		t.Errorf("event %+v; want it of %s", m.Data, keyID)
	}
	if bytes.Contains(m.body, []byte(key)) {
		t.Errorf("the event has the key's secret: %s", m.body)
	}
	p.RevokeKey(t, keyID)
	if got := r.wait("key.revoked", 1)[0]; got.Data.Object.ID != keyID || got.ID == m.ID {
		t.Errorf("event %+v; want another, of the same key", got.Data)
	}
	d := p.settled(t, w, "succeeded")
	if len(d.Attempts) != 1 || d.Attempts[0].StatusCode == nil || *d.Attempts[0].StatusCode != http.StatusOK || d.EventType != "key.revoked" {
		t.Errorf("delivery %+v; want one attempt that went well", d)
	}
	var list struct {
		Data []struct{ ID, Type string }
	}
	p.get(t, "/v1/events?type=key.created,key.revoked", &list)
	if len(list.Data) < 2 || list.Data[0].Type != "key.revoked" || list.Data[1].ID != m.ID {
		t.Errorf("the log has %+v; want the newest first, under the ids that were sent", list.Data)
	}
	for _, m := range r.messages() {
		if !strings.HasPrefix(m.Type, "key.") {
			t.Errorf("a webhook for keys got %s", m.Type)
		}
	}
}

// Whatever the moment of the kill, what was answered 201 is told of.
func TestAKillLosesNoEvent(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{})
	r := receive(t, nil)
	w := p.webhook(t, r.URL, "key.created")
	made := map[string]bool{}
	for range 4 {
		id, _ := p.CreateKey(t, harness.Limits{}, "inference")
		made[id] = true
		p.Kill(t)
		p.Restart(t)
	}
	harness.Eventually(t, "an event of each key", func() (bool, string) {
		told := map[string]string{}
		for _, m := range r.messages() {
			if before, again := told[m.Data.Object.ID]; again && before != m.ID {
				t.Fatalf("two events tell of %s: %s and %s", m.Data.Object.ID, before, m.ID)
			}
			if made[m.Data.Object.ID] {
				told[m.Data.Object.ID] = m.ID
			}
		}
		return len(told) == len(made), fmt.Sprintf("%d of %d", len(told), len(made))
	})
	for _, m := range r.messages() {
		if err := m.verify(w.Secret); err != nil {
			t.Error(err)
		}
	}
}

func aReceiverThatFailsIsTriedAgainUnderTheSameID(t *testing.T, p *platform) {
	r := receive(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, "out of order\x00"+strings.Repeat("x", 10_000))
		}
	})
	w := p.webhook(t, r.URL, "key.created")
	p.CreateKey(t, harness.Limits{}, "inference")
	got := r.wait("key.created", 2)
	if got[0].ID != got[1].ID || !bytes.Equal(got[0].body, got[1].body) {
		t.Errorf("the second attempt is %s %s; want %s again", got[1].ID, got[1].body, got[0].ID)
	}
	if err := got[1].verify(w.Secret); err != nil {
		t.Error(err)
	}
	d := p.settled(t, w, "succeeded")
	if len(d.Attempts) != 2 || *d.Attempts[0].StatusCode != 500 || !strings.HasPrefix(d.Attempts[0].Response, "out of orderx") || len(d.Attempts[0].Response) > 2048 {
		t.Errorf("attempts %+v; want what the receiver said, cut", d.Attempts)
	}
	var after webhook
	p.get(t, "/v1/webhooks/"+w.ID, &after)
	if after.FailingSince != nil {
		t.Errorf("it is failing since %s; want it forgotten", after.FailingSince)
	}
}

// One receiver hangs; the other hears of everything meanwhile.
func aSlowReceiverDelaysNobody(t *testing.T, p *platform) {
	hold := make(chan struct{})
	slow := receive(t, func(_ int, _ http.ResponseWriter, r *http.Request) {
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	})
	defer close(hold)
	quick := receive(t, nil)
	slowHook, quickHook := p.webhook(t, slow.URL, "key.created"), p.webhook(t, quick.URL, "key.created")
	p.CreateKey(t, harness.Limits{}, "inference")
	slow.wait("key.created", 1)
	for n := range 12 {
		p.CreateKey(t, harness.Limits{}, "inference")
		quick.wait("key.created", n+2)
	}
	p.settled(t, quickHook, "succeeded")
	if n := len(slow.messages()); n > 8 {
		t.Errorf("%d requests were sent to a receiver that answers none", n)
	}
	for _, d := range p.deliveries(t, slowHook) {
		if d.Status == "succeeded" {
			t.Errorf("delivery %+v of the slow one", d)
		}
	}
}

// An organisation has as many webhooks as it may, all of which take their time, and
// much to be delivered; another hears of everything meanwhile.
func aSlowOrganizationDelaysNoOther(t *testing.T, p *platform) {
	hold := make(chan struct{})
	var busy, most atomic.Int64
	slow := receive(t, func(_ int, _ http.ResponseWriter, r *http.Request) {
		for n := busy.Add(1); ; {
			if seen := most.Load(); n <= seen || most.CompareAndSwap(seen, n) {
				break
			}
		}
		defer busy.Add(-1)
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	})
	for range 20 {
		p.webhook(t, slow.URL, "key.created")
	}
	for range 8 {
		p.CreateKey(t, harness.Limits{}, "inference")
	}
	harness.Eventually(t, "the slow ones have their share", func() (bool, string) { n := most.Load(); return n >= 16, fmt.Sprint(n) })

	var made struct {
		Key struct{ Key string }
	}
	p.Manage(t, harness.Call{Path: "/v1/organizations", Key: p.PlatformKey, Body: `{"name":"Example","owner":{"email":"ada@example.com"}}`}, http.StatusCreated, &made)
	quick := receive(t, nil)
	body := encode(t, map[string]any{"url": quick.URL, "events": []string{"webhook.*"}})
	p.Manage(t, harness.Call{Path: "/v1/webhooks", Key: made.Key.Key, Body: body}, http.StatusCreated, nil)
	for n := range 5 {
		p.Manage(t, harness.Call{Path: "/v1/webhooks", Key: made.Key.Key, Body: body}, http.StatusCreated, nil)
		quick.wait("webhook.created", n+1)
	}
	if n := most.Load(); n > 16 {
		t.Errorf("%d requests of one organization were under way", n)
	}
	close(hold)
}

// What a fast receiver has answered makes room for more at once: it does not wait
// for the next run of the job.
func aFastReceiverIsKeptBusy(t *testing.T, p *platform) {
	const events = 400
	r := receive(t, nil)
	p.webhook(t, r.URL, "budget.*")
	runs := func() int64 {
		return p.Database().Int(t, `SELECT runs FROM accounts.jobs WHERE function = 'notifications' AND job = 'deliver'`)
	}
	before, begun := runs(), time.Now()
	p.Database().Exec(t, fmt.Sprintf(`INSERT INTO accounts.outbox (org_id, event_id, type, at, object, payload)
		SELECT '%s', 'evt_' || lpad(i::text, 32, '0'), 'budget.changed', now(), 'bud', '{"type":"budget.changed"}' FROM generate_series(1, %d) i`, p.OrganizationID, events))
	got := map[string]bool{}
	for _, m := range r.wait("budget.changed", events) {
		got[m.ID] = true
	}
	t.Logf("%d deliveries in %s", events, time.Since(begun))
	if len(got) != events {
		t.Errorf("%d of %d events came", len(got), events)
	}
	if n := runs() - before; n > events/8 {
		t.Errorf("%d deliveries took %d runs of the job; want many by each", events, n)
	}
}

func aReceiverThatWantsNoMoreGetsNoMore(t *testing.T, p *platform) {
	leaving := receive(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) })
	watching := receive(t, nil)
	w := p.webhook(t, leaving.URL, "key.created")
	p.webhook(t, watching.URL, "webhook.disabled")
	p.CreateKey(t, harness.Limits{}, "inference")
	if m := watching.wait("webhook.disabled", 1)[0]; m.Data.Object.ID != w.ID || fmt.Sprint(m.Data.Detail["reason"]) == "" {
		t.Errorf("event %+v; want it of %s, with a reason", m.Data, w.ID)
	}
	p.get(t, "/v1/webhooks/"+w.ID, &w)
	if w.Enabled || w.DisabledReason == nil {
		t.Errorf("the webhook is %+v; want it disabled", w)
	}
	p.CreateKey(t, harness.Limits{}, "inference")
	p.Manage(t, harness.Call{Path: "/v1/webhooks/" + w.ID + "/replay", Key: p.AdminKey, Body: `{"since":"2020-01-01T00:00:00Z"}`}, http.StatusConflict, nil)
	if n := len(leaving.messages()); n != 1 {
		t.Errorf("it got %d requests", n)
	}
}

func replay(t *testing.T, p *platform) {
	early, _ := p.CreateKey(t, harness.Limits{}, "inference")
	harness.Eventually(t, "the log has it", func() (bool, string) {
		var list struct {
			Data []struct {
				Data struct{ Object struct{ ID string } }
			}
		}
		p.get(t, "/v1/events?type=key.created&limit=1", &list)
		return len(list.Data) == 1 && list.Data[0].Data.Object.ID == early, fmt.Sprintf("%+v", list)
	})
	r := receive(t, nil)
	w := p.webhook(t, r.URL, "key.created")
	keyID, _ := p.CreateKey(t, harness.Limits{}, "inference")
	first := r.wait("key.created", 1)[0]
	if first.Data.Object.ID != keyID {
		t.Errorf("a webhook hears of %s, which was before it", first.Data.Object.ID)
	}
	var done struct{ Deliveries int }
	p.Manage(t, harness.Call{Path: "/v1/webhooks/" + w.ID + "/replay", Key: p.AdminKey, Body: `{"since":"2020-01-01T00:00:00Z"}`}, http.StatusAccepted, &done)
	all := r.wait("key.created", 1+done.Deliveries)
	seen := map[string]int{}
	for _, m := range all {
		seen[m.Data.Object.ID]++
	}
	if done.Deliveries < 2 || seen[early] != 1 || seen[keyID] != 2 {
		t.Errorf("%d are replayed: %v; want all that the log has, those that were delivered too", done.Deliveries, seen)
	}
	d := p.settled(t, w, "succeeded")
	p.Manage(t, harness.Call{Path: "/v1/webhook-deliveries/" + d.ID + "/replay", Key: p.AdminKey}, http.StatusAccepted, nil)
	again := r.wait("key.created", 2+done.Deliveries)
	if last := again[len(again)-1]; last.ID != d.EventID {
		t.Errorf("%s came again; want %s", last.ID, d.EventID)
	}
	p.Manage(t, harness.Call{Path: "/v1/webhook-deliveries/dlv_0199c0b2f3a47c1e8d6a5b4c3d2e1f00/replay", Key: p.AdminKey}, http.StatusNotFound, nil)
}

func bothSecretsSignWhileTheyOverlap(t *testing.T, p *platform) {
	r := receive(t, nil)
	w := p.webhook(t, r.URL, "budget.*")
	test := func() message {
		t.Helper()
		var sent struct {
			EventID string `json:"event_id"`
		}
		n := len(r.messages())
		p.Manage(t, harness.Call{Path: "/v1/webhooks/" + w.ID + "/test", Key: p.AdminKey}, http.StatusAccepted, &sent)
		m := r.wait("webhook.test", n+1)[n]
		if m.ID != sent.EventID || m.Data.Object.ID != w.ID {
			t.Errorf("test event %+v; want %s of %s", m, sent.EventID, w.ID)
		}
		return m
	}
	rotate := func(body string) webhook {
		t.Helper()
		var out webhook
		p.Manage(t, harness.Call{Path: "/v1/webhooks/" + w.ID + "/rotate-secret", Key: p.AdminKey, Body: body}, http.StatusOK, &out)
		return out
	}
	second := rotate(`{}`)
	m := test()
	if errOld, errNew := m.verify(w.Secret), m.verify(second.Secret); errOld != nil || errNew != nil || second.Secret == w.Secret {
		t.Errorf("during the overlap: old %v, new %v", errOld, errNew)
	}
	third := rotate(`{"overlap_seconds":0}`)
	m = test()
	if m.verify(w.Secret) == nil || m.verify(second.Secret) == nil || m.verify(third.Secret) != nil {
		t.Errorf("without an overlap %q is not signed by the newest alone", m.Signature)
	}
	// A new host gets the same secrets, sealed anew.
	elsewhere := receive(t, nil)
	p.Manage(t, harness.Call{Method: http.MethodPatch, Path: "/v1/webhooks/" + w.ID, Key: p.AdminKey, Body: encode(t, map[string]any{"url": elsewhere.URL})}, http.StatusOK, nil)
	p.Manage(t, harness.Call{Path: "/v1/webhooks/" + w.ID + "/test", Key: p.AdminKey}, http.StatusAccepted, nil)
	if err := elsewhere.wait("webhook.test", 1)[0].verify(third.Secret); err != nil {
		t.Errorf("at its new address: %v", err)
	}
}

func aDisabledWebhookHearsOfTestsOnly(t *testing.T, p *platform) {
	off, on := receive(t, nil), receive(t, nil)
	w := p.webhook(t, off.URL, "*")
	p.webhook(t, on.URL, "key.created")
	p.Manage(t, harness.Call{Method: http.MethodPatch, Path: "/v1/webhooks/" + w.ID, Key: p.AdminKey, Body: `{"enabled":false}`}, http.StatusOK, nil)
	p.CreateKey(t, harness.Limits{}, "inference")
	on.wait("key.created", 1)
	p.Manage(t, harness.Call{Path: "/v1/webhooks/" + w.ID + "/test", Key: p.AdminKey}, http.StatusAccepted, nil)
	off.wait("webhook.test", 1)
	for _, m := range off.messages() {
		if m.Type == "key.created" {
			t.Error("a disabled webhook heard of a key")
		}
	}
}

// A webhook leads nowhere inside, whatever its address is and whoever made it.
func TestWebhooksReachNoPrivatePlace(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{Env: map[string]string{"AIAAS_ADDR": "0.0.0.0:0"}})
	r := receive(t, nil)
	port := r.URL[strings.LastIndex(r.URL, ":"):]
	for _, url := range []string{
		"http://127.0.0.1" + port, "https://127.0.0.1" + port, "https://localhost" + port, "https://0x7f.1" + port, "https://2130706433" + port,
		"https://[::1]" + port, "https://[::ffff:127.0.0.1]" + port, "https://169.254.169.254/latest/meta-data", "https://10.0.0.1", "http://example.com/",
		"ftp://example.com", "https://user:password@example.com", "https://%31%32%37.0.0.1" + port, "https://127。0。0。1", "https://[fe80::1%25eth0]/", "", "https://",
	} {
		a := p.Do(context.WithoutCancel(t.Context()), harness.Call{Path: "/v1/webhooks", Key: p.AdminKey, Body: encode(t, map[string]any{"url": url, "events": []string{"*"}})})
		if a.Status != http.StatusUnprocessableEntity {
			t.Errorf("%q: %s; want it refused", url, a)
		}
	}
}

// What an address leads to is looked at whenever it is dialled: here the operator has
// listed the network no more.
func TestAnAddressThatMayNotBeDialledIsNot(t *testing.T) {
	t.Parallel()
	before := start(t, harness.Options{Env: map[string]string{"AIAAS_ADDR": "0.0.0.0:0", "AIAAS_WEBHOOK_NETWORKS": "127.0.0.0/8"}})
	r := receive(t, nil)
	w := before.webhook(t, r.URL, "key.created")
	before.CreateKey(t, harness.Limits{}, "inference")
	r.wait("key.created", 1)
	before.Stop(t)
	p := start(t, harness.Options{DataDir: before.DataDir, Env: map[string]string{"AIAAS_ADDR": "0.0.0.0:0"}})
	p.CreateKey(t, harness.Limits{}, "inference")
	harness.Eventually(t, "an attempt", func() (bool, string) {
		list := p.deliveries(t, w)
		refused := len(list) == 2 && len(list[0].Attempts) > 0 && strings.HasPrefix(list[0].Attempts[0].Error, "The address may not be connected to")
		return refused, fmt.Sprintf("%+v", list)
	})
	if n := len(r.messages()); n != 1 {
		t.Errorf("%d requests came through", n)
	}
}
