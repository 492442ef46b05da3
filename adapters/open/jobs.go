package open

import (
	"context"
	"fmt"
	"os"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/job"
)

// Jobs puts a function's jobs under the record of what jobs did. Each wire that
// builds jobs returns them through it; the hosts call what it returns.
func Jobs(ctx context.Context, e *function.Env, spec function.Spec, jobs map[string]function.Job) (map[string]function.Job, error) {
	r, err := JobRunner(ctx, e)
	if err != nil {
		return nil, err
	}
	return r.Wrap(spec, jobs), nil
}

// JobRunner runs and records the jobs of the process.
func JobRunner(ctx context.Context, e *function.Env) (*job.Runner, error) {
	store, err := jobStore(ctx, e)
	if err != nil {
		return nil, err
	}
	return function.Shared(ctx, e, "jobs", func(context.Context) (*job.Runner, function.Closer, error) {
		name, err := instance(e)
		if err != nil {
			return nil, nil, err
		}
		r := job.NewRunner(job.RunnerConfig{Recorder: store, Now: e.Now, Log: e.Log, Instance: name, Background: e.Background})
		e.AddWork(r.Finish)
		return r, r.Close, nil
	})
}

// JobService shows what jobs did and starts them.
func JobService(ctx context.Context, e *function.Env) (*job.Service, error) {
	r, err := JobRunner(ctx, e)
	if err != nil {
		return nil, err
	}
	store, err := jobStore(ctx, e)
	if err != nil {
		return nil, err
	}
	return &job.Service{History: store, Runner: r, Now: e.Now}, nil
}

// jobStore is opened before the runner, and so closed after it.
func jobStore(ctx context.Context, e *function.Env) (*postgres.Jobs, error) {
	db, err := DB(ctx, e, function.Accounts, postgres.RoleAccounts)
	if err != nil {
		return nil, err
	}
	return postgres.NewJobs(db), nil
}

// instance names the process to operators.
func instance(e *function.Env) (string, error) {
	if stream := e.Getenv("AWS_LAMBDA_LOG_STREAM_NAME"); stream != "" { // where the sandbox's log is
		return stream, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("name the process: %w", err)
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid()), nil
}

// Leader stands for the lead among the processes of the deployment that serve the
// same functions; the group of those that serve all is "".
func Leader(ctx context.Context, e *function.Env, group string) (*postgres.Leader, error) {
	s, err := Load(ctx, e)
	if err != nil {
		return nil, err
	}
	url, err := s.URL(function.Accounts)
	if err != nil {
		return nil, err
	}
	return postgres.NewLeader(url, postgres.RoleAccounts, group, e.Log)
}
