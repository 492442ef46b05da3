package rest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/rest"
)

type sums struct {
	Requests int64 `json:"requests"`
	Cost     int64 `json:"cost_nano"`
}

type place struct {
	Project *string `json:"project_id,omitempty"`
	Deep    *sums   `json:"deep"`
}

type row struct {
	ID    string            `json:"id"`
	Group *string           `json:"group,omitempty"`
	When  *time.Time        `json:"when"`
	Place place             `json:"place"`
	Tags  []string          `json:"tags"`
	Words map[string]string `json:"words,omitempty"`
	On    bool              `json:"on"`
	Not   string            `json:"-"`
	sums2
}

type sums2 struct {
	Sums  sums   `json:"sums"`
	Money string `json:"money"`
}

type report struct {
	Data       []row     `json:"data"`
	Totals     sums      `json:"totals"`
	NextCursor *string   `json:"next_cursor"`
	FreshUntil time.Time `json:"fresh_until"`
	grouped    bool
}

func (r report) HasColumn(name string) bool { return r.grouped || name != "group" }

type reportOutput struct{ Body report }

// listing serves the report under GET /v1/things.
func listing(r *report) *rest.API {
	api := rest.New(spec(), authenticator{[]authz.Scope{authz.KeysRead, authz.KeysWrite}}, slog.New(slog.DiscardHandler))
	rest.Handle(api, "listThings", func(context.Context, authz.Principal, *struct{ rest.Paging }) (*reportOutput, error) {
		return &reportOutput{Body: *r}, nil
	})
	rest.Handle(api, "putThing", func(_ context.Context, _ authz.Principal, in *thingInput) (*thingOutput, error) {
		return &thingOutput{Body: in.Body}, nil
	})
	return api
}

func get(api *rest.API, target, accept string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, target, http.NoBody)
	r.Header.Set("X-Api-Key", "good")
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	w := httptest.NewRecorder()
	api.ServeHTTP(w, r)
	return w
}

func TestAListIsHadAsRows(t *testing.T) {
	cursor, project, none := "MTp4", "proj_1", ""
	at := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	api := listing(&report{
		Data: []row{
			{ID: "a,\"b\"\r\nc", When: &at, Place: place{Project: &project, Deep: &sums{-1, 9007199254740993}}, Tags: []string{"x", "y"}, On: true, sums2: sums2{Money: "-12.50"}},
			{ID: "=1+1", Group: &none, sums2: sums2{sums{2, 3}, " x"}},
		},
		NextCursor: &cursor, FreshUntil: at, grouped: true,
	})
	w := get(api, "/v1/things?limit=2", "text/csv")
	want := "id,group,when,place.project_id,place.deep.requests,place.deep.cost_nano,tags,words,on,sums.requests,sums.cost_nano,money\r\n" +
		"\"a,\"\"b\"\"\r\nc\",,2026-10-01T00:00:00Z,proj_1,-1,9007199254740993,\"[\"\"x\"\",\"\"y\"\"]\",,true,0,0,-12.50\r\n" +
		"'=1+1,,,,,,,,false,2,3,\" x\"\r\n"
	if d := cmp.Diff(want, w.Body.String()); w.Code != 200 || d != "" {
		t.Errorf("%d (-want +got):\n%s", w.Code, d)
	}
	for name, want := range map[string]string{
		"Content-Type": "text/csv; charset=utf-8; header=present", "Content-Disposition": `attachment; filename="things.csv"`,
		"X-Next-Cursor": cursor, "X-Row-Count": "2", "X-Fresh-Until": "2026-10-01T00:00:00Z", "Vary": "Accept",
		"Link": `</v1/things?cursor=MTp4&limit=2>; rel="next"`, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s is %q; want %q", name, got, want)
		}
	}
}

func TestColumnsDoNotDependOnTheRows(t *testing.T) {
	const head = "id,when,place.project_id,place.deep.requests,place.deep.cost_nano,tags,words,on,sums.requests,sums.cost_nano,money\r\n"
	w := get(listing(&report{}), "/v1/things", "text/csv")
	if w.Body.String() != head {
		t.Errorf("an empty report that is not grouped: %q", w.Body)
	}
	for _, name := range []string{"X-Next-Cursor", "Link"} {
		if w.Header().Get(name) != "" {
			t.Errorf("the last page has %s: %s", name, w.Header().Get(name))
		}
	}
}

func TestAcceptChoosesTheForm(t *testing.T) {
	api := listing(&report{})
	for accept, csv := range map[string]bool{
		"": false, "*/*": false, "application/json": false, "text/csv": true, "TEXT/CSV": true, "text/*": true,
		"text/csv; charset=utf-8": true, "text/csv;q=0.5": true, "text/csv;q=0": false, "text/csv; Q=0.000": false,
		"text/csv, application/json": true, "application/json, text/csv": false,
		"application/json;q=0.9, text/csv;q=0.8": false, "application/json;q=0.8, text/csv;q=0.9": true,
		"application/json;q=0.1, */*;q=0.9": true, "text/csv, */*": true, "application/json, */*": false, "text/*, */*": true,
		"text/csv;q=0, */*": false, "text/*, text/csv;q=0": false, "application/xml": false, "image/png, text/plain": false,
		"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": false,
		"text/csv;q=high": false, "text/csv;q=NaN": false, "text/csv;q=2": false, ",,;;==": false, "text/csv,": true, "text/csvx": false, "nonsense": false,
	} {
		w := get(api, "/v1/things", accept)
		got := strings.HasPrefix(w.Header().Get("Content-Type"), "text/csv")
		if w.Code != 200 || got != csv || (!csv && !json.Valid(w.Body.Bytes())) {
			t.Errorf("Accept %q: %d %s; want CSV: %v", accept, w.Code, w.Header().Get("Content-Type"), csv)
		}
	}
}

func TestOnlyListsAreRows(t *testing.T) {
	api := listing(&report{})
	r := post(`{"name":"ab"}`)
	r.Header.Set("Accept", "text/csv")
	w := httptest.NewRecorder()
	api.ServeHTTP(w, r)
	if w.Code != 201 || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("what was made: %d %s", w.Code, w.Header().Get("Content-Type"))
	}
	if w := get(api, "/v1/things?limit=0", "text/csv"); w.Code != 422 || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("a refusal: %d %s %s", w.Code, w.Header().Get("Content-Type"), w.Body)
	}
}

func TestAnInputWhoseParametersWouldBeIgnoredIsRefused(t *testing.T) {
	type hidden struct {
		ID string `path:"id"`
	}
	defer func() {
		if v := recover(); v == nil || !strings.Contains(fmt.Sprint(v), "hidden") {
			t.Errorf("panic %v; want one about the embedded type", v)
		}
	}()
	api := rest.New(spec(), authenticator{}, slog.New(slog.DiscardHandler))
	rest.Handle(api, "putThing", func(context.Context, authz.Principal, *struct{ hidden }) (*thingOutput, error) {
		return &thingOutput{}, nil
	})
}

func TestWhatASpreadsheetMayRunIsAFormula(t *testing.T) {
	for text, want := range map[string]bool{
		"=1": true, "+1": true, "-1+1": true, "@SUM(A1)": true, "\t=1": true, "\tx": true, "\rx": true, "\nx": true, " =1": true, "  \u00a0@x": true,
		"'=1": true, `"=1`: true, "“=1": true, "''=1": true, "＝1": true, "＋1": true, "－1": true, "＠x": true, "−1": true, "﹦1": true,
		"\u200b=1": true, "\ufeff=1": true, "\x01=1": true, "-": true, "-1.2.3": true, "-1e5": true, "-Inf": true, "-cmd|' /C calc'!A0": true, " \t=1": true,
		"": false, "a": false, "a=1": false, "1-1": false, "-1": false, "-12.50": false, "12": false, "'": false, "'x": false, "  ": false, "'-1": false, "(=1)": false, "é": false,
	} {
		if got := rest.Formula(text); got != want {
			t.Errorf("%q: %v; want %v", text, got, want)
		}
	}
}

// parse reads RFC 4180 strictly, and takes the apostrophes before formulas off.
func parse(t interface{ Fatalf(string, ...any) }, text string) (records [][]string) {
	var record []string
	for text != "" {
		var cell strings.Builder
		if quoted, ok := strings.CutPrefix(text, `"`); ok {
			for text = quoted; ; {
				before, after, found := strings.Cut(text, `"`)
				if !found {
					t.Fatalf("a quote is not closed")
				}
				cell.WriteString(before)
				if text, ok = strings.CutPrefix(after, `"`); !ok {
					text = after
					break
				}
				cell.WriteByte('"')
			}
		} else {
			end := strings.IndexAny(text, ",\r")
			if end < 0 || strings.ContainsAny(text[:end], "\"\n") {
				t.Fatalf("a bare cell at %q", text)
			}
			cell.WriteString(text[:end])
			text = text[end:]
		}
		record = append(record, cell.String())
		switch {
		case strings.HasPrefix(text, ","):
			text = text[1:]
		case strings.HasPrefix(text, "\r\n"):
			text = text[2:]
			records = append(records, record)
			record = nil
		default:
			t.Fatalf("after a cell comes %q", text)
		}
	}
	if record != nil {
		t.Fatalf("the last record has no end")
	}
	return records
}

// leaves flattens what JSON shows, as the columns do.
func leaves(v map[string]json.RawMessage, prefix string, out map[string]string) {
	for name, raw := range v {
		var object map[string]json.RawMessage
		var text string
		switch {
		case string(raw) == "null":
		case name != "words" && json.Unmarshal(raw, &object) == nil:
			leaves(object, prefix+name+".", out)
		case json.Unmarshal(raw, &text) == nil:
			out[prefix+name] = text
		default:
			out[prefix+name] = string(raw)
		}
	}
}

func rows(t *rapid.T) []row {
	texts := rapid.OneOf(
		rapid.String(),
		rapid.StringMatching(`['" \t\r\n]{0,3}[=+\-@＝－a1][ -~]{0,5}`),
		rapid.SampledFrom([]string{"-12.50", "'=x", "''", "a,b", "x\r\ny", "\n", ", \"", "－1"}),
	)
	sum := rapid.Custom(func(t *rapid.T) sums { return sums{rapid.Int64().Draw(t, "n"), rapid.Int64().Draw(t, "m")} })
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) row {
		r := row{
			ID: texts.Draw(t, "id"), Group: rapid.Ptr(texts, true).Draw(t, "group"), On: rapid.Bool().Draw(t, "on"),
			Place: place{Project: rapid.Ptr(texts, true).Draw(t, "project"), Deep: rapid.Ptr(sum, true).Draw(t, "deep")},
			Tags:  rapid.SliceOf(texts).Draw(t, "tags"), Words: rapid.MapOf(texts, texts).Draw(t, "words"),
			sums2: sums2{sum.Draw(t, "sums"), texts.Draw(t, "money")},
		}
		if s := rapid.Int64Range(0, 1<<40).Draw(t, "when"); s > 0 && s < 1<<37 {
			at := time.Unix(s, s%1000*1000).UTC()
			r.When = &at
		}
		return r
	}), 0, 5).Draw(t, "rows")
}

func TestTheRowsAreThoseOfTheJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		api := listing(&report{Data: rows(t), grouped: true})
		var doc struct {
			Data []map[string]json.RawMessage `json:"data"`
		}
		// The answers' HTML-sensitive characters stand as they are in both forms.
		if err := json.Unmarshal(get(api, "/v1/things", "").Body.Bytes(), &doc); err != nil {
			t.Fatalf("%v", err)
		}
		body := get(api, "/v1/things", "text/csv").Body
		if !bytes.Equal(bytes.ToValidUTF8(body.Bytes(), nil), body.Bytes()) {
			t.Fatalf("not UTF-8")
		}
		records := parse(t, body.String())
		if len(records) != len(doc.Data)+1 {
			t.Fatalf("%d records of %d rows", len(records), len(doc.Data))
		}
		for i, want := range doc.Data {
			record := records[i+1]
			if len(record) != len(records[0]) {
				t.Fatalf("record %d has %d cells, the first %d", i, len(record), len(records[0]))
			}
			flat := map[string]string{}
			leaves(want, "", flat)
			for j, name := range records[0] {
				got := record[j]
				if rest.Formula(got) {
					if got[0] != '\'' && got[0] != '[' && got[0] != '{' {
						t.Fatalf("%s would be run: %q", name, got)
					}
					if !slices.Contains([]string{"tags", "words"}, name) {
						got = strings.TrimPrefix(got, "'")
					}
				}
				if name == "tags" || name == "words" {
					got, flat[name] = compact(got), compact(flat[name])
				}
				if got != flat[name] {
					t.Fatalf("%s of row %d is %q; JSON has %q", name, i, got, flat[name])
				}
				delete(flat, name)
			}
			if len(flat) > 0 {
				t.Fatalf("no column has %v", flat)
			}
		}
	})
}

// compact makes two spellings of the same JSON one.
func compact(text string) string {
	var v any
	if json.Unmarshal([]byte(text), &v) != nil {
		return text
	}
	return fmt.Sprintf("%#v", v)
}
