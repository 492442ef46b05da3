package management_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/id"
)

const prune = "operations.prune"

// ran puts a run of metering.fold into the record; lease is when its process is
// given up, by the database's clock.
func (p *platform) ran(runID, trigger, status, lease string) {
	p.t.Helper()
	p.exec(fmt.Sprintf(`INSERT INTO accounts.job_runs (run_id, function, job, trigger, actor, started_at, finished_at, status, counts, error, instance, lease_until)
		VALUES ('%s', 'metering', 'fold', '%s', '', '2026-10-12T08:00:00Z', CASE '%[3]s' WHEN 'running' THEN NULL ELSE '2026-10-12T08:00:01.5Z'::timestamptz END,
		        '%[3]s', '{"deltas":3}', CASE '%[3]s' WHEN 'failed' THEN 'out of paper' ELSE '' END, 'elsewhere/1', %[4]s)`, runID, trigger, status, lease))
}

// foldElsewhere makes metering.fold known, as another process does.
func (p *platform) foldElsewhere() {
	p.t.Helper()
	p.exec(`INSERT INTO accounts.jobs (function, job, every_ms, each_process, runs, failures, busy_us, counts, last_trigger, last_actor, last_started_at, last_finished_at,
		last_status, last_counts, last_error, last_instance, last_success_at)
		VALUES ('metering', 'fold', 5000, false, 700, 2, 9000000, '{"deltas":12}', 'schedule', '', '2026-10-12T09:00:00Z', '2026-10-12T09:00:00.25Z',
		'succeeded', '{"deltas":1}', '', 'elsewhere/1', '2026-10-12T09:00:00.25Z')`)
}

func TestAJobIsStartedByHandAndItsRunShown(t *testing.T) {
	t.Parallel()
	p := start(t)
	v := p.do("GET", "/v1/jobs/"+prune, p.one.platform, "").want(200)
	for name, want := range map[string]string{
		"id": prune, "function": "operations", "name": "prune", "every_ms": "86400000", "runs_in": "leader", "startable": "true",
		"state": "never_run", "runs": "0", "failures": "0", "counts": "map[]", "last_run": "<nil>", "last_success_at": "<nil>",
	} {
		if got := fmt.Sprint(v[name]); got != want {
			t.Errorf("before: %s is %s; want %s", name, got, want)
		}
	}
	p.exec(`INSERT INTO accounts.job_runs (run_id, function, job, trigger, started_at, finished_at, status, instance, lease_until)
		VALUES ('old', 'metering', 'fold', 'schedule', '2026-07-01', '2026-07-01', 'succeeded', 'x', now())`)
	a := p.do("POST", "/v1/jobs/"+prune+"/runs", p.one.platform, `{}`)
	run := a.want(202)
	runID := member[string](run, "id")
	actor := p.scalar(`SELECT key_id FROM accounts.api_keys WHERE org_id = '` + p.one.org + `' AND scopes = '{platform}'`)
	for name, want := range map[string]string{
		"job": prune, "trigger": "api", "actor": actor, "status": "succeeded", "counts": "map[runs:1]", "error": "<nil>",
		"started_at": "2026-10-12T09:30:15Z", "finished_at": "2026-10-12T09:30:15Z", "duration_ms": "0",
	} {
		if got := fmt.Sprint(run[name]); got != want {
			t.Errorf("%s is %s; want %s", name, got, want)
		}
	}
	if got := p.do("GET", "/v1/job-runs/"+runID, p.two.platform, "").want(200); fmt.Sprint(got) != fmt.Sprint(run) {
		t.Errorf("shown as %v; started as %v", got, run)
	}
	audited := p.scalar(`SELECT actor || ' ' || target || ' ' || (detail->>'run') || ' ' || request_id FROM accounts.audit_records WHERE action = 'job.start'`)
	if want := actor + " " + prune + " " + runID + " " + a.Header().Get("X-Request-Id"); audited != want {
		t.Errorf("audited %q; want %q", audited, want)
	}
	second := p.do("POST", "/v1/jobs/"+prune+"/runs", p.one.platform, `{"trigger":"command"}`).want(202)
	if second["trigger"] != "command" {
		t.Errorf("started by %v", second["trigger"])
	}
	v = p.do("GET", "/v1/jobs/"+prune, p.one.platform, "").want(200)
	if v["state"] != "succeeded" || fmt.Sprint(v["runs"], " ", v["failures"]) != "2 0" || fmt.Sprint(v["counts"]) != "map[runs:1]" ||
		v["last_success_at"] != "2026-10-12T09:30:15Z" || fmt.Sprint(member[any](v["last_run"], "id")) != fmt.Sprint(second["id"]) {
		t.Errorf("afterwards %v", v)
	}
	list := items(p.do("GET", "/v1/jobs/"+prune+"/runs", p.one.platform, "").want(200))
	if len(list) != 2 || fmt.Sprint(member[any](list[0], "id")) != fmt.Sprint(second["id"]) || member[string](list[1], "id") != runID {
		t.Errorf("runs %v; want the newest first", list)
	}
}

func TestJobsOfOtherProcessesAreShownAndNotStarted(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.foldElsewhere()
	v := p.do("GET", "/v1/jobs/metering.fold", p.one.platform, "").want(200)
	for name, want := range map[string]string{
		"startable": "false", "every_ms": "5000", "runs": "700", "failures": "2", "busy_ms": "9000", "counts": "map[deltas:12]", "state": "succeeded",
		"last_run": "map[actor:<nil> counts:map[deltas:1] duration_ms:250 error:<nil> finished_at:2026-10-12T09:00:00.25Z id:<nil> instance:elsewhere/1" +
			" job:metering.fold started_at:2026-10-12T09:00:00Z status:succeeded trigger:schedule]",
	} {
		if got := fmt.Sprint(v[name]); got != want {
			t.Errorf("%s is %s; want %s", name, got, want)
		}
	}
	a := p.do("POST", "/v1/jobs/metering.fold/runs", p.one.platform, `{}`)
	if got := a.refused(409, "conflict"); !strings.Contains(fmt.Sprint(got["detail"]), "schedule") {
		t.Errorf("it does not say what runs it: %v", got["detail"])
	}
	var ids []string
	for _, j := range items(p.do("GET", "/v1/jobs", p.one.platform, "").want(200)) {
		ids = append(ids, member[string](j, "id"))
	}
	if all := strings.Join(ids, " "); !strings.Contains(all, "metering.fold ") || !strings.Contains(all, prune) {
		t.Errorf("listed %s", all)
	}
	if got := p.scalar(`SELECT count(*)::text FROM accounts.audit_records`); got != "0" {
		t.Errorf("%s audit records; nothing was started", got)
	}
}

func TestUnknownJobsAndRunsAreNotFound(t *testing.T) {
	t.Parallel()
	p := start(t)
	for _, name := range []string{"metering.ghost", "x", "%00", "a%2fb", "operations.prune'--", long(3000)} {
		p.do("GET", "/v1/jobs/"+name, p.one.platform, "").refused(404, "not_found")
		p.do("GET", "/v1/jobs/"+name+"/runs", p.one.platform, "").refused(404, "not_found")
		p.do("POST", "/v1/jobs/"+name+"/runs", p.one.platform, `{}`).refused(404, "not_found")
		p.do("GET", "/v1/job-runs/"+name, p.one.platform, "").refused(404, "not_found")
	}
	for _, body := range []string{`{"trigger":"schedule"}`, `{"trigger":""}`, `{"trigger":1}`, `{"actor":"x"}`} {
		p.do("POST", "/v1/jobs/"+prune+"/runs", p.one.platform, body).refused(422, "unprocessable")
	}
}

func TestJobsAreThePlatforms(t *testing.T) {
	t.Parallel()
	p := start(t)
	_, all := p.key(p.one, authz.Scopes()...)
	for _, key := range []string{p.one.admin, p.one.reader, all} {
		p.do("GET", "/v1/jobs", key, "").refused(403, "forbidden")
		p.do("GET", "/v1/jobs/"+prune, key, "").refused(403, "forbidden")
		p.do("GET", "/v1/jobs/"+prune+"/runs", key, "").refused(403, "forbidden")
		p.do("POST", "/v1/jobs/"+prune+"/runs", key, `{}`).refused(403, "forbidden")
		p.do("GET", "/v1/job-runs/"+id.New("run"), key, "").refused(403, "forbidden")
	}
	if got := p.scalar(`SELECT count(*)::text FROM accounts.job_runs`); got != "0" {
		t.Errorf("%s runs", got)
	}
}

func TestRunsThatWereLeftBehindAreAbandoned(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.foldElsewhere()
	alive, dead, failed := id.New("run"), id.New("run"), id.New("run")
	p.ran(failed, "schedule", "failed", "now()")
	p.ran(alive, "schedule", "running", "now() + interval '1 minute'")
	p.ran(dead, "api", "running", "now() - interval '1 second'")
	for runID, want := range map[string]string{
		alive: "running <nil> <nil> map[deltas:3] <nil>", dead: "abandoned <nil> <nil> map[deltas:3] <nil>",
		failed: "failed 2026-10-12T08:00:01.5Z 1500 map[deltas:3] out of paper",
	} {
		v := p.do("GET", "/v1/job-runs/"+runID, p.one.platform, "").want(200)
		if got := fmt.Sprint(v["status"], " ", v["finished_at"], " ", v["duration_ms"], " ", v["counts"], " ", v["error"]); got != want {
			t.Errorf("shown as %s; want %s", got, want)
		}
	}
	// One that another process runs by hand is in the way, until it is given up.
	hold := id.New("run")
	p.exec(`INSERT INTO accounts.job_runs (run_id, function, job, trigger, started_at, status, instance, lease_until)
		VALUES ('` + hold + `', 'operations', 'prune', 'api', now(), 'running', 'elsewhere/2', now() + interval '1 hour')`)
	p.do("POST", "/v1/jobs/"+prune+"/runs", p.one.platform, `{}`).refused(409, "conflict")
	p.exec(`UPDATE accounts.job_runs SET lease_until = now() - interval '1 second' WHERE run_id = '` + hold + `'`)
	p.do("POST", "/v1/jobs/"+prune+"/runs", p.one.platform, `{}`).want(202)
	if got := p.scalar(`SELECT status FROM accounts.job_runs WHERE run_id = '` + hold + `'`); got != "abandoned" {
		t.Errorf("kept as %s", got)
	}
}

func TestPagesOfRunsAreWholeAndWithoutRepeats(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.foldElsewhere()
	var want []string
	for range 7 {
		runID := id.New("run")
		p.ran(runID, "schedule", "succeeded", "now()")
		want = append([]string{runID}, want...)
	}
	var got []string
	cursor := ""
	for range 5 {
		v := p.do("GET", "/v1/jobs/metering.fold/runs?limit=3"+cursor, p.one.platform, "").want(200)
		for _, r := range items(v) {
			got = append(got, member[string](r, "id"))
		}
		if v["next_cursor"] == nil {
			break
		}
		cursor = "&cursor=" + member[string](v, "next_cursor")
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("pages have %v; want %v", got, want)
	}
	p.do("GET", "/v1/jobs/metering.fold/runs?cursor=x", p.one.platform, "").refused(400, "invalid_request")
}

func TestAJobThatCantBeRecordedIsNotStarted(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.do("GET", "/v1/jobs", p.one.platform, "").want(200) // the key is known
	p.stopDatabase()
	p.do("POST", "/v1/jobs/"+prune+"/runs", p.one.platform, `{}`).refused(503, "unavailable")
	p.do("GET", "/v1/jobs", p.one.platform, "").refused(503, "unavailable")
}
