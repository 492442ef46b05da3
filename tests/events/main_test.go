// Package events_test holds the promises about events to the command itself: a
// process as a user starts it, and receivers that check every signature with the
// library of Standard Webhooks.
package events_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/aiaas/aiaas/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// message is one request that a receiver got.
type message struct {
	ID        string // webhook-id
	Signature string
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      struct {
		EventID        string `json:"event_id"`
		OrganizationID string `json:"organization_id"`
		Object         struct{ Kind, ID string }
		Actor          string
		RequestID      string `json:"request_id"`
		Detail         map[string]any
	} `json:"data"`
	header http.Header
	body   []byte
}

// verify checks the message with a secret.
func (m message) verify(secret string) error {
	w, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return err
	}
	return w.Verify(m.body, m.header)
}

// receiver is a webhook's server. It keeps all that it gets.
type receiver struct {
	*httptest.Server

	t      *testing.T
	mu     sync.Mutex
	got    []message
	answer func(n int, w http.ResponseWriter, r *http.Request) // n-th request, from 1; nil: 200
}

func receive(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) *receiver {
	t.Helper()
	r := &receiver{t: t, answer: answer}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

// ServeHTTP takes a message.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	m := message{ID: req.Header.Get("webhook-id"), Signature: req.Header.Get("webhook-signature"), header: req.Header, body: body}
	if err == nil {
		err = json.Unmarshal(body, &m)
	}
	if err != nil || req.Method != http.MethodPost || req.Header.Get("Content-Type") != "application/json" {
		r.t.Errorf("received %s %s, %v: %s", req.Method, req.Header.Get("Content-Type"), err, body)
	}
	r.mu.Lock()
	r.got = append(r.got, m)
	n := len(r.got)
	r.mu.Unlock()
	if r.answer != nil {
		r.answer(n, w, req)
	}
}

func (r *receiver) messages() []message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// wait returns the messages of a type once there are so many.
func (r *receiver) wait(kind string, n int) []message {
	r.t.Helper()
	var found []message
	harness.Eventually(r.t, fmt.Sprintf("%d of %s", n, kind), func() (bool, string) {
		found = nil
		all := r.messages()
		for _, m := range all {
			if m.Type == kind {
				found = append(found, m)
			}
		}
		return len(found) >= n, fmt.Sprintf("%d of %d messages", len(found), len(all))
	})
	return found
}

// platform is a running process.
type platform struct{ *harness.Gateway }

func start(t *testing.T, o harness.Options) *platform {
	t.Helper()
	if _, elsewhere := o.Env["AIAAS_ADDR"]; !elsewhere { // the receivers are on this machine
		o.Env = map[string]string{"AIAAS_WEBHOOK_NETWORKS": "127.0.0.0/8"}
	}
	p := &platform{harness.Start(t, o)}
	harness.Eventually(t, "what the founding did is in the log", func() (bool, string) {
		n := p.Database().Int(t, `SELECT count(*) FROM accounts.outbox`)
		return n == 0, fmt.Sprint(n)
	})
	return p
}

// What one process promises; each case has webhooks of its own.
func TestDelivery(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{})
	for name, f := range map[string]func(*testing.T, *platform){
		"Events arrive signed": eventsArriveSigned,
		"A receiver that fails is tried again under the same ID": aReceiverThatFailsIsTriedAgainUnderTheSameID,
		"A slow receiver delays nobody":                          aSlowReceiverDelaysNobody,
		"A slow organization delays no other":                    aSlowOrganizationDelaysNoOther,
		"A fast receiver is kept busy":                           aFastReceiverIsKeptBusy,
		"A receiver that wants no more gets no more":             aReceiverThatWantsNoMoreGetsNoMore,
		"Replay":                                                   replay,
		"Both secrets sign while they overlap":                     bothSecretsSignWhileTheyOverlap,
		"A disabled webhook hears of tests only":                   aDisabledWebhookHearsOfTestsOnly,
		"Budget thresholds are told":                               budgetThresholdsAreTold,
		"A blocking budget reaches its last threshold by a denial": aBlockingBudgetReachesItsLastThresholdByADenial,
		"An oversized request exhausts nothing":                    anOversizedRequestExhaustsNothing,
	} {
		t.Run(name, func(t *testing.T) { f(t, p) })
	}
}

type webhook struct {
	ID, URL, Secret string
	Enabled         bool
	DisabledReason  *string    `json:"disabled_reason"`
	FailingSince    *time.Time `json:"failing_since"`
}

// webhook makes one for the organisation's own key.
func (p *platform) webhook(t *testing.T, url string, events ...string) (w webhook) {
	t.Helper()
	p.Manage(t, harness.Call{Path: "/v1/webhooks", Key: p.AdminKey, Body: encode(t, map[string]any{"url": url, "events": events})}, http.StatusCreated, &w)
	t.Cleanup(func() {
		p.Do(context.WithoutCancel(t.Context()), harness.Call{Method: http.MethodDelete, Path: "/v1/webhooks/" + w.ID, Key: p.AdminKey})
	})
	return w
}

func (p *platform) get(t *testing.T, path string, out any) {
	t.Helper()
	p.Manage(t, harness.Call{Method: http.MethodGet, Path: path, Key: p.AdminKey}, http.StatusOK, out)
}

type delivery struct {
	ID, Status, Error string
	EventID           string `json:"event_id"`
	EventType         string `json:"event_type"`
	Attempts          []struct {
		StatusCode *int `json:"status_code"`
		Error      string
		Response   string
	}
}

func (p *platform) deliveries(t *testing.T, w webhook) []delivery {
	t.Helper()
	var list struct{ Data []delivery }
	p.get(t, "/v1/webhooks/"+w.ID+"/deliveries", &list)
	return list.Data
}

// settled waits until the newest delivery of a webhook has a status.
func (p *platform) settled(t *testing.T, w webhook, status string) (d delivery) {
	t.Helper()
	harness.Eventually(t, "delivery "+status, func() (bool, string) {
		list := p.deliveries(t, w)
		if len(list) == 0 {
			return false, "there is none"
		}
		d = list[0]
		return d.Status == status, fmt.Sprintf("%+v", d)
	})
	return d
}

func encode(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	harness.Must(t, err)
	return string(text)
}
