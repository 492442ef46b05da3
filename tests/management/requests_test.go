package management_test

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/id"
)

// denied puts a line of a denied request into the access log, and returns its id.
func (p *platform) denied(n tenant, at, detail string) string {
	p.t.Helper()
	request := id.New(id.Request)
	p.exec(fmt.Sprintf(`INSERT INTO router.access_log VALUES ('%s', '%s', '%[3]s', '%[3]s', 1, '%s', '%s', 'm', '/v1/chat/completions', 429, 'rate_limit_exceeded', '%s', '192.0.2.1', '=cmd()')`,
		n.org, request, at, n.keyID, n.project, detail))
	return request
}

func TestTheAccessLogIsTheOrganisationsOwn(t *testing.T) {
	t.Parallel()
	p := start(t)
	mine := p.denied(p.one, "2026-10-12T09:00:00Z", "the key limit, 60 a minute")
	theirs := p.denied(p.two, "2026-10-12T09:00:00Z", "theirs")
	_, outsider := p.key(p.one, authz.Inference)
	for _, c := range []struct {
		key, path string
		status    int
	}{
		{p.one.reader, "/v1/requests/" + mine, 200}, {p.one.reader, "/v1/requests/" + theirs, 404}, {p.two.reader, "/v1/requests/" + mine, 404},
		{p.one.reader, "/v1/requests/" + id.New(id.Request), 404}, {p.one.reader, "/v1/requests/x", 404}, {p.one.reader, "/v1/requests/key_" + mine[4:], 404},
		{outsider, "/v1/requests/" + mine, 403}, {outsider, "/v1/requests", 403}, {p.one.platform, "/v1/requests", 403},
		{p.one.reader, "/v1/requests?cursor=" + url.QueryEscape("MTprZXlf"), 400}, {p.one.reader, "/v1/requests?model=%ff", 400}, {p.one.reader, "/v1/requests?model=%00", 400},
		{p.one.reader, "/v1/requests?start=2026-10-12T10:00:00Z&end=2026-10-12T09:00:00Z", 422}, {p.one.reader, "/v1/requests?limit=0", 422}, {p.one.reader, "/v1/requests?limit=201", 422},
		{p.one.reader, "/v1/requests?status=-1", 422},
	} {
		if a := p.do("GET", c.path, c.key, ""); a.Code != c.status {
			t.Errorf("%s: %d %s; want %d", c.path, a.Code, a.Body, c.status)
		}
	}
	foreign := p.do("GET", "/v1/requests/"+theirs, p.one.reader, "").refused(404, "not_found")
	missing := p.do("GET", "/v1/requests/"+id.New(id.Request), p.one.reader, "").refused(404, "not_found")
	if foreign["detail"] != missing["detail"] {
		t.Errorf("a foreign request is told from a missing one: %v; %v", foreign, missing)
	}
	v := p.do("GET", "/v1/requests/"+mine, p.one.reader, "").want(200)
	if v["outcome"] != "denied" || v["detail"] != "the key limit, 60 a minute" || v["usage"] != nil || fmt.Sprint(v["count"]) != "1" || v["api_key_id"] != p.one.keyID {
		t.Errorf("shown as %v", v)
	}
	list := items(p.do("GET", "/v1/requests", p.one.reader, "").want(200))
	if len(list) != 1 || member[string](list[0], "id") != mine {
		t.Errorf("listed: %v", list)
	}
}

func TestTheAccessLogByPagesAndAsASheet(t *testing.T) {
	t.Parallel()
	p := start(t)
	var ids []string
	for i := range 7 {
		ids = append([]string{p.denied(p.one, time.Date(2026, 10, 12, 9, i, 0, 0, time.UTC).Format(time.RFC3339), "x")}, ids...)
	}
	var got []string
	for target := "/v1/requests?limit=3"; target != ""; {
		v := p.do("GET", target, p.one.reader, "").want(200)
		for _, it := range items(v) {
			got = append(got, member[string](it, "id"))
		}
		target = ""
		if next := member[string](v, "next_cursor"); next != "" {
			target = "/v1/requests?limit=3&cursor=" + url.QueryEscape(next)
		}
	}
	if strings.Join(got, " ") != strings.Join(ids, " ") {
		t.Errorf("%v; want %v", got, ids)
	}
	a := p.do("GET", "/v1/requests?limit=200", p.one.reader, "", func(r *http.Request) { r.Header.Set("Accept", "text/csv") })
	rows, err := csv.NewReader(a.Body).ReadAll()
	if err != nil || a.Code != 200 || len(rows) != 8 {
		t.Fatalf("%d, %v: %v", a.Code, err, rows)
	}
	for i, name := range rows[0] {
		if name == "user_agent" && rows[1][i] != "'=cmd()" {
			t.Errorf("a sheet would run %q", rows[1][i])
		}
	}
}
