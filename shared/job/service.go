package job

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
)

// Service shows what jobs did and starts them. Every method that takes a principal
// needs the platform scope.
type Service struct {
	History History
	Runner  *Runner
	Now     func() time.Time
}

// Jobs lists the jobs of this process, and those that others have run, by id.
func (s *Service) Jobs(ctx context.Context, p authz.Principal) ([]State, error) {
	if err := p.Require(ctx, authz.DoJobsRead); err != nil {
		return nil, err
	}
	states, err := s.History.States(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range s.Runner.Definitions() {
		i := slices.IndexFunc(states, func(st State) bool { return st.ID() == d.ID() })
		if i < 0 {
			i, states = len(states), append(states, State{})
		}
		states[i].Definition, states[i].Here = d, true
	}
	slices.SortFunc(states, func(a, b State) int { return cmp.Compare(a.ID(), b.ID()) })
	return states, nil
}

// Job is one of them. NotFound: nobody knows it.
func (s *Service) Job(ctx context.Context, p authz.Principal, jobID string) (State, error) {
	states, err := s.Jobs(ctx, p)
	if err != nil {
		return State{}, err
	}
	for _, st := range states {
		if st.ID() == jobID {
			return st, nil
		}
	}
	return State{}, fault.New(fault.NotFound, "there is no such job")
}

// Runs lists a job's recorded runs, the newest first; see [History].
func (s *Service) Runs(ctx context.Context, p authz.Principal, jobID, before string, limit int) ([]Run, error) {
	st, err := s.Job(ctx, p, jobID)
	if err != nil {
		return nil, err
	}
	return s.History.Runs(ctx, st.Function, st.Name, before, limit)
}

// Run is one run.
func (s *Service) Run(ctx context.Context, p authz.Principal, runID string) (Run, error) {
	if err := p.Require(ctx, authz.DoJobsRead); err != nil {
		return Run{}, err
	}
	return s.History.Run(ctx, runID)
}

// Start starts a job by hand; see [Runner.Start]. Conflict also where the job is
// known, but runs in other processes.
func (s *Service) Start(ctx context.Context, p authz.Principal, jobID string, t Trigger) (Run, error) {
	if err := p.Require(ctx, authz.DoJobsRun); err != nil {
		return Run{}, err
	}
	if t != API && t != Command {
		return Run{}, fault.New(fault.Unprocessable, "a job is started by api or by command").At("trigger")
	}
	if !strings.Contains(jobID, ".") {
		return Run{}, fault.New(fault.NotFound, "there is no such job")
	}
	run, err := s.Runner.Start(ctx, jobID, t, audit.New(ctx, p, s.Now(), "job.start", jobID))
	if !fault.Is(err, fault.NotFound) {
		return run, err
	}
	if _, err := s.Job(ctx, p, jobID); err != nil {
		return Run{}, err
	}
	return Run{}, fault.New(fault.Conflict, "this job is not part of the process that answers here; its schedule runs it")
}

// pruneBatch is how many runs one transaction removes.
const pruneBatch = 1000

// Prune is the job that removes runs older than [Retention], in batches.
func (s *Service) Prune(ctx context.Context) (function.Counts, error) {
	before, all := s.Now().Add(-Retention), int64(0)
	for {
		n, err := s.History.Prune(ctx, before, pruneBatch)
		all += int64(n)
		if err != nil || n < pruneBatch {
			return counted(all), err
		}
	}
}

func counted(runs int64) function.Counts {
	if runs == 0 {
		return nil
	}
	return function.Counts{"runs": runs}
}
