package e2e_test

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aiaas/aiaas/tests/harness"
)

// logged is a request as the access log shows it.
type logged struct {
	ID       string    `json:"id"`
	At       time.Time `json:"at"`
	KeyID    string    `json:"api_key_id"`
	Model    string    `json:"model"`
	Endpoint string    `json:"endpoint"`
	Status   int       `json:"status"`
	Outcome  string    `json:"outcome"`
	Code     string    `json:"code"`
	Detail   string    `json:"detail"`
	Count    int64     `json:"count"`
	Address  string    `json:"source_address"`
	Agent    string    `json:"user_agent"`
	Usage    *struct {
		CostNano  int64  `json:"cost_nano"`
		Cost      string `json:"cost"`
		BackendID string `json:"backend_id"`
		Booked    bool   `json:"booked"`
	} `json:"usage"`
}

// requests reads the whole log, page by page.
func (p *platform) requests(t *testing.T, query string) (all []logged) {
	t.Helper()
	for cursor := ""; ; {
		var list struct {
			Data []logged `json:"data"`
			Next *string  `json:"next_cursor"`
		}
		p.Manage(t, harness.Call{Method: http.MethodGet, Path: "/v1/requests?limit=7&" + query + cursor, Key: p.AdminKey}, http.StatusOK, &list)
		all = append(all, list.Data...)
		if list.Next == nil {
			return all
		}
		cursor = "&cursor=" + url.QueryEscape(*list.Next)
	}
}

// TestTheAccessLogTellsWhatBecameOfEachRequest makes requests of every kind, and
// finds each with its outcome, where it came from and why: never what it said.
func TestTheAccessLogTellsWhatBecameOfEachRequest(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{Env: map[string]string{"AIAAS_TRUSTED_PROXIES": "127.0.0.0/8"}})
	keyID, key, _ := p.budgeted(t, "tokens", "1000000")
	revokedID, revoked := p.CreateKey(t, harness.Limits{}, "inference")
	p.RevokeKey(t, revokedID)
	_, poor, _ := p.budgeted(t, "requests", "0")
	_, slow := p.CreateKey(t, harness.Limits{RequestsPerMinute: 1}, "inference")
	_, mute := p.CreateKey(t, harness.Limits{}, "usage:read")
	from := http.Header{"X-Forwarded-For": {"6.6.6.6, 203.0.113.77"}, "User-Agent": {"acceptance/1\xff"}}
	do := func(key, body string, change ...func(*harness.Call)) harness.Answer {
		c := harness.Call{Key: key, Body: body, Header: from.Clone()}
		for _, f := range change {
			f(&c)
		}
		return p.Do(t.Context(), c)
	}
	path := func(s string) func(*harness.Call) {
		return func(c *harness.Call) { c.Path, c.Method, c.Body = s, http.MethodGet, "" }
	}
	do(slow, chat(""))
	type want struct {
		a       harness.Answer
		status  int
		outcome string
		code    string
	}
	wants := []want{
		{do(key, chat("")), 200, "complete", ""},
		{do(key, chat(`,"stream":true`)), 200, "complete", ""},
		{do(key, chat(`,"stream":true,"demo":{"cut_after":3}`)), 200, "failed", ""},
		{do(revoked, chat("")), 401, "denied", "invalid_api_key"},
		{do(poor, chat("")), 402, "denied", "budget_exceeded"},
		{do(mute, chat("")), 403, "denied", "forbidden"},
		{do(key, `{"model":"none","messages":[{"role":"user","content":"Count on me"}]}`), 404, "denied", "not_found"},
		{do(key, `{"Count on me"`), 400, "denied", "invalid_request"},
		{do(key, strings.Repeat("Count on me", 7000)), 413, "denied", "request_too_large"},
		{do(slow, chat("")), 429, "denied", "rate_limit_exceeded"},
		{do(key, chat(`,"demo":{"status":500}`)), 502, "error", "upstream_error"},
		{do(key, chat(`,"demo":{"status":400}`)), 400, "denied", "invalid_request"},
		{do(key, "", path("/v1/models")), 200, "unpaid", ""},
		{do(key, "", path("/v1/models/%00%ff"+strings.Repeat("x", 500))), 404, "denied", "not_found"},
	}
	for _, w := range wants {
		if w.a.Status != w.status {
			t.Errorf("want %d, got %s", w.status, w.a)
		}
	}
	// At once, by its id: booked or not.
	var one logged
	p.Manage(t, harness.Call{Method: http.MethodGet, Path: "/v1/requests/" + wants[0].a.RequestID, Key: p.AdminKey}, http.StatusOK, &one)
	if one.Usage == nil || one.Usage.CostNano == 0 || one.Usage.BackendID == "" || one.KeyID != keyID {
		t.Errorf("at once: %+v", one)
	}
	gone := p.Do(t.Context(), harness.Call{
		Key: key, Body: chat(`,"stream":true,"demo":{"stall_after":3}`), Header: from, Read: func(soFar []byte) bool { return len(soFar) == 0 },
	})
	wants = append(wants, want{gone, 499, "aborted", ""})
	const total = 16 // and the first of the slow key's
	harness.Eventually(t, "the log", func() (bool, string) {
		n := len(p.requests(t, ""))
		return n >= total, fmt.Sprint(n, " requests")
	})
	p.WaitSettled(t)
	all := p.requests(t, "")
	byID := map[string]logged{}
	for i, r := range all {
		byID[r.ID] = r
		if i > 0 && all[i-1].ID <= r.ID {
			t.Errorf("%s stands after %s", r.ID, all[i-1].ID)
		}
	}
	if len(all) != total || len(byID) != total {
		t.Errorf("%d requests; want %d", len(all), total)
	}
	for _, w := range wants {
		r, ok := byID[w.a.RequestID]
		if !ok || (r.Status != w.status && w.outcome != "failed") || r.Outcome != w.outcome || r.Code != w.code || r.Address != "203.0.113.77" || r.Agent != "acceptance/1�" || r.Count != 1 {
			t.Errorf("%d %s: %+v", w.status, w.outcome, r)
		}
		if served := w.outcome == "complete" || w.outcome == "failed" || w.outcome == "aborted"; served != (r.Usage != nil) || served && !r.Usage.Booked {
			t.Errorf("%d %s: usage %+v", w.status, w.outcome, r.Usage)
		}
	}
	for query, n := range map[string]int{
		"api_key_id=" + revokedID: 1, "status=404": 2, "status=499": 1, "model=none": 1, "model=" + model: 9, "source_address=203.0.113.77": total,
		"source_address=6.6.6.6": 0, "end=2020-01-01T00:00:00Z": 0, "start=2020-01-01T00:00:00Z": total, "api_key_id=" + keyID + "&status=200": 4,
		"project_id=" + p.ProjectID: total, "project_id=proj_none": 0,
	} {
		if got := p.requests(t, query); len(got) != n {
			t.Errorf("%s: %d requests; want %d", query, len(got), n)
		}
	}
	for _, q := range []string{"?source_address=%00", "?model=%ff", "?status=900", "?cursor=x", "?start=yesterday"} {
		if a := p.Do(t.Context(), harness.Call{Method: http.MethodGet, Path: "/v1/requests" + q, Key: p.AdminKey}); a.Status < 400 || a.Status > 499 {
			t.Errorf("%s: %s", q, a)
		}
	}
	for _, id := range []string{"req_00000000000000000000000000000000", "x", "%00", "%ff"} {
		if a := p.Do(t.Context(), harness.Call{Method: http.MethodGet, Path: "/v1/requests/" + id, Key: p.AdminKey}); a.Status != http.StatusNotFound {
			t.Errorf("%s: %s", id, a)
		}
	}
	sheet := p.Do(t.Context(), harness.Call{Method: http.MethodGet, Path: "/v1/requests?limit=200", Key: p.AdminKey, Header: http.Header{"Accept": {"text/csv"}}})
	rows, err := csv.NewReader(strings.NewReader(string(sheet.Body))).ReadAll()
	if err != nil || len(rows) != total+1 || sheet.Status != http.StatusOK {
		t.Errorf("as CSV: %v, %d rows: %s", err, len(rows), sheet)
	}
	p.neverSays(t, sheet, "Count on me", key, revoked, poor, slow, mute)
}

// neverSays holds that texts stand neither in the tables nor in an answer.
func (p *platform) neverSays(t *testing.T, a harness.Answer, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(string(a.Body), text) {
			t.Errorf("%q stands in the log", text)
		}
		for _, table := range []string{"router.access_log", "router.idempotency_claims", "analytics.usage_events"} {
			if n := p.Database().Int(t, `SELECT count(*) FROM `+table+` x WHERE strpos(x::text, $1) > 0`, text); n != 0 {
				t.Errorf("%q stands in %s", text, table)
			}
		}
	}
}

// TestAStormOfDenialsIsCheap floods the process with a revoked key: a handful of
// lines with the right count, and as few transactions, not one a request.
func TestAStormOfDenialsIsCheap(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{})
	id, key := p.CreateKey(t, harness.Limits{}, "inference")
	p.RevokeKey(t, id)
	const flood = 4000
	commits := func() int64 {
		return p.Database().Int(t, `SELECT sum(xact_commit + xact_rollback) FROM pg_stat_database WHERE datname = current_database()`)
	}
	before := commits()
	parallel(flood, 16, func(int) {
		if a := p.chat(t.Context(), key, ""); a.Status != http.StatusUnauthorized {
			t.Errorf("%s", a)
		}
	})
	harness.Eventually(t, "the lines", func() (bool, string) {
		n := p.Database().Int(t, `SELECT coalesce(sum(count), 0) FROM router.access_log`)
		return n >= flood, fmt.Sprint(n, " requests")
	})
	lines := p.Database().Int(t, `SELECT count(*) FROM router.access_log`)
	minutes := p.Database().Int(t, `SELECT count(DISTINCT date_trunc('minute', at)) FROM router.access_log`)
	sum := p.Database().Int(t, `SELECT sum(count) FROM router.access_log`)
	if sum != flood || lines > 11*minutes {
		t.Errorf("%d requests in %d lines over %d minutes; want %d in 11 a minute", sum, lines, minutes, flood)
	}
	if n := commits() - before; n > flood/4 {
		t.Errorf("%d transactions for %d denials", n, flood)
	} else {
		t.Logf("%d transactions, %d lines for %d denials", n, lines, flood)
	}
	if a := p.chat(t.Context(), "aiaas_live_nobody", ""); a.Status != http.StatusUnauthorized {
		t.Errorf("%s", a)
	}
	if got := p.requests(t, "status=401"); int64(len(got)) != lines || got[0].Code != "invalid_api_key" {
		t.Errorf("the log shows %d lines: %+v", len(got), got[0])
	}
}
