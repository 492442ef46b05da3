package catalogue_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"

	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/functions"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/mail"
	"github.com/aiaas/aiaas/shared/usage"
	"github.com/aiaas/aiaas/tests/runtimeapi"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// used is an event of this platform.
func (p *platform) used() *usage.Event {
	now := time.Now().UTC()
	return &usage.Event{
		ID: id.New(id.Request), OrgID: p.keys.OrganizationID, ProjectID: p.keys.ProjectID, KeyID: "key_test",
		Model: modelID, BackendID: "be_test", PriceID: "prc_test", Endpoint: "/v1/chat/completions",
		AdmittedAt: now, Period: now.Format("2006-01") + "-01", Outcome: usage.Complete,
		Input: 10, Output: 1, Currency: "USD", Cost: 1,
	}
}

// usedLongAgo is an event of a month that is over, whatever the day is.
func (p *platform) usedLongAgo() *usage.Event {
	e := p.used()
	e.AdmittedAt = e.AdmittedAt.AddDate(0, 0, -40)
	e.Period = e.AdmittedAt.Format("2006-01") + "-01"
	return e
}

func body(t *testing.T, e *usage.Event) string {
	t.Helper()
	r, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return string(r.Body)
}

func sqs(bodies ...string) events.SQSEvent {
	var ev events.SQSEvent
	for i, b := range bodies {
		ev.Records = append(ev.Records, events.SQSMessage{MessageId: fmt.Sprintf("message-%d", i), Body: b, EventSource: "aws:sqs"})
	}
	return ev
}

// failures invokes a function with a batch and returns the ids that come back.
func (p *platform) failures(name string, batch events.SQSEvent) []string {
	p.t.Helper()
	var got events.SQSEventResponse
	if err := p.event(name, batch, &got); err != nil {
		p.t.Fatal(err)
	}
	var ids []string
	for _, f := range got.BatchItemFailures {
		ids = append(ids, f.ItemIdentifier)
	}
	return ids
}

const booked = `SELECT count(*) || ' ' || count(DISTINCT event_id) || ' ' || coalesce(sum(amount_nano), 0) FROM analytics.ledger_entries`

func TestUsageQueue(t *testing.T) {
	t.Parallel()
	p := start(t)
	one, two, three := p.used(), p.used(), p.used()
	batch := sqs(body(t, one), `{"no":"event"}`, body(t, two), body(t, one))
	for _, delivery := range []string{"first", "again"} {
		if diff := cmp.Diff([]string{"message-1"}, p.failures("metering", batch)); diff != "" {
			t.Errorf("%s: %s", delivery, diff)
		}
		if got := p.scalar(booked); got != "2 2 2" {
			t.Errorf("%s: booked %s; want 2 2 2", delivery, got)
		}
	}
	// One that went through the queue and the inbox is one.
	p.inInbox(three)
	if failed := p.failures("metering", sqs(body(t, three))); len(failed) > 0 {
		t.Errorf("failed %v", failed)
	}
	p.job("metering", "drain")
	if got := p.scalar(booked); got != "3 3 3" {
		t.Errorf("booked %s; want 3 3 3", got)
	}
	if got := p.scalar(`SELECT count(*) FROM analytics.inbox`); got != "0" {
		t.Errorf("%s left in the inbox", got)
	}
}

func (p *platform) inInbox(e *usage.Event) {
	p.t.Helper()
	postgrestest.Exec(p.t, p.database, fmt.Sprintf(`INSERT INTO analytics.inbox (org_id, event_id, body) VALUES ('%s', '%s', convert_to('%s', 'UTF8'))`,
		e.OrgID, e.ID, body(p.t, e)))
}

// effect is what a job must do: what the query answers before and after.
type effect struct {
	arrange       func(p *platform)
	query         string
	before, after string
}

// nextMonth names the partition of usage events for the month to come.
const nextMonth = `'analytics.usage_events_' || to_char(date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month', 'YYYYMM')`

// scheduled has the effect of every schedule, by function and job.
func scheduled() map[string]effect {
	return map[string]effect{
		"metering/drain": {
			func(p *platform) { p.inInbox(p.used()) },
			`SELECT (SELECT count(*) FROM analytics.inbox) || ' waiting, ' || (SELECT count(*) FROM analytics.ledger_entries) || ' booked'`,
			"1 waiting, 0 booked", "0 waiting, 1 booked",
		},
		"metering/fold": {
			func(p *platform) { p.failures("metering", sqs(body(p.t, p.used()))) },
			`SELECT (SELECT count(*) FROM analytics.usage_deltas) || ' deltas, ' || (SELECT count(*) FROM analytics.usage_minutes) || ' minutes'`,
			"1 deltas, 0 minutes", "0 deltas, 1 minutes",
		},
		"invoices/issue": {
			func(p *platform) { p.failures("metering", sqs(body(p.t, p.usedLongAgo()), body(p.t, p.used()))) },
			`SELECT coalesce(string_agg(status || ' ' || number || ' ' || requests, ', '), 'none') FROM analytics.invoices`,
			"none", "issued INV-" + time.Now().UTC().Format("2006") + "-000001 1",
		},
		"operations/prune": {
			func(p *platform) {
				postgrestest.Exec(p.t, p.database, `INSERT INTO accounts.job_runs (run_id, function, job, trigger, started_at, finished_at, status, instance, lease_until)
					SELECT 'run_' || d, 'metering', 'fold', 'schedule', now() - make_interval(days => d), now(), 'succeeded', 'x', now() FROM generate_series(88, 93) d`)
			},
			`SELECT string_agg(run_id, ' ' ORDER BY run_id) FROM accounts.job_runs WHERE function = 'metering'`,
			"run_88 run_89 run_90 run_91 run_92 run_93", "run_88 run_89",
		},
		"requests/prune": {
			func(p *platform) {
				postgrestest.Exec(p.t, p.database, `
					INSERT INTO router.access_log SELECT 'org', 'req_' || d, now() - make_interval(days => d), now(), 1, 'k', 'p', 'm', 'e', 429, 'c', '', '', ''
					  FROM generate_series(88, 93) d;
					INSERT INTO router.idempotency_claims (org_id, api_key_id, key_hash, request_id, mac, epoch, done, done_at)
					SELECT 'org', 'k', sha256(h::text::bytea), 'req_' || h, '', 1, true, now() - make_interval(hours => h) FROM generate_series(23, 26) h`)
			},
			`SELECT (SELECT string_agg(request_id, ' ' ORDER BY request_id) FROM router.access_log) || ', ' ||
			        (SELECT string_agg(request_id, ' ' ORDER BY request_id) FROM router.idempotency_claims)`,
			"req_88 req_89 req_90 req_91 req_92 req_93, req_23 req_24 req_25 req_26", "req_88 req_89, req_23",
		},
		"metering/exhausted": {
			func(p *platform) {
				postgrestest.Exec(p.t, p.database, `
					INSERT INTO analytics.budgets (org_id, budget_id, unit, amount, currency, period, time_zone, action, thresholds, created_by, created_at)
					VALUES ('org', 'bud', 'tokens', 100, 'USD', 'once', 'UTC', 'block', '{50,100}', 'x', now());
					INSERT INTO analytics.budget_windows (org_id, budget_id, window_start, window_end, spent, granted) VALUES ('org', 'bud', '2026-01-01', '9999-01-01', 90, 100);
					INSERT INTO analytics.exhausted_windows (org_id, budget_id, window_start) VALUES ('org', 'bud', '2026-01-01')`)
			},
			`SELECT coalesce(string_agg(threshold || ' at ' || spent, ', '), 'none') || ', ' || (SELECT count(*) FROM analytics.exhausted_windows) FROM analytics.budget_alerts`,
			"none, 1", "100 at 90, 0",
		},
		"notifications/dispatch": {
			func(p *platform) {
				postgrestest.Exec(p.t, p.database, hook+`
					INSERT INTO accounts.outbox VALUES ('org', 'evt_1', 'key.created', now(), 'key', '{}');
					INSERT INTO router.outbox VALUES ('org', 'evt_2', 'model.created', now(), 'm', '{}');
					INSERT INTO analytics.outbox VALUES ('org', 'evt_3', 'budget.created', now(), 'bud', '{}')`)
			},
			`SELECT (SELECT count(*) FROM accounts.webhook_deliveries WHERE org_id = 'org') || ', ' || ((SELECT count(*) FROM accounts.outbox WHERE org_id = 'org') +
				(SELECT count(*) FROM router.outbox WHERE org_id = 'org') + (SELECT count(*) FROM analytics.outbox WHERE org_id = 'org'))`,
			"0, 3", "3, 0",
		},
		"notifications/deliver": {
			func(p *platform) { // to a port where nobody listens
				postgrestest.Exec(p.t, p.database, hook+`
					INSERT INTO accounts.events VALUES ('org', 'evt_1', 'key.created', now(), 'key', '{}');
					INSERT INTO accounts.webhook_deliveries (org_id, delivery_id, webhook_id, event_id, attempts, next_at, created_at) VALUES ('org', 'dlv_1', 'wh', 'evt_1', 5, '2026-01-01', now())`)
			},
			`SELECT attempts || ' ' || status || ', ' || (SELECT count(*) FROM accounts.webhook_attempts) FROM accounts.webhook_deliveries`,
			"5 pending, 0", "6 pending, 1",
		},
		"notifications/prune-events": {
			func(p *platform) {
				postgrestest.Exec(p.t, p.database, `INSERT INTO accounts.events SELECT 'org', 'evt_' || d, 'key.created', now() - make_interval(days => d), 'key', '{}' FROM generate_series(28, 32) d`)
			},
			`SELECT string_agg(event_id, ' ' ORDER BY event_id) FROM accounts.events`,
			"evt_28 evt_29 evt_30 evt_31 evt_32", "evt_28 evt_29",
		},
		"notifications/mails": {
			func(p *platform) { p.queued("queued", "now()") },
			`SELECT string_agg(status || ' ' || attempts, ', ') FROM accounts.mails`, "queued 0", "sent 1",
		},
		"notifications/reminders": {
			func(p *platform) {
				postgrestest.Exec(p.t, p.database, `UPDATE accounts.api_keys SET rotate_by = now() + interval '5 days' WHERE org_id = '`+p.keys.OrganizationID+`'
					AND key_id = (SELECT min(key_id) FROM accounts.api_keys WHERE org_id = '`+p.keys.OrganizationID+`')`)
			},
			`SELECT coalesce(string_agg(days::text, ' '), 'none') FROM accounts.key_reminders`, "none", "7",
		},
		"notifications/prune-mails": {
			func(p *platform) {
				for _, days := range []string{"88", "89", "91", "92"} {
					p.queued("sent", "now() - interval '"+days+" days'")
				}
			},
			`SELECT string_agg(extract(day FROM now() - created_at)::text, ' ' ORDER BY created_at DESC) FROM accounts.mails`, "88 89 91 92", "88 89",
		},
		"audit/seal": {
			func(p *platform) { p.record("now()") },
			`SELECT (SELECT count(*) FROM accounts.audit_pending WHERE org_id = 'org') || ' pending, ' || (SELECT count(*) FROM accounts.audit_chain WHERE org_id = 'org') || ' sealed'`,
			"1 pending, 0 sealed", "0 pending, 1 sealed",
		},
		"audit/prune": {
			(*platform).sealLongAgo,
			`SELECT (SELECT count(*) FROM accounts.audit_records WHERE org_id = 'org') || ' records, ' || (SELECT count(*) FROM accounts.audit_checkpoints) || ' checkpoints'`,
			"2 records, 0 checkpoints", "1 records, 1 checkpoints",
		},
		"metering/partitions": {
			func(p *platform) {
				postgrestest.Exec(p.t, p.database, `DO $$ BEGIN EXECUTE 'DROP TABLE ' || `+nextMonth+`; END $$`)
			},
			`SELECT count(*) FROM pg_inherits WHERE inhrelid = to_regclass(` + nextMonth + `)`, "0", "1",
		},
	}
}

// queued puts a mail of the first organisation into the queue.
func (p *platform) queued(status, moment string) {
	p.t.Helper()
	mail := id.New(mail.ID)
	postgrestest.Exec(p.t, p.database, `INSERT INTO accounts.mails (org_id, mail_id, kind, recipient, data, dedupe_key, status, created_at, next_attempt_at, finished_at)
		VALUES ('`+p.keys.OrganizationID+`', '`+mail+`', 'test', 'ada@example.com', '{"content":{"by":"Ada","at":"2026-10-12T09:00:00Z"}}', '`+mail+`', '`+status+`', `+moment+`, `+moment+`, CASE '`+status+`' WHEN 'sent' THEN `+moment+` END)`)
}

// hook is an organisation's webhook, at a port where nobody listens.
const hook = `INSERT INTO accounts.organizations (org_id, name, created_at) VALUES ('org', 'o', now());
	INSERT INTO accounts.webhooks (org_id, webhook_id, url, events, enabled, secret, created_by, created_at, updated_at)
	VALUES ('org', 'wh', 'http://127.0.0.1:1/', '{*}', true, 'sealed for nobody', 'x', now(), now());`

func TestEverySchedule(t *testing.T) {
	t.Parallel()
	known := scheduled()
	maps.Copy(known, peopleJobs())
	for _, e := range functions.Catalogue() {
		for _, s := range e.Spec.Schedules {
			name := e.Spec.Name + "/" + s.Job
			c, ok := known[name]
			delete(known, name)
			if !ok {
				t.Errorf("%s: nothing says what it must do", name)
				continue
			}
			for form, ev := range map[string]string{
				"Scheduler": `{"job":"` + s.Job + `"}`,
				"rule":      `{"version":"0","id":"1","detail-type":"Scheduled Event","source":"aws.events","resources":[],"detail":{"job":"` + s.Job + `"}}`,
			} {
				t.Run(name+"/"+form, func(t *testing.T) {
					t.Parallel()
					p := start(t)
					c.arrange(p)
					if got := p.scalar(c.query); got != c.before {
						t.Fatalf("before: %s; want %s", got, c.before)
					}
					for range 2 { // a job must bear running twice
						var done struct{ Job string }
						if err := p.event(e.Spec.Name, json.RawMessage(ev), &done); err != nil || done.Job != s.Job {
							t.Fatalf("answer %q, %v", done.Job, err)
						}
						if got := p.scalar(c.query); got != c.after {
							t.Errorf("after: %s; want %s", got, c.after)
						}
					}
				})
			}
		}
	}
	for name := range known {
		t.Errorf("%s: no such schedule", name)
	}
}

func TestEventsThatAreRefused(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.do("POST", "/v1/models", p.key(operator), `{"id":"spare/model"}`)
	names := strings.NewReplacer(slices.Concat(p.people(t), p.factors(t), p.sso(t), p.oauth(t), p.sittings(t))...)
	for _, e := range functions.Catalogue() {
		t.Run(e.Spec.Name, func(t *testing.T) {
			t.Parallel()
			refused := []string{
				"", "{", "null", "[]", `"text"`, "{}", `{"httpMethod":7}`, `{"httpMethod":"GET","path":{}}`,
				`{"Records":[]}`, `{"Records":{}}`, `{"Records":[{"eventSource":"aws:s3"}]}`, `{"job":"nothing"}`, `{"job":7}`,
				`{"source":"aws.s3","detail-type":"Object Created"}`,
				`{"source":"aws.events","detail-type":"Scheduled Event","detail":"text"}`,
				strings.Repeat("[", 20_000),
			}
			if len(e.Spec.Queues) == 0 {
				refused = append(refused, `{"Records":[{"eventSource":"aws:sqs","messageId":"1","body":"{}"}]}`)
			}
			if len(e.Spec.Schedules) == 0 {
				refused = append(refused, `{"job":"drain"}`, `{"source":"aws.events","detail-type":"Scheduled Event","detail":{}}`)
			}
			for _, ev := range refused {
				_, err := p.Lambda(e.Spec.Name).Invoke(t.Context(), json.RawMessage(ev))
				fe, ok := errors.AsType[*runtimeapi.FunctionError](err)
				if !ok || fe.Type == runtimeapi.ExitError || fe.Type == runtimeapi.TimeoutError {
					t.Errorf("%.60q: %v; want a failed invocation of a process that lives", ev, err)
				}
			}
			p.answers(t, e.Spec, names)
		})
	}
}

// answers checks that a function's only process still works. People are there, with
// what is theirs; what else is asked for by id was not made here: that it is not found
// is an answer of the function, too.
func (p *platform) answers(t *testing.T, s function.Spec, names *strings.Replacer) {
	t.Helper()
	for _, r := range s.Routes {
		if r.Method == http.MethodGet {
			c := routes()[r.OperationID].good
			target := names.Replace(c.target)
			got := p.do(r.Method, target, p.key(c.as), c.body)
			missing := strings.ContainsAny(target, "{}") && got.status == http.StatusNotFound && strings.Contains(string(got.body), `"code":"not_found"`)
			if got.status != r.SuccessStatus() && !missing {
				t.Errorf("afterwards %s: %d %s", r.Pattern(), got.status, got.body)
			}
		}
	}
	for _, j := range s.Schedules {
		var done struct{ Job string }
		if err := p.event(s.Name, json.RawMessage(`{"job":"`+j.Job+`"}`), &done); err != nil || done.Job != j.Job {
			t.Errorf("afterwards job %s: %q, %v", j.Job, done.Job, err)
		}
	}
}

func TestEveryQueueIsCovered(t *testing.T) {
	t.Parallel()
	covered := map[string]bool{"metering/usage": true}
	for _, e := range functions.Catalogue() {
		for _, q := range e.Spec.Queues {
			if !covered[e.Spec.Name+"/"+q.Name] {
				t.Errorf("%s/%s: no batch covers it", e.Spec.Name, q.Name)
			}
		}
	}
}
