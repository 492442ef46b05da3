package function_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/function"
)

// opener returns an open function that yields v, and notes in log when it is
// closed.
func opener(v string, log *[]string) func(context.Context) (string, function.Closer, error) {
	return func(context.Context) (string, function.Closer, error) {
		return v, func(context.Context) error { *log = append(*log, v); return nil }, nil
	}
}

func TestSharedOpensOnceForAllThatAskAtOnce(t *testing.T) {
	env := &function.Env{}
	var opened atomic.Int32
	open := func(context.Context) (*int, function.Closer, error) {
		opened.Add(1)
		return new(int), nil, nil
	}
	got := make([]*int, 32)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			v, err := function.Shared(t.Context(), env, "pool", open)
			if err != nil {
				t.Error(err)
			}
			got[i] = v
		})
	}
	wg.Wait()
	if n := opened.Load(); n != 1 {
		t.Errorf("opened %d times", n)
	}
	if slices.ContainsFunc(got, func(p *int) bool { return p == nil || p != got[0] }) {
		t.Error("callers got different things")
	}
}

func TestKeysAreIndependentAndMayNest(t *testing.T) {
	env := &function.Env{}
	inner := func(ctx context.Context) (string, error) {
		return function.Shared(ctx, env, "pool", opener("pool", new([]string)))
	}
	got, err := function.Shared(t.Context(), env, "recorder", func(ctx context.Context) (string, function.Closer, error) {
		pool, err := inner(ctx)
		return "recorder on " + pool, nil, err
	})
	if err != nil || got != "recorder on pool" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestAFailureIsNotKept(t *testing.T) {
	env := &function.Env{}
	down := errors.New("connection refused")
	_, err := function.Shared(t.Context(), env, "pool", func(context.Context) (string, function.Closer, error) {
		return "", func(context.Context) error { t.Error("what never came up was closed"); return nil }, down
	})
	if !errors.Is(err, down) {
		t.Fatalf("error is %v", err)
	}
	got, err := function.Shared(t.Context(), env, "pool", opener("pool", new([]string)))
	if err != nil || got != "pool" {
		t.Errorf("the next try got %q, %v", got, err)
	}
	if err := env.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAKeyHoldsOneType(t *testing.T) {
	env := &function.Env{}
	if _, err := function.Shared(t.Context(), env, "pool", opener("pool", new([]string))); err != nil {
		t.Fatal(err)
	}
	_, err := function.Shared(t.Context(), env, "pool", func(context.Context) (int, function.Closer, error) {
		t.Error("opened a second time")
		return 0, nil, nil
	})
	if err == nil {
		t.Error("a string was handed out as an int")
	}
}

func TestCloseEndsTheLastFirst(t *testing.T) {
	env := &function.Env{}
	var closed []string
	for _, key := range []string{"pool", "queue", "recorder"} {
		if _, err := function.Shared(t.Context(), env, key, opener(key, &closed)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the second time there is nothing left
		if err := env.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if want := []string{"recorder", "queue", "pool"}; !slices.Equal(closed, want) {
		t.Errorf("closed %v; want %v", closed, want)
	}
}

func TestCloseGoesOnAfterAnError(t *testing.T) {
	env := &function.Env{}
	var closed []string
	stuck := errors.New("flush timed out")
	if _, err := function.Shared(t.Context(), env, "pool", opener("pool", &closed)); err != nil {
		t.Fatal(err)
	}
	_, err := function.Shared(t.Context(), env, "queue", func(context.Context) (string, function.Closer, error) {
		return "queue", func(context.Context) error { return stuck }, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := env.Close(t.Context()); !errors.Is(err, stuck) {
		t.Errorf("Close = %v; want %v", err, stuck)
	}
	if !slices.Equal(closed, []string{"pool"}) {
		t.Errorf("closed %v; want the pool too", closed)
	}
}

func TestNothingOpensAfterClose(t *testing.T) {
	env := &function.Env{}
	if err := env.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := function.Shared(t.Context(), env, "pool", func(context.Context) (string, function.Closer, error) {
		t.Error("opened after Close")
		return "", nil, nil
	})
	if !errors.Is(err, function.ErrClosed) {
		t.Errorf("error is %v; want %v", err, function.ErrClosed)
	}
}

func TestWhatComesUpWhileTheProcessEndsIsClosed(t *testing.T) {
	env := &function.Env{}
	closed := 0
	_, err := function.Shared(t.Context(), env, "pool", func(ctx context.Context) (string, function.Closer, error) {
		if err := env.Close(ctx); err != nil {
			t.Error(err)
		}
		return "pool", func(context.Context) error { closed++; return nil }, nil
	})
	if !errors.Is(err, function.ErrClosed) {
		t.Errorf("error is %v; want %v", err, function.ErrClosed)
	}
	if closed != 1 {
		t.Errorf("closed %d times; want once", closed)
	}
}

func TestRoute(t *testing.T) {
	plain := function.Route{Method: "GET", Path: "/v1/api-keys/{id}"}
	if plain.Pattern() != "GET /v1/api-keys/{id}" || plain.SuccessStatus() != 200 {
		t.Errorf("pattern %q, status %d", plain.Pattern(), plain.SuccessStatus())
	}
	if created := (function.Route{Status: 201}); created.SuccessStatus() != 201 {
		t.Errorf("status %d", created.SuccessStatus())
	}
}

func TestHowLongAJobMayTake(t *testing.T) {
	spec := func(timeout, every time.Duration) function.Spec {
		return function.Spec{Timeout: timeout, Schedules: []function.Schedule{{Job: "a", Every: every}}}
	}
	for name, c := range map[string]struct {
		spec function.Spec
		want time.Duration
	}{
		"frequent: the Spec's":          {spec(20*time.Second, time.Second), 20 * time.Second},
		"frequent, and nothing is said": {spec(0, time.Second), 5 * time.Minute},
		"daily: at least five minutes":  {spec(20*time.Second, 24*time.Hour), 5 * time.Minute},
		"daily, and larger":             {spec(15*time.Minute, 24*time.Hour), 15 * time.Minute},
		"by hand only":                  {function.Spec{Timeout: time.Second}, 5 * time.Minute},
	} {
		if got := c.spec.JobTimeout("a"); got != c.want {
			t.Errorf("%s: %s; want %s", name, got, c.want)
		}
	}
}

func TestFinishWaitsForAllWork(t *testing.T) {
	env := &function.Env{}
	stuck := errors.New("stuck")
	both := make(chan struct{})
	env.AddWork(func(context.Context) error { <-both; return nil })
	env.AddWork(func(context.Context) error { close(both); return stuck }) // each waits beside the others
	if err := env.Finish(t.Context()); !errors.Is(err, stuck) {
		t.Errorf("%v; want what the work says", err)
	}
	if err := (&function.Env{}).Finish(t.Context()); err != nil {
		t.Error(err)
	}
}
