package usage_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/aiaas/aiaas/shared/money"
	"github.com/aiaas/aiaas/shared/usage"
)

func anyEvent(rt *rapid.T) *usage.Event {
	name := rapid.StringN(1, 20, -1)
	micro := rapid.Custom(func(rt *rapid.T) time.Time {
		return time.UnixMicro(rapid.Int64Range(1, 253_402_300_799_999_999).Draw(rt, "µs")).UTC()
	})
	count := rapid.Int64Range(0, math.MaxInt64)
	e := &usage.Event{
		ID: name.Draw(rt, "id"), OrgID: name.Draw(rt, "org"), ProjectID: name.Draw(rt, "project"), KeyID: name.Draw(rt, "key"),
		Model: name.Draw(rt, "model"), BackendID: rapid.String().Draw(rt, "backend"), PriceID: rapid.String().Draw(rt, "price"),
		Endpoint: rapid.String().Draw(rt, "endpoint"), AdmittedAt: micro.Draw(rt, "at"), Period: "2026-10-01",
		Streamed: rapid.Bool().Draw(rt, "streamed"), Outcome: usage.Failed, Estimated: rapid.Bool().Draw(rt, "estimated"),
		Input: count.Draw(rt, "input"), Output: count.Draw(rt, "output"), Cost: money.Nano(count.Draw(rt, "cost")), Currency: "USD",
		TTFTMicros: count.Draw(rt, "ttft"), DurationMicros: count.Draw(rt, "duration"),
		Status: rapid.IntRange(100, 599).Draw(rt, "status"), Address: rapid.String().Draw(rt, "address"), UserAgent: rapid.String().Draw(rt, "agent"),
	}
	e.Cached = rapid.Int64Range(0, e.Input).Draw(rt, "cached")
	if rapid.Bool().Draw(rt, "raw") {
		e.Raw = []byte(`{"prompt_tokens":1,"x":[null,"é"]}`)
	}
	for range rapid.IntRange(0, 3).Draw(rt, "holds") {
		e.Holds = append(e.Holds, usage.Held{
			Budget: name.Draw(rt, "budget"), Start: micro.Draw(rt, "start"), End: micro.Draw(rt, "end"), Amount: count.Draw(rt, "amount"),
		})
	}
	return e
}

func TestAnEventIsReadAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		e := anyEvent(rt)
		r, err := e.Encode()
		if err != nil {
			rt.Fatal(err)
		}
		if r.ID != e.ID || r.OrgID != e.OrgID || !json.Valid(r.Body) {
			rt.Fatalf("recorded as %s of %s: %s", r.ID, r.OrgID, r.Body)
		}
		got, err := usage.Decode(r.Body)
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(e, got); diff != "" {
			rt.Fatalf("(-written +read):\n%s", diff)
		}
		again, err := got.Encode()
		if err != nil || string(again.Body) != string(r.Body) {
			rt.Fatalf("written again: %s, %v; want %s", again.Body, err, r.Body)
		}
	})
}

func TestPoisonIsRefused(t *testing.T) {
	r, err := event(1).Encode()
	if err != nil {
		t.Fatal(err)
	}
	good := string(r.Body)
	if _, err := usage.Decode([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, from, to string }{
		{"no JSON", good, "{"},
		{"nothing", good, ""},
		{"no object", good, "[]"},
		{"null", good, "null"},
		{"a member twice", `"output":0`, `"output":0,"output":1`},
		{"no id", `"id":"req_0001"`, `"id":""`},
		{"no organisation", `"org":"org"`, `"org":""`},
		{"no project", `"project":"p"`, `"project":""`},
		{"no key", `"key":"k"`, `"key":""`},
		{"no model", `"model":"m"`, `"model":""`},
		{"no currency", `"currency":"USD"`, `"currency":""`},
		{"no time", `"at":`, `"when":`},
		{"no month", `"2026-10-01"`, `""`},
		{"a day that is no month", `"2026-10-01"`, `"2026-10-02"`},
		{"a month that there is not", `"2026-10-01"`, `"2026-13-01"`},
		{"negative input", `"input":0`, `"input":-1`},
		{"negative output", `"output":0`, `"output":-1`},
		{"negative cost", `"cost":0`, `"cost":-1`},
		{"more cached than input", `"input":0`, `"input":1,"cached":2`},
		{"negative cached", `"input":0`, `"input":1,"cached":-1`},
		{"half a token", `"output":0`, `"output":0.5`},
		{"a text for a count", `"output":0`, `"output":"0"`},
		{"a count past an integer", `"output":0`, `"output":9223372036854775808`},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad := strings.Replace(good, c.from, c.to, 1)
			if bad == good {
				t.Fatalf("%q is not in %s", c.from, good)
			}
			if e, err := usage.Decode([]byte(bad)); !errors.Is(err, usage.ErrPoison) {
				t.Errorf("%+v, %v; want poison", e, err)
			}
		})
	}
}

// What can't be booked is not recorded in the first place: then the request fails
// while somebody watches.
func TestAnUnsoundEventIsNotEncoded(t *testing.T) {
	for name, spoil := range map[string]func(*usage.Event){
		"id":    func(e *usage.Event) { e.ID = "" },
		"time":  func(e *usage.Event) { e.AdmittedAt = time.Time{} },
		"input": func(e *usage.Event) { e.Input = -1 },
		"cost":  func(e *usage.Event) { e.Cost = -1 },
	} {
		e := event(1)
		spoil(e)
		if _, err := e.Encode(); !errors.Is(err, usage.ErrPoison) {
			t.Errorf("%s: %v; want poison", name, err)
		}
	}
}
