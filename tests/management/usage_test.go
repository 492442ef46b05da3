package management_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// rows are the report's rows, one a line: start, end, groups, sums.
func rows(v map[string]any) string {
	var b strings.Builder
	for _, d := range items(v) {
		r, _ := d.(map[string]any)
		fmt.Fprintf(&b, "%s %s", r["start"], r["end"])
		for _, g := range []string{"model", "project_id", "api_key_id"} {
			if n, ok := r[g]; ok {
				fmt.Fprintf(&b, " %s", n)
			}
		}
		fmt.Fprintf(&b, " | %s\n", sums(r))
	}
	return b.String()
}

func sums(r map[string]any) string {
	return fmt.Sprint(r["requests"], " ", r["input_tokens"], " ", r["cached_input_tokens"], " ", r["output_tokens"], " ", r["cost_nano"], " ", r["currency"])
}

func TestUsageIsSummedExactly(t *testing.T) {
	t.Parallel()
	p := start(t)
	const huge = int64(1)<<53 + 1 // not a double
	p.used(p.one, "2026-09-30T23:59:59Z", use{"m", p.one.keyID, 1, 0, 1, 1})
	p.used(p.one, "2026-10-01T00:00:00Z", use{"m", p.one.keyID, 100, 10, 50, huge})
	p.used(p.one, "2026-10-01T00:00:59Z", use{"m", "key_b", 10, 0, 5, 7})
	p.used(p.one, "2026-10-02T12:30:00Z", use{"n", "key_b", 1, 1, 1, 0})
	p.used(p.two, "2026-10-01T00:00:00Z", use{"m", p.two.keyID, 9, 9, 9, 9})
	// One of the minutes has been folded already: both count, once.
	p.exec(`WITH d AS (DELETE FROM analytics.usage_deltas WHERE api_key_id = 'key_b' AND model = 'm' RETURNING *)
		INSERT INTO analytics.usage_minutes SELECT org_id, minute, accounting_period, project_id, api_key_id, model, currency, requests,
		input_tokens, cached_input_tokens, output_tokens, cost_nano FROM d`)
	proj := p.one.project
	for query, want := range map[string]string{
		"": "2026-10-01T00:00:00Z 2026-10-12T09:31:00Z | 3 111 11 56 9007199254741000 USD\n",
		"?bucket=day": "2026-10-01T00:00:00Z 2026-10-02T00:00:00Z | 2 110 10 55 9007199254741000 USD\n" +
			"2026-10-02T00:00:00Z 2026-10-03T00:00:00Z | 1 1 1 1 0 USD\n",
		"?bucket=minute&group_by=key": "2026-10-01T00:00:00Z 2026-10-01T00:01:00Z " + p.one.keyID + " | 1 100 10 50 9007199254740993 USD\n" +
			"2026-10-01T00:00:00Z 2026-10-01T00:01:00Z key_b | 1 10 0 5 7 USD\n" +
			"2026-10-02T12:30:00Z 2026-10-02T12:31:00Z key_b | 1 1 1 1 0 USD\n",
		"?group_by=model,project": "2026-10-01T00:00:00Z 2026-10-12T09:31:00Z m " + proj + " | 2 110 10 55 9007199254741000 USD\n" +
			"2026-10-01T00:00:00Z 2026-10-12T09:31:00Z n " + proj + " | 1 1 1 1 0 USD\n",
		"?start=2026-10-01T00:01:00Z&bucket=month&group_by=model":              "2026-10-01T00:01:00Z 2026-10-12T09:31:00Z n | 1 1 1 1 0 USD\n",
		"?start=2026-09-01T00:00:00Z&end=2026-10-01T00:00:00Z&bucket=month":    "2026-09-01T00:00:00Z 2026-10-01T00:00:00Z | 1 1 0 1 1 USD\n",
		"?start=2026-09-30T22:00:00Z&bucket=month&tz=Europe/Berlin":            "2026-09-30T22:00:00Z 2026-10-12T09:31:00Z | 4 112 11 57 9007199254741001 USD\n",
		"?tz=Europe/Berlin&date=accounting&bucket=month":                       "2026-09-30T22:00:00Z 2026-10-12T09:31:00Z | 4 112 11 57 9007199254741001 USD\n",
		"?start=2026-10-01T02:00:00%2B02:00&end=2026-10-01T00:01:00Z":          "2026-10-01T00:00:00Z 2026-10-01T00:01:00Z | 2 110 10 55 9007199254741000 USD\n",
		"?start=2026-10-03T00:00:00Z":                                          "",
		"?date=accounting&start=2026-09-01T00:00:00Z&end=2026-10-01T00:00:00Z": "",
	} {
		v := p.do("GET", "/v1/usage"+query, p.one.reader, "").want(200)
		got := rows(v)
		if sorted(got) != sorted(want) {
			t.Errorf("%s:\n%s; want\n%s", query, got, want)
		}
		var requests int64
		for _, d := range items(v) {
			n, _ := member[json.Number](d, "requests").Int64()
			requests += n
		}
		total := member[map[string]any](v, "totals")
		if n, _ := member[json.Number](total, "requests").Int64(); n != requests || total["currency"] != "USD" {
			t.Errorf("%s: totals %v do not sum up the rows", query, total)
		}
	}
}

// sorted ignores the order of keys of unpredictable ids within a bucket.
func sorted(lines string) string {
	l := strings.Split(lines, "\n")
	for i := range l {
		for j := i + 1; j < len(l); j++ {
			if l[j] < l[i] {
				l[i], l[j] = l[j], l[i]
			}
		}
	}
	return strings.Join(l, "\n")
}

func TestFreshnessIsThatOfTheOldestWaitingEvent(t *testing.T) {
	t.Parallel()
	p := start(t)
	if got := p.do("GET", "/v1/usage", p.one.reader, "").want(200)["fresh_until"]; got != "2026-10-12T09:30:15Z" {
		t.Errorf("fresh until %v; want now", got)
	}
	p.exec(`INSERT INTO analytics.inbox VALUES ('` + p.one.org + `', 'a', '', NULL, '2026-10-12 09:30:02Z'), ('` + p.one.org + `', 'b', '', NULL, '2026-10-12 09:30:01Z'),
		('` + p.two.org + `', 'c', '', NULL, '2026-10-12 09:00:00Z')`)
	if got := p.do("GET", "/v1/usage", p.one.reader, "").want(200)["fresh_until"]; got != "2026-10-12T09:30:01Z" {
		t.Errorf("fresh until %v; want when the oldest event of the organisation was recorded", got)
	}
}

func TestDaysFollowTheClockOfTheZone(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.used(p.one, "2026-03-28T23:30:00Z", use{"m", "k", 1, 0, 1, 1}) // the 29th in Berlin, which has 23 hours
	p.used(p.one, "2026-03-29T21:59:00Z", use{"m", "k", 1, 0, 1, 1})
	p.used(p.one, "2026-03-29T22:00:00Z", use{"m", "k", 1, 0, 1, 1}) // the 30th
	v := p.do("GET", "/v1/usage?bucket=day&tz=Europe%2FBerlin&start=2026-03-28T23:00:00Z&end=2026-03-30T22:00:00Z", p.one.reader, "").want(200)
	want := "2026-03-28T23:00:00Z 2026-03-29T22:00:00Z | 2 2 0 2 2 USD\n2026-03-29T22:00:00Z 2026-03-30T22:00:00Z | 1 1 0 1 1 USD\n"
	if got := rows(v); got != want {
		t.Errorf("%s; want\n%s", got, want)
	}
}

func TestWhatUsageRefuses(t *testing.T) {
	t.Parallel()
	p := start(t)
	for _, q := range []string{
		"start=yesterday", "start=2026-10-01", "start=2026-10-01T00:00:30Z", "end=2026-10-01T00:00:00.5Z",
		"start=2026-10-02T00:00:00Z&end=2026-10-01T00:00:00Z", "start=2026-10-01T00:00:00Z&end=2026-10-01T00:00:00Z",
		"bucket=second", "bucket=", "bucket=Minute", "date=invoice", "group_by=member", "group_by=model,model", "group_by=" + url.QueryEscape("model;DROP TABLE x"),
		"bucket=minute&start=2026-08-01T00:00:00Z", "bucket=hour&start=2020-01-01T00:00:00Z", "start=0001-01-02T00:00:00Z",
		"tz=Mars/Olympus", "tz=Local", "tz=" + url.QueryEscape("UTC'); --"), "tz=../../etc/passwd", "tz=" + long(65),
		"date=accounting&bucket=day", "date=accounting&start=2026-09-02T00:00:00Z", "org_id=" + p.two.org,
	} {
		a := p.do("GET", "/v1/usage?"+q, p.one.reader, "")
		if q == "bucket=" {
			a.want(200) // an empty value is none
			continue
		}
		if a.Code != 422 {
			t.Errorf("%s: %d %s; want 422", q, a.Code, a.Body)
		}
	}
}

func TestARangeOfTwoCurrenciesIsRefused(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.used(p.one, "2026-10-01T00:00:00Z", use{"m", "k", 1, 0, 1, 1})
	p.used(p.one, "2026-10-02T00:00:00Z", use{"m", "k", 1, 0, 1, 1})
	p.exec(`UPDATE analytics.usage_deltas SET currency = 'EUR' WHERE minute >= '2026-10-02'`)
	p.do("GET", "/v1/usage", p.one.reader, "").refused(422, "unprocessable")
	if got := rows(p.do("GET", "/v1/usage?start=2026-10-02T00:00:00Z", p.one.reader, "").want(200)); !strings.Contains(got, "EUR") {
		t.Errorf("the part in euros: %s", got)
	}
}

func TestUsageAsRowsIsTheSameUsage(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.used(p.one, "2026-10-01T00:00:00Z", use{"=m", p.one.keyID, 100, 10, 50, 1<<53 + 1})
	p.used(p.one, "2026-10-02T12:30:00Z", use{"n", "key_b", 1, 1, 1, 0})
	proj := p.one.project
	for query, want := range map[string]string{
		"": "start,end,requests,input_tokens,cached_input_tokens,output_tokens,cost_nano,currency\r\n" +
			"2026-10-01T00:00:00Z,2026-10-12T09:31:00Z,2,101,11,51,9007199254740993,USD\r\n",
		"?group_by=model,project&bucket=day": "start,end,model,project_id,requests,input_tokens,cached_input_tokens,output_tokens,cost_nano,currency\r\n" +
			"2026-10-01T00:00:00Z,2026-10-02T00:00:00Z,'=m," + proj + ",1,100,10,50,9007199254740993,USD\r\n" +
			"2026-10-02T00:00:00Z,2026-10-03T00:00:00Z,n," + proj + ",1,1,1,1,0,USD\r\n",
		"?group_by=key&start=2026-10-02T00:00:00Z": "start,end,api_key_id,requests,input_tokens,cached_input_tokens,output_tokens,cost_nano,currency\r\n" +
			"2026-10-02T00:00:00Z,2026-10-12T09:31:00Z,key_b,1,1,1,1,0,USD\r\n",
		"?start=2026-10-03T00:00:00Z&group_by=key": "start,end,api_key_id,requests,input_tokens,cached_input_tokens,output_tokens,cost_nano,currency\r\n",
	} {
		a := p.do("GET", "/v1/usage"+query, p.one.reader, "", rows4180)
		if a.Code != 200 || a.Body.String() != want {
			t.Errorf("%s: %d\n%s; want\n%s", query, a.Code, a.Body, want)
		}
		fresh := p.do("GET", "/v1/usage"+query, p.one.reader, "").want(200)["fresh_until"]
		if a.Header().Get("X-Fresh-Until") != fresh || a.Header().Get("Content-Disposition") != `attachment; filename="usage.csv"` {
			t.Errorf("%s: headers %v; fresh until %v", query, a.Header(), fresh)
		}
	}
	p.do("GET", "/v1/usage?bucket=second", p.one.reader, "", rows4180).refused(422, "unprocessable")
}

// Every list of the API has rows too: whoever adds one gets them by its form.
func TestEveryListHasRows(t *testing.T) {
	t.Parallel()
	doc := start(t).do("GET", "/openapi.json", "", "").want(200)
	lists := 0
	for path, methods := range member[map[string]any](doc, "paths") {
		get := member[map[string]any](methods, "get")
		content := member[map[string]any](member[map[string]any](member[map[string]any](get, "responses"), "200"), "content")
		ref := member[string](member[map[string]any](content["application/json"], "schema"), "$ref")
		schema := member[map[string]any](member[map[string]any](member[map[string]any](doc, "components"), "schemas"), strings.TrimPrefix(ref, "#/components/schemas/"))
		data := member[map[string]any](member[map[string]any](schema, "properties"), "data")
		_, rows := content["text/csv"]
		list := data["type"] == "array" && path != "/v1/models"              // the data plane's own
		_, document := member[map[string]any](schema, "properties")["lines"] // has the rows of its lines
		if (list || document) != rows {
			t.Errorf("GET %s is a list: %v; has rows: %v", path, list, rows)
		}
		if list {
			lists++
		}
	}
	if lists < 6 {
		t.Errorf("%d lists; where are the others?", lists)
	}
}
