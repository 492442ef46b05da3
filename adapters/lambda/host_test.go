package lambda_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/aiaas/aiaas/adapters/lambda"
	"github.com/aiaas/aiaas/shared/function"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// host runs a ready function.
func host(t *testing.T, spec function.Spec, fn function.Function) *lambda.Host {
	t.Helper()
	return wired(t, spec, func(context.Context, *function.Env) (function.Function, error) { return fn, nil })
}

func wired(t *testing.T, spec function.Spec, wire function.Wire) *lambda.Host {
	t.Helper()
	h := lambda.NewHost(spec, wire, &function.Env{
		Now: time.Now, Log: slog.New(slog.DiscardHandler), Getenv: func(string) string { return "" },
	})
	t.Cleanup(func() {
		if err := h.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("close host: %v", err)
		}
	})
	return h
}

func marshal(t *testing.T, v any) json.RawMessage {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("marshal event: %v", err)
	}
	return raw
}

const job = `{"job":"sweep"}`

func sweeping(run function.Job) function.Function {
	return function.Function{Jobs: map[string]function.Job{"sweep": run}}
}

func TestWiring(t *testing.T) {
	t.Parallel()
	ok := func(context.Context) (function.Counts, error) { return nil, nil }

	t.Run("waits for the first event and happens once", func(t *testing.T) {
		t.Parallel()
		wirings := 0
		h := wired(t, function.Spec{Name: "f"}, func(context.Context, *function.Env) (function.Function, error) {
			wirings++
			return sweeping(ok), nil
		})
		if wirings != 0 {
			t.Fatalf("wired %d times before any event", wirings)
		}
		for range 3 {
			if _, err := h.Invoke(t.Context(), json.RawMessage(job)); err != nil {
				t.Fatalf("invoke: %v", err)
			}
		}
		if wirings != 1 {
			t.Errorf("wired %d times, want once", wirings)
		}
	})

	t.Run("that fails or panics fails its event and is tried again by the next", func(t *testing.T) {
		t.Parallel()
		errDown := errors.New("database is down")
		attempt := 0
		h := wired(t, function.Spec{Name: "f"}, func(context.Context, *function.Env) (function.Function, error) {
			switch attempt++; attempt {
			case 1:
				return function.Function{}, errDown
			case 2:
				panic("nil pool")
			}
			return sweeping(ok), nil
		})
		if _, err := h.Invoke(t.Context(), json.RawMessage(job)); !errors.Is(err, errDown) {
			t.Errorf("first event: got %v, want the wiring's error", err)
		}
		if _, err := h.Invoke(t.Context(), json.RawMessage(job)); err == nil {
			t.Error("second event: no error from a wiring that panicked")
		}
		if _, err := h.Invoke(t.Context(), json.RawMessage(job)); err != nil {
			t.Errorf("third event: %v", err)
		}
	})

	t.Run("has a context that outlives the event and ends with the host", func(t *testing.T) {
		t.Parallel()
		var life context.Context
		h := wired(t, function.Spec{Name: "f"}, func(ctx context.Context, _ *function.Env) (function.Function, error) {
			life = ctx
			return sweeping(ok), nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := h.Invoke(ctx, json.RawMessage(job)); err != nil {
			t.Fatalf("invoke: %v", err)
		}
		cancel()
		if err := life.Err(); err != nil {
			t.Errorf("ended with the event: %v", err)
		}
		if err := h.Close(t.Context()); err != nil {
			t.Fatalf("close: %v", err)
		}
		if cause := context.Cause(life); !errors.Is(cause, lambda.ErrClosed) {
			t.Errorf("after Close its cause is %v", cause)
		}
	})

	t.Run("that hangs ends with its event", func(t *testing.T) {
		t.Parallel()
		h := wired(t, function.Spec{Name: "f"}, func(ctx context.Context, _ *function.Env) (function.Function, error) {
			<-ctx.Done()
			return function.Function{}, context.Cause(ctx)
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := h.Invoke(ctx, json.RawMessage(job)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestBatches(t *testing.T) {
	t.Parallel()
	record := func(id, body string) events.SQSMessage {
		return events.SQSMessage{MessageId: id, Body: body, EventSource: "aws:sqs"}
	}
	batch := events.SQSEvent{Records: []events.SQSMessage{record("1", "good"), record("2", "bad"), record("3", "good")}}
	failBad := func(_ context.Context, batch []function.Message) (failed []string, err error) {
		for _, m := range batch {
			if string(m.Body) == "bad" {
				failed = append(failed, m.ID)
			}
		}
		return failed, nil
	}

	t.Run("name the messages that failed", func(t *testing.T) {
		t.Parallel()
		got, err := host(t, function.Spec{}, function.Function{Messages: failBad}).Invoke(t.Context(), marshal(t, batch))
		if err != nil {
			t.Fatalf("invoke: %v", err)
		}
		if want := `{"batchItemFailures":[{"itemIdentifier":"2"}]}`; string(marshal(t, got)) != want {
			t.Errorf("got %s, want %s", marshal(t, got), want)
		}
	})

	t.Run("without failures answer an empty list", func(t *testing.T) {
		t.Parallel()
		one := events.SQSEvent{Records: []events.SQSMessage{record("1", "good")}}
		got, err := host(t, function.Spec{}, function.Function{Messages: failBad}).Invoke(t.Context(), marshal(t, one))
		if err != nil {
			t.Fatalf("invoke: %v", err)
		}
		if want := `{"batchItemFailures":[]}`; string(marshal(t, got)) != want {
			t.Errorf("got %s, want %s", marshal(t, got), want)
		}
	})

	errStore := errors.New("store is down")
	foreign := batch
	foreign.Records = append([]events.SQSMessage{{MessageId: "9", EventSource: "aws:sns"}}, batch.Records...)
	for name, c := range map[string]struct {
		messages function.MessageHandler
		event    events.SQSEvent
		want     error
	}{
		"come back whole when the handler fails":        {func(context.Context, []function.Message) ([]string, error) { return nil, errStore }, batch, errStore},
		"fail where the function takes no messages":     {nil, batch, lambda.ErrNoMessages},
		"fail when a record is of another event source": {failBad, foreign, lambda.ErrEvent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := host(t, function.Spec{}, function.Function{Messages: c.messages}).Invoke(t.Context(), marshal(t, c.event))
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestSchedules(t *testing.T) {
	t.Parallel()
	const rule = `{"source":"aws.events","detail-type":"Scheduled Event","resources":["arn:aws:events:us-east-1:1:rule/x"],"detail":`
	errJob := errors.New("no lock")
	one := []function.Schedule{{Job: "sweep"}}
	two := []function.Schedule{{Job: "sweep"}, {Job: "broken"}}
	for name, c := range map[string]struct {
		schedules []function.Schedule
		event     string
		ran       string
		want      error
	}{
		"Scheduler's input names the job":          {two, `{"job":"sweep"}`, "sweep", nil},
		"a rule's detail names the job":            {two, rule + `{"job":"sweep"}}`, "sweep", nil},
		"a rule without a name means the only one": {one, rule + `{}}`, "sweep", nil},
		"a rule without a name among two":          {two, rule + `{}}`, "", lambda.ErrNoJob},
		"a job that the function lacks":            {one, `{"job":"dance"}`, "", lambda.ErrNoJob},
		"a job that fails":                         {one, `{"job":"broken"}`, "broken", errJob},
		"an event of another source":               {one, `{"source":"aws.s3","detail-type":"Object Created"}`, "", lambda.ErrEvent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ran := ""
			fn := function.Function{Jobs: map[string]function.Job{
				"sweep":  func(context.Context) (function.Counts, error) { ran = "sweep"; return nil, nil },
				"broken": func(context.Context) (function.Counts, error) { ran = "broken"; return nil, errJob },
			}}
			got, err := host(t, function.Spec{Schedules: c.schedules}, fn).Invoke(t.Context(), json.RawMessage(c.event))
			if !errors.Is(err, c.want) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if ran != c.ran {
				t.Errorf("ran %q, want %q", ran, c.ran)
			}
			if diff := cmp.Diff(lambda.JobDone{Job: c.ran}, got); err == nil && diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOtherEventsFailAndTheNextIsServed(t *testing.T) {
	t.Parallel()
	for name, event := range map[string]string{
		"no JSON":            `{"httpMethod":`,
		"null":               `null`,
		"a number":           `7`,
		"an empty object":    `{}`,
		"an empty batch":     `{"Records":[]}`,
		"a payload 2.0 call": `{"version":"2.0","rawPath":"/v1/models","requestContext":{"http":{"method":"GET"}}}`,
		"a wrong type":       `{"httpMethod":["GET"]}`,
		"deep nesting":       strings.Repeat(`{"detail":`, 20_000) + "1" + strings.Repeat("}", 20_000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := host(t, function.Spec{}, sweeping(func(context.Context) (function.Counts, error) { return nil, nil }))
			if got, err := h.Invoke(t.Context(), json.RawMessage(event)); err == nil {
				t.Errorf("answered %v", got)
			}
			if _, err := h.Invoke(t.Context(), json.RawMessage(job)); err != nil {
				t.Errorf("the next event: %v", err)
			}
		})
	}
}

func TestPanicsOfJobsAndMessagesAreErrors(t *testing.T) {
	t.Parallel()
	h := host(t, function.Spec{}, function.Function{
		Messages: func(context.Context, []function.Message) ([]string, error) { panic("secret text") },
		Jobs:     map[string]function.Job{"sweep": func(context.Context) (function.Counts, error) { panic("secret text") }},
	})
	for _, event := range []string{job, `{"Records":[{"messageId":"1","eventSource":"aws:sqs"}]}`} {
		_, err := h.Invoke(t.Context(), json.RawMessage(event))
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want an error without the panic's text", event, err)
		}
	}
}

func TestCallsEndBeforeThePlatformDoes(t *testing.T) {
	t.Parallel()
	for _, left := range []time.Duration{time.Second, time.Minute} {
		end := time.Now().Add(left)
		ctx, cancel := context.WithDeadline(t.Context(), end)
		var kept time.Duration
		h := host(t, function.Spec{}, sweeping(func(ctx context.Context) (function.Counts, error) {
			if d, ok := ctx.Deadline(); ok {
				kept = end.Sub(d)
			}
			return nil, nil
		}))
		_, err := h.Invoke(ctx, json.RawMessage(job))
		cancel()
		if err != nil {
			t.Fatalf("invoke: %v", err)
		}
		if kept <= 0 || kept > 500*time.Millisecond || kept > left/4 {
			t.Errorf("with %v left a call keeps %v", left, kept)
		}
	}
}

func TestFatalEndsTheProcessWithTheNextEvent(t *testing.T) {
	t.Parallel()
	var h *lambda.Host
	h = host(t, function.Spec{}, sweeping(func(context.Context) (function.Counts, error) {
		h.Fatal(errors.New("another process owns the database"))
		h.Fatal(errors.New("said again"))
		return nil, nil
	}))
	if _, err := h.Invoke(t.Context(), json.RawMessage(job)); err != nil {
		t.Fatalf("the event that runs is not answered: %v", err)
	}
	_, err := h.Invoke(t.Context(), json.RawMessage(job))
	exit, ok := errors.AsType[messages.InvokeResponse_Error](err)
	if !ok || !exit.ShouldExit || !strings.Contains(exit.Message, "another process") {
		t.Errorf("got %#v, want the first reason and an exit", err)
	}
}
