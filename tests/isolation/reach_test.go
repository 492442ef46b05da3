package isolation_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/id"
)

// TestNarrowRightsReachWhatIsTheirs is the other half of the table: a manager sees
// what belongs to his project, a developer what belongs to his keys, and nothing else
// in the same lists and figures.
func TestNarrowRightsReachWhatIsTheirs(t *testing.T) {
	p := start(t)
	o := p.one
	aKey := func(project, owner string) string {
		keyID, _ := postgrestest.KeyOf(t, p.url, postgrestest.Ownership{Org: o.id, Project: project, Owner: owner}, authz.Inference)
		return keyID
	}
	elsewhere := postgrestest.ServiceAccount(t, p.url, o.id, authz.Developer)
	managed, own, foreign := aKey(o.home, elsewhere), aKey(o.other, o.users[authz.Developer]), aKey(o.other, elsewhere)
	budget := p.create(o.keys[authz.Owner], "/v1/budgets", `{"scope":{"project_id":"`+o.home+`"},"unit":"money","amount":"1","period":"month","action":"monitor"}`)
	p.fixture("budget", o) // of the other project
	requests := map[string]string{}
	for i, k := range []struct{ key, project string }{{managed, o.home}, {own, o.other}, {foreign, o.other}} {
		requests[k.key] = id.New(id.Request)
		p.exec(`INSERT INTO analytics.usage_minutes VALUES ('%[1]s', date_trunc('minute', now() - interval '1 hour'), date_trunc('month', now() - interval '1 hour')::date,
				'%[2]s', '%[3]s', 'm', 'USD', %[4]d, 0, 0, 0, 0);
			INSERT INTO router.access_log VALUES ('%[1]s', '%[5]s', now(), now(), 1, '%[3]s', '%[2]s', 'm', '/v1/inference', 429, 'c', '', '', '')`,
			o.id, k.project, k.key, []int{100, 10_000, 1_000_000}[i], requests[k.key])
	}
	manager, developer := o.keys[authz.Manager], o.keys[authz.Developer]

	if got := p.ids(manager, "/v1/api-keys"); !slices.Contains(got, managed) || slices.Contains(got, own) || slices.Contains(got, foreign) {
		t.Errorf("the manager's keys: %v", got)
	}
	if got := p.ids(developer, "/v1/api-keys"); !slices.Contains(got, own) || slices.Contains(got, managed) || len(got) != 2 { // and the one he asks with
		t.Errorf("the developer's keys: %v", got)
	}
	if got := p.ids(manager, "/v1/budgets"); !slices.Equal(got, []string{budget}) {
		t.Errorf("the manager's budgets: %v", got)
	}
	if got := p.ids(manager, "/v1/projects"); !slices.Equal(got, []string{o.home}) {
		t.Errorf("the manager's projects: %v", got)
	}
	if got := p.ids(manager, "/v1/requests"); !slices.Equal(got, []string{requests[managed]}) {
		t.Errorf("the manager's requests: %v", got)
	}
	if got := p.ids(developer, "/v1/requests"); !slices.Equal(got, []string{requests[own]}) {
		t.Errorf("the developer's requests: %v", got)
	}
	for who, want := range map[string]int64{manager: 100, developer: 10_000, o.keys[authz.Analyst]: 1_010_103} { // and three of what stands there anyway
		var usage struct {
			Totals struct {
				Requests int64 `json:"requests"`
			} `json:"totals"`
		}
		w := p.do("GET", "/v1/usage?start=2020-01-01T00:00:00Z&date=service", who, "")
		if err := json.Unmarshal(w.Body.Bytes(), &usage); err != nil || usage.Totals.Requests != want {
			t.Errorf("usage: %d requests, %d; want %d: %s", usage.Totals.Requests, w.Code, want, w.Body)
		}
	}
	for _, c := range []struct {
		who, path string
		want      int
	}{
		{manager, "/v1/budgets/" + budget, 200},
		{manager, "/v1/requests/" + requests[managed], 200},
		{manager, "/v1/requests/" + requests[own], 404},
		{developer, "/v1/requests/" + requests[own], 200},
		{developer, "/v1/requests/" + requests[foreign], 404},
		{developer, "/v1/api-keys/" + own, 200},
		{manager, "/v1/api-keys/" + managed, 200},
		{manager, "/v1/projects/" + o.home, 200},
		{manager, "/v1/members/" + o.users[authz.Manager], 200},
		{manager, "/v1/members/" + o.users[authz.Analyst], 404},
	} {
		if w := p.do("GET", c.path, c.who, ""); w.Code != c.want {
			t.Errorf("%s: %d; want %d: %s", c.path, w.Code, c.want, w.Body)
		}
	}
	// Every member revokes what is his own.
	if w := p.do("DELETE", "/v1/api-keys/"+own, developer, ""); w.Code != 204 {
		t.Errorf("the developer revokes his key: %d %s", w.Code, w.Body)
	}
}

// ids lists the ids of a list.
func (p *platform) ids(key, path string) []string {
	p.t.Helper()
	var list struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	w := p.do("GET", path, key, "")
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || w.Code != 200 {
		p.t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	out := []string{}
	for _, d := range list.Data {
		out = append(out, d.ID)
	}
	return out
}

// TestWhoMayCallForOneProjectIsForbiddenInAnother: the key is good and the model is
// there, so it is no matter of being found.
func TestWhoMayCallForOneProjectIsForbiddenInAnother(t *testing.T) {
	p := start(t)
	o := p.one
	analyst := o.users[authz.Analyst]
	p.exec(`INSERT INTO accounts.project_members VALUES ('%s', '%s', '%s', 'developer', 'test', now())`, o.id, o.home, analyst)
	for project, want := range map[string]int{o.home: 422, o.other: 403} { // 422: the model has no price
		_, key := postgrestest.KeyOf(t, p.url, postgrestest.Ownership{Org: o.id, Project: project, Owner: analyst}, authz.Inference)
		if w := p.do("POST", "/v1/chat/completions", key, `{"model":"m","messages":[{"role":"user","content":"x"}]}`); w.Code != want {
			t.Errorf("%d; want %d: %s", w.Code, want, w.Body)
		}
	}
}

// TestSecurityLiftsASuspensionAndGivesNothingAway: what is a trial stays one.
func TestSecurityLiftsASuspensionAndGivesNothingAway(t *testing.T) {
	p := start(t)
	admin, security := p.house.keys[authz.SystemAdministrator], p.house.keys[authz.Security]
	trial := p.create(admin, "/v1/organizations", `{"name":"trial","slug":"trial","plan":"starter","trial_ends_at":"2099-01-01T00:00:00Z","owner":{"email":"t@trial.example"}}`)
	for _, step := range []struct {
		key, move string
		want      int
	}{
		{security, "activate", 403}, {security, "suspend", 200}, {security, "activate", 200}, {security, "activate", 403}, {admin, "activate", 200},
	} {
		if w := p.do("POST", "/v1/organizations/"+trial+"/"+step.move, step.key, `{"reason":"x"}`); w.Code != step.want {
			t.Errorf("%s: %d; want %d: %s", step.move, w.Code, step.want, w.Body)
		}
	}
}
