package management_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/id"
)

func TestAProjectBeginsChangesRestsAndReturns(t *testing.T) {
	t.Parallel()
	p := start(t)
	v := p.do("POST", "/v1/projects", p.one.admin, `{"name":"Search","description":"finds","limits":{"requests_per_minute":60},"models":["demo"]}`).want(201)
	project := member[string](v, "id")
	if !id.Valid(id.Project, project) || fmt.Sprint(v["name"], v["description"], v["status"], v["models"], v["limits"]) !=
		"Searchfindsactive[demo] map[concurrent_requests:<nil> requests_per_minute:60 tokens_per_minute:<nil>]" {
		t.Errorf("created %v", v)
	}
	_, secret := postgrestest.KeyOf(t, p.url, postgrestest.Ownership{Org: p.one.org, Project: project, Owner: p.program(p.one, authz.Admin)}, authz.KeysRead)
	path := "/v1/projects/" + project
	p.clock.advance(time.Second)
	for _, c := range []struct{ body, member, want string }{
		{`{"name":"Find"}`, "name", "Find"},
		{`{"limits":{"tokens_per_minute":5}}`, "limits", "map[concurrent_requests:<nil> requests_per_minute:60 tokens_per_minute:5]"},
		{`{"limits":{"requests_per_minute":null}}`, "limits", "map[concurrent_requests:<nil> requests_per_minute:<nil> tokens_per_minute:5]"},
		{`{"models":["demo","other"]}`, "models", "[demo other]"},
		{`{"models":null}`, "models", "<nil>"},
		{`{"description":""}`, "description", ""},
		{`{}`, "name", "Find"},
	} {
		if v := p.do("PATCH", path, p.one.admin, c.body).want(200); fmt.Sprint(v[c.member]) != c.want || v["updated_at"] != "2026-10-12T09:30:16Z" {
			t.Errorf("%s: %v", c.body, v)
		}
	}
	if !p.works(secret) {
		t.Fatal("the key of a project does not work")
	}
	v = p.do("POST", path+"/archive", p.one.admin, "").want(200)
	if v["status"] != "archived" || v["archived_at"] != "2026-10-12T09:30:16Z" || p.works(secret) { // at once: the clock stands still
		t.Errorf("archived %v, its key works: %v", v, p.works(secret))
	}
	p.do("POST", path+"/archive", p.one.admin, "").want(200)
	p.do("GET", path, p.one.admin, "").want(200)
	v = p.do("POST", path+"/restore", p.one.admin, "").want(200)
	if v["status"] != "active" || v["archived_at"] != nil || !p.works(secret) {
		t.Errorf("restored %v, its key works: %v", v, p.works(secret))
	}
	p.do("POST", path+"/restore", p.one.admin, "").want(200)
	want := "project.create" + strings.Repeat(" project.change", 6) + " project.archive project.restore"
	if got := p.audited(project); got != want {
		t.Errorf("audited %q; want %q", got, want)
	}
	if got := p.scalar(`SELECT detail->>'keys' FROM accounts.audit_records WHERE action = 'project.archive'`); got != "1" {
		t.Errorf("the archive says %q keys", got)
	}
}

func TestTheLastActiveProjectStays(t *testing.T) {
	t.Parallel()
	p := start(t)
	second := member[string](p.do("POST", "/v1/projects", p.one.admin, `{"name":"second"}`).want(201), "id")
	keys := []string{}
	for _, project := range []string{p.one.project, second} { // each archives the other's project
		_, key := postgrestest.KeyOf(t, p.url, postgrestest.Ownership{Org: p.one.org, Project: project, Owner: p.program(p.one, authz.Admin)}, authz.ProjectsWrite)
		keys = append(keys, key)
	}
	for range 5 {
		p.exec(`UPDATE accounts.projects SET archived_at = NULL`)
		p.clock.advance(time.Second)
		codes := make([]int, 2)
		var wg sync.WaitGroup
		for i, project := range []string{second, p.one.project} {
			wg.Go(func() { codes[i] = p.do("POST", "/v1/projects/"+project+"/archive", keys[i], "").Code })
		}
		wg.Wait()
		slices.Sort(codes)
		left := p.scalar(`SELECT count(*)::text FROM accounts.projects WHERE org_id = '` + p.one.org + `' AND archived_at IS NULL`)
		if codes[0] != 200 || codes[1] != 409 && codes[1] != 401 || left != "1" {
			t.Errorf("answers %v, projects left: %s", codes, left)
		}
	}
}

func TestARestoredProjectNeedsRoom(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.exec(`UPDATE accounts.plans SET max_projects = 2 WHERE plan_id = 'starter'`)
	second := member[string](p.do("POST", "/v1/projects", p.one.admin, `{"name":"second"}`).want(201), "id")
	p.do("POST", "/v1/projects/"+second+"/archive", p.one.admin, "").want(200)
	p.do("POST", "/v1/projects", p.one.admin, `{"name":"third"}`).want(201)
	p.do("POST", "/v1/projects/"+second+"/restore", p.one.admin, "").refused(409, "conflict")
}

func TestWhatAProjectCanBeMadeFrom(t *testing.T) {
	t.Parallel()
	p := start(t)
	path := "/v1/projects/" + p.one.project
	for body, want := range map[string]int{
		`{"name":""}`:                                        422,
		`{"name":"   "}`:                                     422,
		`{"name":"a\u0000"}`:                                 400,
		`{"name":"a\u001b[2J"}`:                              422,
		`{"name":"a\u2066b"}`:                                422,
		`{"name":"` + long(101) + `"}`:                       422,
		`{"name":"a","models":[]}`:                           422,
		`{"name":"a","models":[""]}`:                         422,
		`{"name":"a","models":["a\nb"]}`:                     422,
		`{"name":"a","models":"demo"}`:                       422,
		`{"name":"a","limits":{"requests_per_minute":0}}`:    422,
		`{"name":"a","limits":{"requests_per_minute":-1}}`:   422,
		`{"name":"a","limits":{"requests_per_minute":1.5}}`:  422,
		`{"name":"a","limits":{"requests_per_minute":1e30}}`: 422,
		`{"name":"a","limits":{"price":1}}`:                  422,
	} {
		for _, c := range [][2]string{{"POST", "/v1/projects"}, {"PATCH", path}} {
			if a := p.do(c[0], c[1], p.one.admin, body); a.Code != want {
				t.Errorf("%s %s: %d; want %d: %s", c[0], body, a.Code, want, a.Body)
			}
		}
	}
	if got := p.scalar(`SELECT count(*)::text FROM accounts.audit_records`); got != "0" {
		t.Errorf("%s audit records", got)
	}
}

func TestAProjectsTeam(t *testing.T) {
	t.Parallel()
	p := start(t)
	dev, account := p.person(p.one, authz.Developer), p.program(p.one, authz.Developer)
	team := "/v1/projects/" + p.one.project + "/members"
	v := p.do("PUT", team+"/"+dev.id, p.one.admin, `{"role":"viewer"}`).want(200)
	if fmt.Sprint(v["member_id"], v["role"], v["email"], v["added_by"], v["created_at"]) != dev.id+"viewer"+dev.id+"@example.com"+p.one.keyID+"2026-10-12T09:30:15Z" {
		t.Errorf("set %v", v)
	}
	p.do("PUT", team+"/"+dev.id, p.one.admin, `{"role":"viewer"}`).want(200) // nothing changes
	p.do("PUT", team+"/"+dev.id, p.one.admin, `{"role":"manager"}`).want(200)
	p.do("PUT", team+"/"+account, p.one.admin, `{"role":"developer"}`).want(200)
	for _, body := range []string{`{"role":"owner"}`, `{"role":""}`, `{}`} {
		p.do("PUT", team+"/"+dev.id, p.one.admin, body).refused(422, "unprocessable")
	}
	for _, nobody := range []string{"user_x", "sa_x", "x", id.New(id.User)} {
		p.do("PUT", team+"/"+nobody, p.one.admin, `{"role":"viewer"}`).refused(404, "not_found")
		p.do("DELETE", team+"/"+nobody, p.one.admin, "").refused(404, "not_found")
	}
	p.do("PUT", "/v1/projects/"+id.New(id.Project)+"/members/"+dev.id, p.one.admin, `{"role":"viewer"}`).refused(404, "not_found")
	v = p.do("GET", "/v1/members/"+dev.id, p.one.admin, "").want(200)
	if got := fmt.Sprint(v["projects"]); got != "[map[project_id:"+p.one.project+" role:manager]]" {
		t.Errorf("he is in %s", got)
	}
	if list := p.pages(team, p.one.admin, 1); len(list) != 2 || member[string](list[0], "member_id") != account || member[string](list[1], "member_id") != dev.id {
		t.Errorf("the team is %v", list)
	}
	p.do("DELETE", team+"/"+dev.id, p.one.admin, "").want(204)
	p.do("DELETE", team+"/"+dev.id, p.one.admin, "").refused(404, "not_found")
	if got := p.audited(dev.id); got != "project_member.set project_member.set project_member.remove" {
		t.Errorf("audited %q", got)
	}
}

// A manager of a project acts within it only, and on nobody who is one too.
func TestAProjectsManagerActsOnNoPeer(t *testing.T) {
	t.Parallel()
	p := start(t)
	second := member[string](p.do("POST", "/v1/projects", p.one.admin, `{"name":"second"}`).want(201), "id")
	lead, boss := p.person(p.one, authz.Developer), p.person(p.one, authz.Manager)
	peer, dev, viewer, outside := p.person(p.one, authz.Developer), p.person(p.one, authz.Developer), p.person(p.one, authz.Developer), p.person(p.one, authz.Developer)
	team := "/v1/projects/" + p.one.project + "/members/"
	for who, role := range map[string]string{lead.id: "manager", boss.id: "viewer", peer.id: "manager", dev.id: "developer", viewer.id: "viewer"} {
		p.do("PUT", team+who, p.one.admin, `{"role":"`+role+`"}`).want(200)
	}
	p.clock.advance(time.Second)
	for name, by := range map[string]person{"the manager of the project": lead, "a manager of his projects": boss} {
		for _, c := range []struct {
			what, method, path, body string
			status                   int
		}{
			{"makes a viewer a developer", "PUT", team + viewer.id, `{"role":"developer"}`, 200},
			{"makes him a viewer again", "PUT", team + viewer.id, `{"role":"viewer"}`, 200},
			{"takes somebody in", "PUT", team + outside.id, `{"role":"developer"}`, 200},
			{"takes him out", "DELETE", team + outside.id, "", 204},
			{"makes a manager", "PUT", team + dev.id, `{"role":"manager"}`, 403},
			{"takes in a manager", "PUT", team + outside.id, `{"role":"manager"}`, 403},
			{"demotes a manager", "PUT", team + peer.id, `{"role":"viewer"}`, 403},
			{"takes out a manager", "DELETE", team + peer.id, "", 403},
			{"works in another project", "PUT", "/v1/projects/" + second + "/members/" + dev.id, `{"role":"viewer"}`, 404},
			{"reads another project", "GET", "/v1/projects/" + second, "", 404},
			{"reads another team", "GET", "/v1/projects/" + second + "/members", "", 404},
			{"reads his team", "GET", strings.TrimSuffix(team, "/"), "", 200},
			{"reads his project", "GET", "/v1/projects/" + p.one.project, "", 200},
			{"changes his project", "PATCH", "/v1/projects/" + p.one.project, `{"name":"mine"}`, 403},
			{"archives his project", "POST", "/v1/projects/" + p.one.project + "/archive", "", 403},
			{"makes a project", "POST", "/v1/projects", `{"name":"mine"}`, 403},
		} {
			if a := p.do(c.method, c.path, by.key, c.body); a.Code != c.status {
				t.Errorf("%s %s: %d; want %d: %s", name, c.what, a.Code, c.status, a.Body)
			}
		}
		if got := p.pages("/v1/projects", by.key, 10); len(got) != 1 {
			t.Errorf("%s sees %d projects", name, len(got))
		}
	}
	// Nobody raises himself; who is not a manager changes nothing; one may step down.
	p.do("PUT", team+boss.id, boss.key, `{"role":"developer"}`).refused(403, "forbidden")
	p.do("PUT", team+dev.id, dev.key, `{"role":"manager"}`).refused(403, "forbidden")
	p.do("PUT", team+viewer.id, viewer.key, `{"role":"developer"}`).refused(403, "forbidden")
	p.do("GET", strings.TrimSuffix(team, "/"), viewer.key, "").refused(403, "forbidden")
	p.do("PUT", team+lead.id, lead.key, `{"role":"viewer"}`).want(200)
	p.do("PUT", team+lead.id, lead.key, `{"role":"manager"}`).refused(403, "forbidden")
	p.do("DELETE", team+boss.id, boss.key, "").want(204)
	p.do("PUT", team+boss.id, boss.key, `{"role":"viewer"}`).refused(404, "not_found") // it is none of his any more
}

func TestAChangedTeamAndProjectCountInAnotherProcessWithinASecond(t *testing.T) {
	t.Parallel()
	p := start(t)
	other := p.other()
	other.wire("identity")
	dev := p.person(p.one, authz.Developer)
	second := member[string](p.do("POST", "/v1/projects", p.one.admin, `{"name":"second"}`).want(201), "id")
	seat := "/v1/projects/" + second + "/members/" + dev.id
	sees := func(want int) {
		t.Helper()
		p.clock.advance(time.Second)
		if a := other.do("GET", "/v1/projects/"+second, dev.key, ""); a.Code != want {
			t.Errorf("the other process answers %d; want %d", a.Code, want)
		}
	}
	sees(404)
	p.do("PUT", seat, p.one.admin, `{"role":"viewer"}`).want(200)
	sees(200)
	p.do("POST", "/v1/projects/"+p.one.project+"/archive", p.one.admin, "").want(200) // that of all keys here
	sees(401)
	p.exec(`UPDATE accounts.projects SET archived_at = NULL`)
	p.clock.advance(time.Second)
	p.do("DELETE", seat, p.one.admin, "").want(204)
	sees(404)
}
