package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/aiaas/aiaas/functions"
	"github.com/aiaas/aiaas/tests/harness"
)

// jobView is a job as the API shows it.
type jobView struct {
	ID        string
	EveryMS   int64  `json:"every_ms"`
	RunsIn    string `json:"runs_in"`
	Startable bool
	State     string
	Runs      int64
	Failures  int64
}

// runView is a run of a job.
type runView struct {
	ID, Job, Trigger, Status string
	Error                    *string
}

func jobsOf(t *testing.T, g *harness.Gateway) map[string]jobView {
	t.Helper()
	var list struct{ Data []jobView }
	g.Manage(t, harness.Call{Method: http.MethodGet, Path: "/v1/jobs", Key: g.PlatformKey}, http.StatusOK, &list)
	out := map[string]jobView{}
	for _, j := range list.Data {
		out[j.ID] = j
	}
	return out
}

func runOf(t *testing.T, g *harness.Gateway, runID string) (r runView) {
	t.Helper()
	g.Manage(t, harness.Call{Method: http.MethodGet, Path: "/v1/job-runs/" + runID, Key: g.PlatformKey}, http.StatusOK, &r)
	return r
}

func startJob(t *testing.T, g *harness.Gateway, jobID string) (r runView) {
	t.Helper()
	g.Manage(t, harness.Call{Path: "/v1/jobs/" + jobID + "/runs", Key: g.PlatformKey, Body: `{}`}, http.StatusAccepted, &r)
	return r
}

// TestJobsAreRecorded finds every schedule of the catalogue in the record of a
// process that was just started: those of a minute and more have run once and
// have a row, the frequent ones are counted and have none.
func TestJobsAreRecorded(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Options{})
	for _, e := range functions.Catalogue() {
		for _, s := range e.Spec.Schedules {
			jobID, in := e.Spec.Name+"."+s.Job, "leader"
			if s.EachProcess {
				in = "each_process"
			}
			var j jobView
			harness.Eventually(t, "a run of "+jobID, func() (bool, string) {
				j = jobsOf(t, g)[jobID]
				return j.State == "succeeded", fmt.Sprintf("%+v", j)
			})
			if j.EveryMS != s.Every.Milliseconds() || j.RunsIn != in || !j.Startable || j.Failures != 0 {
				t.Errorf("%+v", j)
			}
		}
	}
	harness.Eventually(t, "many runs", func() (bool, string) {
		j := jobsOf(t, g)["metering.drain"]
		return j.Runs > 20, fmt.Sprintf("%+v", j)
	})
	if n := g.Database().Int(t, `SELECT count(*) FROM accounts.job_runs r JOIN accounts.jobs j USING (function, job) WHERE j.every_ms < 60000`); n != 0 {
		t.Errorf("%d rows of jobs that are frequent and run well", n)
	}
	if n := g.Database().Int(t, `SELECT count(*) FROM accounts.job_runs WHERE trigger = 'schedule' AND status = 'succeeded'`); n == 0 {
		t.Error("no row of a job of a minute and more")
	}
	run := startJob(t, g, "metering.drain")
	harness.Eventually(t, "the end of what was started by hand", func() (bool, string) {
		r := runOf(t, g, run.ID)
		return r.Status == "succeeded" && r.Trigger == "api", fmt.Sprintf("%+v", r)
	})
	runs := jobsOf(t, g)["metering.drain"].Runs
	g.Stop(t)
	g.Restart(t)
	if now := jobsOf(t, g)["metering.drain"].Runs; now < runs {
		t.Errorf("%d runs after a restart, %d before", now, runs)
	}
}

// block keeps requests.prune, which has no turn by schedule for an hour, from ending until
// the returned function is called.
func block(t *testing.T, g *harness.Gateway) (release func()) {
	t.Helper()
	conn := g.Database().Conn(t)
	tx, err := conn.Begin(t.Context())
	harness.Must(t, err)
	_, err = tx.Exec(t.Context(), `LOCK TABLE router.access_log IN ACCESS EXCLUSIVE MODE`)
	harness.Must(t, err)
	return func() {
		t.Helper()
		harness.Must(t, tx.Rollback(t.Context()))
	}
}

// TestTerminationWaitsForAJobStartedByHand has a job that runs when the signal
// comes, and ends within the grace.
func TestTerminationWaitsForAJobStartedByHand(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Options{Env: map[string]string{"AIAAS_DRAIN_DELAY": "0", "AIAAS_SHUTDOWN_GRACE": "24h"}})
	release := block(t, g)
	run := startJob(t, g, "requests.prune")
	if run.Status != "running" || runOf(t, g, run.ID).Status != "running" || jobsOf(t, g)["requests.prune"].State != "running" {
		t.Errorf("started as %+v", run)
	}
	a := g.Do(t.Context(), harness.Call{Path: "/v1/jobs/requests.prune/runs", Key: g.PlatformKey, Body: `{}`})
	if a.Status != http.StatusConflict || a.Code() != "conflict" {
		t.Errorf("a second one: %s", a)
	}
	g.Signal(t, syscall.SIGTERM)
	harness.Eventually(t, "a closed listener", func() (bool, string) { return probe(t.Context(), g.BaseURL) == 0, "it listens" })
	if !g.Running() {
		t.Error("it did not wait for the job")
	}
	release()
	if code := g.Wait(t); code != 0 {
		t.Errorf("exit code %d: %s", code, g.Stderr())
	}
	g.Restart(t)
	if r := runOf(t, g, run.ID); r.Status != "succeeded" {
		t.Errorf("recorded as %+v", r)
	}
}

// TestTerminationStopsAJobStartedByHand has one that does not end.
func TestTerminationStopsAJobStartedByHand(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Options{Env: map[string]string{"AIAAS_SHUTDOWN_GRACE": "1s"}})
	release := block(t, g)
	run := startJob(t, g, "requests.prune")
	g.Signal(t, syscall.SIGTERM)
	if code := g.Wait(t); code != 1 || !strings.Contains(g.Stderr(), "aiaas: jobs started by hand were still running: requests.prune") {
		t.Errorf("exit code %d: %s", code, g.Stderr())
	}
	_ = release // the database ended with the process
	g.Restart(t)
	if r := runOf(t, g, run.ID); r.Status != "failed" || r.Error == nil || *r.Error != "It was stopped: the process is shutting down" {
		t.Errorf("recorded as %+v", r)
	}
}

// TestAKilledProcessLeavesAnAbandonedRun kills the process under a job.
func TestAKilledProcessLeavesAnAbandonedRun(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Options{})
	release := block(t, g)
	run := startJob(t, g, "requests.prune")
	g.Kill(t)
	release()
	g.Restart(t)
	// Its lease runs out; the test does not wait for it.
	g.Database().Exec(t, `UPDATE accounts.job_runs SET lease_until = now() - interval '1 second' WHERE run_id = $1 AND status = 'running'`, run.ID)
	if r := runOf(t, g, run.ID); r.Status != "abandoned" {
		t.Errorf("shown as %+v", r)
	}
	again := startJob(t, g, "requests.prune")
	harness.Eventually(t, "the end of the next", func() (bool, string) {
		r := runOf(t, g, again.ID)
		return r.Status == "succeeded", fmt.Sprintf("%+v", r)
	})
}
