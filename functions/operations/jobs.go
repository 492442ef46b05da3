package operations

import (
	"context"
	"net/http"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/job"
	"github.com/aiaas/aiaas/shared/rest"
)

// JobPrune removes the records of runs that are older than their retention.
const JobPrune = "prune"

// Jobs are the function's own jobs.
func Jobs(svc *job.Service) map[string]function.Job {
	return map[string]function.Job{JobPrune: svc.Prune}
}

func jobRoutes() []function.Route {
	const tag = "Jobs"
	scope := string(authz.Platform)
	return []function.Route{
		{
			Method: http.MethodGet, Path: "/v1/jobs", OperationID: "listJobs", Tag: tag, Scope: scope, Summary: "List the jobs",
			Description: "Those of the process that answers, and those that other processes have run. All on one page.",
		},
		{Method: http.MethodGet, Path: "/v1/jobs/{id}", OperationID: "getJob", Tag: tag, Scope: scope, Summary: "Get a job"},
		{
			Method: http.MethodGet, Path: "/v1/jobs/{id}/runs", OperationID: "listJobRuns", Tag: tag, Scope: scope,
			Summary: "List the runs of a job", Description: "The newest first, of the last 90 days. A job that runs more often than once a minute " +
				"is summed up in its totals: of its runs only those are listed that failed or took unusually long, one a minute, and those started by hand.",
		},
		{
			Method: http.MethodPost, Path: "/v1/jobs/{id}/runs", OperationID: "startJob", Tag: tag, Scope: scope,
			Status: http.StatusAccepted, Summary: "Start a job",
			Description: "Answers at once with the run, which goes on in the background; `getJobRun` tells how it ends. " +
				"One run of a job at a time can be started so; its schedule goes on beside it.",
		},
		{Method: http.MethodGet, Path: "/v1/job-runs/{id}", OperationID: "getJobRun", Tag: tag, Scope: scope, Summary: "Get a run of a job"},
	}
}

func registerJobs(api *rest.API, h *jobHandlers) {
	rest.Handle(api, "listJobs", h.list)
	rest.Handle(api, "getJob", h.get)
	rest.Handle(api, "listJobRuns", h.runs)
	rest.Handle(api, "startJob", h.start, rest.Fails(fault.Conflict), rest.RequestExample(StartJob{Trigger: "api"}))
	rest.Handle(api, "getJobRun", h.run)
}

type jobHandlers struct{ svc *job.Service }

// Job is a job as the API shows it.
type Job struct {
	ID          string     `json:"id" example:"metering.fold" doc:"The function's name and the job's."`
	Function    string     `json:"function"`
	Name        string     `json:"name"`
	EveryMS     *int64     `json:"every_ms" doc:"Milliseconds between two starts by its schedule; null: it has none."`
	RunsIn      string     `json:"runs_in" enum:"leader,each_process" doc:"Where its schedule runs it: in one process of the deployment, or in each."`
	Startable   bool       `json:"startable" doc:"Whether the process that answers can start it."`
	State       string     `json:"state" enum:"never_run,running,succeeded,failed,abandoned" doc:"Of its last run."`
	Runs        int64      `json:"runs" doc:"How many have ended since the record began."`
	Failures    int64      `json:"failures"`
	BusyMS      int64      `json:"busy_ms" doc:"Milliseconds of all runs together."`
	Counts      Counts     `json:"counts" nullable:"false" doc:"What all runs did together."`
	LastRun     *JobRun    `json:"last_run"`
	LastSuccess *time.Time `json:"last_success_at"`
}

// Counts is what runs did, by what was counted.
type Counts map[string]int64

// JobRun is a run as the API shows it.
type JobRun struct {
	ID         *string    `json:"id" doc:"Null for a run of a frequent job that is not listed."`
	Job        string     `json:"job" doc:"The job's id."`
	Trigger    string     `json:"trigger" enum:"schedule,api,command"`
	Actor      *string    `json:"actor" doc:"The key that started it; null for schedules."`
	StartedAt  time.Time  `json:"started_at"`
	FinishedAt *time.Time `json:"finished_at" doc:"Null while it runs, and where it was abandoned."`
	DurationMS *int64     `json:"duration_ms"`
	Status     string     `json:"status" enum:"running,succeeded,failed,abandoned" doc:"Abandoned: its process has not been heard of any more."`
	Counts     Counts     `json:"counts" nullable:"false" doc:"What it did, also where it failed half-way."`
	Error      *string    `json:"error"`
	Instance   string     `json:"instance" doc:"The process that ran it."`
}

func showJob(st job.State) Job {
	j := Job{
		ID: st.ID(), Function: st.Function, Name: st.Name, RunsIn: "leader", Startable: st.Here, State: "never_run",
		Runs: st.Runs, Failures: st.Failures, BusyMS: st.Busy.Milliseconds(), Counts: showCounts(st.Counts), LastSuccess: when(st.LastSuccess),
	}
	if st.Every > 0 {
		j.EveryMS = new(st.Every.Milliseconds())
	}
	if st.EachProcess {
		j.RunsIn = "each_process"
	}
	if st.Last != nil {
		j.LastRun = new(showRun(*st.Last))
		j.State = j.LastRun.Status
	}
	return j
}

func showRun(r job.Run) JobRun {
	v := JobRun{
		ID: text(r.ID), Job: job.Definition{Function: r.Function, Name: r.Job}.ID(), Trigger: string(r.Trigger), Actor: text(r.Actor),
		StartedAt: r.StartedAt.Truncate(time.Microsecond), FinishedAt: when(r.FinishedAt), Status: string(r.Status),
		Counts: showCounts(r.Counts), Error: text(r.Error), Instance: r.Instance,
	}
	if !r.FinishedAt.IsZero() {
		v.DurationMS = new(r.FinishedAt.Sub(r.StartedAt).Milliseconds())
	}
	return v
}

func showCounts(c function.Counts) Counts {
	if c == nil {
		return Counts{}
	}
	return Counts(c)
}

func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return new(t.Truncate(time.Microsecond))
}

type jobInput struct {
	ID string `path:"id" example:"metering.fold" doc:"The job's id."`
}

type jobsOutput struct{ Body rest.List[Job] }

func (h *jobHandlers) list(ctx context.Context, p authz.Principal, _ *struct{}) (*jobsOutput, error) {
	states, err := h.svc.Jobs(ctx, p)
	if err != nil {
		return nil, err
	}
	out := &jobsOutput{Body: rest.List[Job]{Data: make([]Job, 0, len(states))}}
	for _, st := range states {
		out.Body.Data = append(out.Body.Data, showJob(st))
	}
	return out, nil
}

type jobOutput struct{ Body Job }

func (h *jobHandlers) get(ctx context.Context, p authz.Principal, in *jobInput) (*jobOutput, error) {
	st, err := h.svc.Job(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	return &jobOutput{Body: showJob(st)}, nil
}

type jobRunsInput struct {
	rest.Paging
	ID string `path:"id" example:"metering.fold" doc:"The job's id."`
}

type jobRunsOutput struct{ Body rest.List[JobRun] }

func (h *jobHandlers) runs(ctx context.Context, p authz.Principal, in *jobRunsInput) (*jobRunsOutput, error) {
	before, err := in.After(job.RunID)
	if err != nil {
		return nil, err
	}
	runs, err := h.svc.Runs(ctx, p, in.ID, before, in.Fetch())
	if err != nil {
		return nil, err
	}
	return &jobRunsOutput{Body: rest.Page(in.Paging, runs, func(r job.Run) string { return r.ID }, showRun)}, nil
}

// StartJob says how a job is started.
type StartJob struct {
	Trigger string `json:"trigger,omitempty" enum:"api,command" doc:"What the run is recorded as started by; left out: api."`
}

type startJobInput struct {
	ID   string `path:"id" example:"metering.fold" doc:"The job's id."`
	Body StartJob
}

type jobRunOutput struct{ Body JobRun }

func (h *jobHandlers) start(ctx context.Context, p authz.Principal, in *startJobInput) (*jobRunOutput, error) {
	trigger := job.API
	if in.Body.Trigger != "" {
		trigger = job.Trigger(in.Body.Trigger)
	}
	run, err := h.svc.Start(ctx, p, in.ID, trigger)
	if err != nil {
		return nil, err
	}
	return &jobRunOutput{Body: showRun(run)}, nil
}

type jobRunInput struct {
	ID string `path:"id" example:"run_0199c0b2f3a47c1e8d6a5b4c3d2e1f00" doc:"The run's id."`
}

func (h *jobHandlers) run(ctx context.Context, p authz.Principal, in *jobRunInput) (*jobRunOutput, error) {
	run, err := h.svc.Run(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	return &jobRunOutput{Body: showRun(run)}, nil
}
