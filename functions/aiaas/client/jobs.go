package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// pollEvery is how often a job that runs is looked at.
const pollEvery = 300 * time.Millisecond

func jobGroup() group {
	job := source{path: "/v1/jobs", about: "state", whole: true}
	return group{name: "job", short: "See what jobs did, and start them", commands: []command{
		{
			use: "list", short: "List the platform's jobs", role: rolePlatform,
			method: http.MethodGet, path: "/v1/jobs", list: true, columns: []column{
				{title: "ID", path: "id"}, {title: "STATE", path: "state"}, {title: "RUNS", path: "runs"}, {title: "FAILURES", path: "failures"},
				{title: "EVERY MS", path: "every_ms"}, {title: "LAST STARTED", path: "last_run.started_at"}, {title: "LAST SUCCESS", path: "last_success_at"}, {title: "COUNTS", path: "counts"},
			},
		},
		{
			use: "run JOB", short: "Start a job and wait until it ends", role: rolePlatform, args: []source{job},
			long:   "Ends with 1 where the job did not succeed.",
			method: http.MethodPost, path: "/v1/jobs/{0}/runs", finish: awaitRun,
			prepare: func(k *call) error { k.body["trigger"] = "command"; return nil },
			flags:   []flag{{name: "no-wait", kind: yes, doc: "do not wait until it ends"}},
		},
		{
			use: "runs JOB", short: "List the runs of a job, the newest first", role: rolePlatform, args: []source{job},
			method: http.MethodGet, path: "/v1/jobs/{0}/runs", list: true, paged: true, columns: []column{
				{title: "ID", path: "id"}, {title: "STATUS", path: "status"}, {title: "TRIGGER", path: "trigger"}, {title: "STARTED", path: "started_at"},
				{title: "MS", path: "duration_ms"}, {title: "COUNTS", path: "counts"}, {title: "ERROR", path: "error"},
			},
		},
	}}
}

// awaitRun looks at a run until it has ended.
func awaitRun(k *call, a *answer) error {
	v, err := parse(a.body)
	if err != nil {
		return err
	}
	id := v.at("id").text
	if id == "" {
		return errors.New("the service does not say which run it started")
	}
	ctx := k.cmd.Context()
	for !k.values["no-wait"].yes && v.at("status").text == "running" {
		if err := pause(ctx); err != nil {
			return fmt.Errorf("wait for %s, which goes on: %w", printable(id), err)
		}
		r := &request{method: http.MethodGet, path: "/v1/job-runs/" + id, accept: "application/json"}
		if a, err = k.target.do(ctx, r); err != nil {
			return err
		}
		if v, err = parse(a.body); err != nil {
			return err
		}
	}
	if err := k.print(a); err != nil {
		return err
	}
	if status := v.at("status").text; status != "running" && status != "succeeded" {
		return fmt.Errorf("the run %s: %s", printable(status), plain(v.at("error")))
	}
	return nil
}

func pause(ctx context.Context) error {
	select {
	case <-time.After(pollEvery):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
