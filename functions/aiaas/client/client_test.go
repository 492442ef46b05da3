package client_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/aiaas/aiaas/functions/aiaas/client"
)

// at is the time of these tests.
func at() time.Time { return time.Date(2026, 10, 12, 9, 30, 15, 0, time.UTC) }

// terminal is the command with a person before it.
type terminal struct {
	asks  bool
	types string // what the person answers
	url   string
}

func (t *terminal) run(line string) (stdout, stderr string, err error) {
	root := &cobra.Command{Use: "aiaas", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(client.Commands(client.Env{
		Getenv: func(name string) string { return map[string]string{"AIAAS_KEY": "k"}[name] },
		Now:    at, Asks: func() bool { return t.asks },
	})...)
	var out, errs bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&errs)
	root.SetIn(strings.NewReader(t.types))
	root.SetArgs(append(strings.Fields(line), "--base-url", t.url))
	err = root.Execute()
	return out.String(), errs.String(), err
}

// server notes what it is asked, and answers nothing.
func server(t *testing.T, status int, body string) (address string, asked *[]string) {
	t.Helper()
	var list []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		_, _ = b.ReadFrom(r.Body)
		query, _ := url.QueryUnescape(r.URL.RawQuery)
		list = append(list, strings.TrimSpace(r.Method+" "+r.URL.EscapedPath()+" "+query+b.String()))
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	return s.URL, &list
}

func TestWhatCannotBeUndoneIsAsked(t *testing.T) {
	for _, c := range []struct {
		name  string
		asks  bool
		types string
		flags string
		done  bool
		code  int
	}{
		{"yes", true, "y\n", "", true, 0},
		{"YES without an end", true, "YES", "", true, 0},
		{"no", true, "n\n", "", false, 1},
		{"just Enter", true, "\n", "", false, 1},
		{"the end of input", true, "", "", false, 1},
		{"nobody", false, "y\n", "", false, 2},
		{"said before", false, "", " --yes", true, 0},
	} {
		address, asked := server(t, 204, "")
		_, stderr, err := (&terminal{asks: c.asks, types: c.types, url: address}).run("key revoke key_1" + c.flags)
		if client.ExitCode(err) != c.code || (len(*asked) == 1) != c.done {
			t.Errorf("%s: exit code %d, asked for %v; want %d", c.name, client.ExitCode(err), *asked, c.code)
		}
		if c.asks && !strings.Contains(stderr, "Revoke key_1?") {
			t.Errorf("%s: it asks %q", c.name, stderr)
		}
	}
}

func TestCommandsMakeTheseRequests(t *testing.T) {
	for line, want := range map[string]string{
		"key create --name a --scopes inference,usage:read --scopes models:read --expires 7d --tokens-per-minute 5": `POST /v1/api-keys {"expires_at":"2026-10-19T09:30:15Z","limits":{"tokens_per_minute":5},"name":"a","scopes":["inference","usage:read","models:read"]}`,
		"key create --name a --scopes inference --expires 2027-01-01":                                               `POST /v1/api-keys {"expires_at":"2027-01-01T00:00:00Z","name":"a","scopes":["inference"]}`,
		"key create --name a --scopes inference --service-account sa_1 --ip 10.0.0.0/8,192.0.2.1":                   `POST /v1/api-keys {"ip_allow_list":["10.0.0.0/8","192.0.2.1"],"name":"a","owner":{"service_account_id":"sa_1"},"scopes":["inference"]}`,
		"key list --state rotating --owner user_1 --rotation-due":                                                   `GET /v1/api-keys limit=200&owner_id=user_1&rotation_due=true&state=rotating`,
		"key show key_1": `GET /v1/api-keys/key_1`,
		"key update key_1 --scopes inference --reset models,expires,tokens-per-minute": `PATCH /v1/api-keys/key_1 {"expires_at":null,"limits":{"tokens_per_minute":null},"models":null,"scopes":["inference"]}`,
		"key rotate key_1":                     `POST /v1/api-keys/key_1/rotate {}`,
		"key rotate key_1 --overlap 7d":        `POST /v1/api-keys/key_1/rotate {"overlap_seconds":604800}`,
		"key rotate key_1 --overlap 90m":       `POST /v1/api-keys/key_1/rotate {"overlap_seconds":5400}`,
		"key suspend key_1 --reason odd --yes": `POST /v1/api-keys/key_1/suspend {"reason":"odd"}`,
		"key resume key_1":                     `POST /v1/api-keys/key_1/resume {}`,
		"key revoke key_1 --reason odd --yes":  `DELETE /v1/api-keys/key_1 reason=odd`,
		"model get a/b":                        `GET /v1/platform/models/a%2Fb`,
		"model disable {1}/../b --yes":         `PATCH /v1/models/%7B1%7D%2F..%2Fb {"disabled":true}`,
		"model price a/b --book eu --input-usd 1 --output-usd 2 --from 2027-01-01T00:00:00+01:00":          `POST /v1/price-books/eu/prices {"effective_from":"2026-12-31T23:00:00Z","input_usd_per_million":"1","model":"a/b","output_usd_per_million":"2"}`,
		"model update-backend be_1 --disabled=false":                                                       `PATCH /v1/backends/be_1 {"disabled":false}`,
		"budget create --project p --unit tokens --amount 5 --period week --action block --thresholds 1,2": `POST /v1/budgets {"action":"block","amount":"5","period":"week","scope":{"project_id":"p"},"thresholds":[1,2],"unit":"tokens"}`,
		"budget update bud_1 --action monitor":                                                             `PATCH /v1/budgets/bud_1 {"action":"monitor"}`,
		"usage":                                                                                            `GET /v1/usage`,
		"usage --month 2026-02":                                                                            `GET /v1/usage end=2026-03-01T00:00:00Z&start=2026-02-01T00:00:00Z`,
		"usage --month 2026-03 --tz Europe/Berlin --group-by key":                                          `GET /v1/usage end=2026-04-01T00:00:00+02:00&group_by=key&start=2026-03-01T00:00:00+01:00&tz=Europe/Berlin`,
		"usage --last 7d --bucket day --date accounting":                                                   `GET /v1/usage bucket=day&date=accounting&start=2026-10-05T09:30:00Z`,
		"usage --start 2026-10-01 --end 2026-10-02T00:00:00+02:00":                                         `GET /v1/usage end=2026-10-01T22:00:00Z&start=2026-10-01T00:00:00Z`,
		"usage --start 90m":                                                                                `GET /v1/usage start=2026-10-12T08:00:00Z`,
		"invoice run --period 2026-10":                                                                     `POST /v1/invoices/runs {"period":"2026-10"}`,
		"user add --email a@example.com --role developer --name Ada":                                       `POST /v1/members {"email":"a@example.com","name":"Ada","role":"developer"}`,
		"user update user_1 --role admin":                                                                  `PATCH /v1/members/user_1 {"role":"admin"}`,
		"user suspend user_1 --reason leave --yes":                                                         `POST /v1/members/user_1/suspend {"reason":"leave"}`,
		"user remove user_1 --transfer-to sa_1 --yes":                                                      `DELETE /v1/members/user_1 transfer_to=sa_1`,
		"user invite --email a@example.com --role developer --project proj_1=viewer,proj_2=manager":        `POST /v1/invitations {"email":"a@example.com","projects":[{"project_id":"proj_1","role":"viewer"},{"project_id":"proj_2","role":"manager"}],"role":"developer"}`,
		"user invitations --status open":                                                                   `GET /v1/invitations limit=200&status=open`,
		"user resend invite_1":                                                                             `POST /v1/invitations/invite_1/resend {}`,
		"user withdraw invite_1 --yes":                                                                     `DELETE /v1/invitations/invite_1`,
		"service-account delete sa_1 --yes":                                                                `DELETE /v1/service-accounts/sa_1`,
		"role create --name k --permissions keys.read,keys.create --reach own":                             `POST /v1/roles {"name":"k","permissions":["keys.read","keys.create"],"reach":"own"}`,
		"role permissions":                                                                                 `GET /v1/policy/permissions`,
		"project update proj_1 --all-models":                                                               `PATCH /v1/projects/proj_1 {"models":null}`,
		"project create --name p --models a,b --requests-per-minute 5":                                     `POST /v1/projects {"limits":{"requests_per_minute":5},"models":["a","b"],"name":"p"}`,
		"project archive proj_1 --yes":                                                                     `POST /v1/projects/proj_1/archive {}`,
		"project set-member proj_1 user_1 --role viewer":                                                   `PUT /v1/projects/proj_1/members/user_1 {"role":"viewer"}`,
		"project remove-member proj_1 user_1 --yes":                                                        `DELETE /v1/projects/proj_1/members/user_1`,
		"invoice preview":                                                                                  `GET /v1/invoices/preview`,
		"job run metering.fold --no-wait":                                                                  `POST /v1/jobs/metering.fold/runs {"trigger":"command"}`,
		"request get req_1":                                                                                `GET /v1/requests/req_1`,
	} {
		address, asked := server(t, 200, `{"id":"x","status":"running","data":[],"totals":{},"next_cursor":null}`)
		_, _, err := (&terminal{url: address}).run(line)
		if err != nil || len(*asked) != 1 || (*asked)[0] != want {
			t.Errorf("%s: %v asked for\n%q; want\n%q", line, err, *asked, want)
		}
	}
}

// A key that was found stands in no argument; and nobody needs one to report it.
func TestAFoundKeyIsReported(t *testing.T) {
	address, asked := server(t, 202, `{"status":"accepted"}`)
	_, _, err := (&terminal{url: address, types: " aiaas_live_x\n"}).run("key report-leak --source here")
	if want := `POST /v1/api-keys/revoke-leaked {"key":"aiaas_live_x","source":"here"}`; err != nil || len(*asked) != 1 || (*asked)[0] != want {
		t.Errorf("%v asked for %q; want %q", err, *asked, want)
	}
	out, _, err := (&terminal{url: address, types: "aiaas_live_x"}).run("key report-leak --dry-run")
	if err != nil || strings.Contains(out, "aiaas_live_x") || len(*asked) != 1 {
		t.Errorf("rehearsed: %q, %v", out, err)
	}
	for line, types := range map[string]string{
		"key report-leak": " ", "key report-leak aiaas_live_x": "aiaas_live_x", "key update key_1": "", "key update key_1 --expires 7d --reset expires": "",
		"key update key_1 --reset name": "", "key rotate key_1 --overlap tomorrow": "", "key rotate key_1 --overlap -1h": "", "key rotate key_1 --overlap 1ms": "", "key rotate key_1 --overlap 99999d": "",
		"key create --name a --scopes inference --member m --service-account s": "", "key list --state odd": "", "user invite --email a@b.example --role developer --project proj_1": "", "user invite --email a@b.example": "", "user invitations --status odd": "",
	} {
		if _, _, err := (&terminal{url: address, types: types}).run(line); client.ExitCode(err) != client.ExitUsage {
			t.Errorf("%s: %v; want a usage error", line, err)
		}
	}
	if len(*asked) != 1 {
		t.Errorf("asked for %v", *asked)
	}
}

func TestSpansThatAreNone(t *testing.T) {
	for _, span := range []string{"", "d", "0d", "-1d", "1.5d", "7", "99999999999d", "4294967295w", "7 d", "1h-", "-1h", "0s", "9999999h"} {
		root := &terminal{url: "http://127.0.0.1:1"}
		_, _, err := root.run("usage --last=" + strings.ReplaceAll(span, " ", "\u00a0"))
		if client.ExitCode(err) != client.ExitUsage {
			t.Errorf("%q: %v; want a usage error", span, err)
		}
	}
}

func TestExitCodesOfErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
	}{
		{nil, 0},
		{errors.New("x"), 1},
		{&client.APIError{Status: 404}, 1},
		{&client.APIError{Status: 500}, 1},
		{client.Usage("x"), 2},
		{fmt.Errorf("wrapped: %w", client.Usage("x")), 2},
		{&client.APIError{Status: 503}, 3},
		{fmt.Errorf("wrapped: %w", &client.APIError{Status: 504}), 3},
		{fmt.Errorf("wrapped: %w", client.ErrUnavailable), 3},
	} {
		if got := client.ExitCode(c.err); got != c.code {
			t.Errorf("%v: %d; want %d", c.err, got, c.code)
		}
	}
}

// What a service says is shown, and never obeyed.
func TestAnAnswerDoesNotMoveTheCursor(t *testing.T) {
	const evil = `a\u001b[2Jb\u0007\u202e`
	for line, body := range map[string]string{
		"key list":     `{"data":[{"id":"k","name":"` + evil + `"}],"next_cursor":null}`,
		"budget get x": `{"id":"` + evil + `","` + evil + `":1}`,
	} {
		address, _ := server(t, 200, body)
		out, _, err := (&terminal{url: address}).run(line)
		if err != nil || strings.ContainsAny(out, "\x1b\x07\u202e") || !strings.Contains(out, `a\u{1b}[2Jb\u{7}\u{202e}`) {
			t.Errorf("%s: %v %q", line, err, out)
		}
	}
	address, _ := server(t, 400, `{"detail":"`+evil+`","code":"`+evil+`"}`)
	_, _, err := (&terminal{url: address}).run("key list")
	if err == nil || strings.ContainsAny(err.Error(), "\x1b\x07\u202e") {
		t.Errorf("an error: %q", err)
	}
}

// Numbers keep their digits, members their order, whatever the form.
func TestAnAnswerStaysAsItIs(t *testing.T) {
	const body = `{"z":9007199254740993,"a":1.50,"text":"<&>","n":null,"list":[{"b":true}],"o":{"x":{"y":-1}},"e":{}}`
	address, _ := server(t, 200, body)
	for form, want := range map[string]string{
		"json":  "{\n  \"z\": 9007199254740993,\n  \"a\": 1.50,\n  \"text\": \"<&>\",\n  \"n\": null,\n  \"list\": [\n    {\n      \"b\": true\n    }\n  ],\n  \"o\": {\n    \"x\": {\n      \"y\": -1\n    }\n  },\n  \"e\": {}\n}\n",
		"csv":   "z,a,text,n,list,o.x.y,e\r\n9007199254740993,1.50,<&>,,\"[{\"\"b\"\":true}]\",-1,{}\r\n",
		"table": "z      9007199254740993\na      1.50\ntext   <&>\nn      -\nlist   b=yes\no.x.y  -1\ne      -\n",
	} {
		out, _, err := (&terminal{url: address}).run("budget get x --output " + form)
		if err != nil || out != want {
			t.Errorf("%s: %v\n%q; want\n%q", form, err, out, want)
		}
	}
}

func TestCostsAreShownExactly(t *testing.T) {
	for nano, want := range map[string]string{
		"0": "0.00", "1": "0.000000001", "1720000": "0.00172", "1000000000": "1.00", "12500000000": "12.50", "-12500000001": "-12.500000001",
		"9223372036854775807": "9223372036.854775807",
	} {
		address, _ := server(t, 200, `{"data":[],"totals":{"cost_nano":`+nano+`},"fresh_until":"x"}`)
		out, _, err := (&terminal{url: address}).run("usage")
		_, total, _ := strings.Cut(out, "TOTAL")
		fields := strings.Fields("0 0 " + total)
		if err != nil || fields[len(fields)-2] != want {
			t.Errorf("%s: %v %q; want %s", nano, err, out, want)
		}
	}
}

func TestAFailedJobIsAnError(t *testing.T) {
	for status, code := range map[string]int{"succeeded": 0, "failed": 1, "abandoned": 1} {
		address, _ := server(t, 200, `{"id":"run_1","status":"`+status+`","counts":{"events":3},"error":"it broke"}`)
		out, _, err := (&terminal{url: address}).run("job run a.b")
		if client.ExitCode(err) != code || !strings.Contains(out, "events") || (code == 1 && !strings.Contains(err.Error(), "it broke")) {
			t.Errorf("%s: %v %q; want %d", status, err, out, code)
		}
	}
}

func TestARunIsWatchedToItsEnd(t *testing.T) {
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path)
		status := "running"
		if len(asked) > 2 {
			status = "succeeded"
		}
		_, _ = fmt.Fprintf(w, `{"id":"run_1","status":%q,"counts":{"events":%d}}`, status, len(asked))
	}))
	defer s.Close()
	out, _, err := (&terminal{url: s.URL}).run("job run a.b")
	if want := "POST /v1/jobs/a.b/runs GET /v1/job-runs/run_1 GET /v1/job-runs/run_1"; err != nil || strings.Join(asked, " ") != want {
		t.Errorf("%v: asked for %v; want %s", err, asked, want)
	}
	if strings.Count(out, "events") != 1 || !strings.Contains(out, "3\n") {
		t.Errorf("it shows %q; want the end alone", out)
	}
	asked = nil
	out, _, err = (&terminal{url: s.URL}).run("job run a.b --no-wait")
	if err != nil || len(asked) != 1 || !strings.Contains(out, "running") {
		t.Errorf("without waiting: %v, asked for %v: %q", err, asked, out)
	}
}
