package e2e_test

import (
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aiaas/aiaas/tests/harness"
)

// TestRevocationIsAtOnce revokes a key under load: every request that begins
// after the answer is refused, and what runs already ends.
func TestRevocationIsAtOnce(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{})
	for range 20 {
		id, key := p.CreateKey(t, harness.Limits{}, "inference")
		if a := p.chat(t.Context(), key, ""); !a.Done() {
			t.Fatal(a)
		}
		p.RevokeKey(t, id)
		refused(t, p.chat(t.Context(), key, ""), http.StatusUnauthorized, "invalid_api_key")
	}
	id, key := p.CreateKey(t, harness.Limits{}, "inference")
	running := p.streams(t, 4, `,"demo":{"tokens":10,"interval_ms":50}`, key)
	p.RevokeKey(t, id)
	parallel(64, 16, func(int) {
		refused(t, p.chat(t.Context(), key, ""), http.StatusUnauthorized, "invalid_api_key")
	})
	for range 4 {
		if a := <-running; !a.Done() {
			t.Errorf("a stream that ran before the revocation: %s", a)
		}
	}
	revoked, unknown := p.chat(t.Context(), key, ""), p.chat(t.Context(), p.APIKey[:11]+"x", "")
	for _, a := range []*harness.Answer{&revoked, &unknown} {
		var body map[string]any
		a.JSON(t, &body)
		delete(body, "request_id")
		a.Body = fmt.Append(nil, body)
	}
	if string(revoked.Body) != string(unknown.Body) {
		t.Errorf("the answers tell a revoked key from an unknown one: %s; %s", revoked, unknown)
	}
	p.WaitSettled(t)
	if n := len(p.Agrees(t)); n != 24 {
		t.Errorf("%d lines in the ledger, want 24", n)
	}
}

// TestRequestsPerMinuteIsExact asks as fast as 32 callers can. A bucket of N that
// is refilled evenly gives N and what the time that passed has refilled: no more,
// and no less.
func TestRequestsPerMinuteIsExact(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{})
	const perMinute = 60
	_, key := p.CreateKey(t, harness.Limits{RequestsPerMinute: perMinute}, "inference")
	var served atomic.Int64
	begin := time.Now()
	parallel(400, 32, func(i int) {
		a := p.chat(t.Context(), key, []string{``, `,"stream":true`}[i%2])
		if a.Done() {
			served.Add(1)
			if a.Header.Get("X-Ratelimit-Limit-Requests") != "60" {
				t.Errorf("headers of a success: %v", a.Header)
			}
			return
		}
		limited(t, a, "requests_per_minute", perMinute)
		if a.Header.Get("X-Ratelimit-Remaining-Requests") != "0" {
			t.Errorf("headers of a refusal: %v", a.Header)
		}
	})
	refilled := int64(time.Since(begin) * perMinute / time.Minute)
	if n := served.Load(); n < perMinute || n > perMinute+refilled+1 {
		t.Errorf("%d served of %d a minute; at most %d were refilled", n, perMinute, refilled+1)
	}
	// Whoever waits as told is served, once.
	harness.Eventually(t, "an empty bucket", func() (bool, string) {
		a := p.chat(t.Context(), key, "")
		return a.Status == http.StatusTooManyRequests, a.String()
	})
	a := p.chat(t.Context(), key, "")
	wait, err := strconv.Atoi(a.Header.Get("Retry-After"))
	if a.Status != http.StatusTooManyRequests || err != nil {
		t.Fatalf("no Retry-After: %s", a)
	}
	time.Sleep(time.Duration(wait) * time.Second)
	if a := p.chat(t.Context(), key, ""); !a.Done() {
		t.Errorf("after waiting for %d s as told: %s", wait, a)
	}
	p.WaitSettled(t)
	if n := int64(len(p.Agrees(t))); n < served.Load()+1 {
		t.Errorf("%d lines in the ledger after %d answers", n, served.Load()+1)
	}
}

// limited checks a refusal by a limit of the key.
func limited(t *testing.T, a harness.Answer, metric string, value int64) {
	t.Helper()
	refused(t, a, http.StatusTooManyRequests, "rate_limit_exceeded")
	var p struct {
		RetryAfter int64 `json:"retry_after"`
		Limit      struct {
			Metric, Scope string
			Value         int64
		}
	}
	a.JSON(t, &p)
	if p.Limit.Metric != metric || p.Limit.Scope != "key" || p.Limit.Value != value || p.RetryAfter < 1 {
		t.Errorf("the refusal does not name the limit of %d %s: %s", value, metric, a)
	}
	if a.Header.Get("Retry-After") != strconv.FormatInt(p.RetryAfter, 10) {
		t.Errorf("Retry-After %q beside %s", a.Header.Get("Retry-After"), a)
	}
}

// TestConcurrentRequests holds the limit and its release: by an end, by an error,
// and by a client that leaves.
func TestConcurrentRequests(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{})
	const most = 3
	_, key := p.CreateKey(t, harness.Limits{ConcurrentRequests: most}, "inference")
	for _, more := range []string{
		`,"demo":{"tokens":10,"interval_ms":50}`,
		`,"demo":{"tokens":10,"interval_ms":50,"cut_after":8}`,
	} {
		running := p.streams(t, most, more, key)
		parallel(16, 8, func(int) { limited(t, p.chat(t.Context(), key, ""), "concurrent_requests", most) })
		for range most {
			<-running
		}
	}
	// One that leaves: it frees its place once its backend is cancelled.
	for range most {
		a := p.Do(t.Context(), harness.Call{
			Key: key, Body: chat(`,"stream":true,"demo":{"stall_after":3}`),
			Read: func(soFar []byte) bool { return len(soFar) == 0 },
		})
		if a.Status != http.StatusOK {
			t.Errorf("%s", a)
		}
	}
	harness.Eventually(t, "all places free", func() (bool, string) {
		n := p.Database().Int(t, `SELECT count(*) FROM analytics.usage_events WHERE outcome = 'aborted'`)
		return n == most, fmt.Sprintf("%d aborted requests are booked", n)
	})
	running := p.streams(t, most, `,"demo":{"tokens":5,"interval_ms":20}`, key)
	for range most {
		if a := <-running; !a.Done() {
			t.Errorf("the limit's places were not freed: %s", a)
		}
	}
	p.WaitSettled(t)
	p.Agrees(t)
}

// TestTokensPerMinute counts what was really used: the reservation is put right
// when a request ends.
func TestTokensPerMinute(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{})
	const perMinute = 3000
	_, key := p.CreateKey(t, harness.Limits{TokensPerMinute: perMinute}, "inference")
	begin := time.Now()
	var used, served int64
	for {
		a := p.chat(t.Context(), key, `,"max_tokens":200,"demo":{"tokens":190}`)
		if !a.Done() {
			limited(t, a, "tokens_per_minute", perMinute)
			break
		}
		var u struct {
			Usage struct {
				Total int64 `json:"total_tokens"`
			}
		}
		a.JSON(t, &u)
		used += u.Usage.Total
		served++
		if a.Header.Get("X-Ratelimit-Limit-Tokens") != strconv.Itoa(perMinute) {
			t.Fatalf("headers of a success: %v", a.Header)
		}
	}
	refilled := int64(time.Since(begin) * perMinute / time.Minute)
	// The last one was refused because its reservation did not fit.
	const reservation = 200 + 60
	if used > perMinute+refilled || used+reservation < perMinute {
		t.Errorf("%d tokens used by %d requests of %d a minute, %d refilled", used, served, perMinute, refilled)
	}
}
