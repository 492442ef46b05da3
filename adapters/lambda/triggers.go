package lambda

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/aws/aws-lambda-go/events"

	"github.com/aiaas/aiaas/shared/function"
)

// The reasons why a trigger can't be served.
var (
	ErrNoMessages = errors.New("function takes no messages")
	ErrNoJob      = errors.New("function has no such job")
)

const sqsSource = "aws:sqs"

// batch hands an SQS batch to the function. Failed messages are named, so that
// only they are delivered again; an error brings the whole batch back.
func (h *Host) batch(ctx context.Context, records []events.SQSMessage) (any, error) {
	messages := make([]function.Message, len(records))
	for i, r := range records {
		if r.EventSource != sqsSource {
			return nil, fmt.Errorf("record of %q: %w", r.EventSource, ErrEvent)
		}
		messages[i] = function.Message{ID: r.MessageId, Body: []byte(r.Body)}
	}
	fn, err := h.function(ctx)
	if err != nil {
		return nil, err
	}
	if fn.Messages == nil {
		return nil, fmt.Errorf("%s: %w", h.spec.Name, ErrNoMessages)
	}
	call, cancel, _ := deadlines(ctx)
	defer cancel(nil)
	failed, err := fn.Messages(call, messages)
	if err != nil {
		return nil, fmt.Errorf("handle %d messages: %w", len(messages), err)
	}
	answer := events.SQSEventResponse{BatchItemFailures: make([]events.SQSBatchItemFailure, len(failed))}
	for i, id := range failed {
		answer.BatchItemFailures[i].ItemIdentifier = id
	}
	return answer, nil
}

// JobDone is the answer to a schedule: the job that ran to its end.
type JobDone struct {
	Job    string          `json:"job"`
	Counts function.Counts `json:"counts,omitempty"`
}

// schedule runs the job that an event asks for.
func (h *Host) schedule(ctx context.Context, ev event) (any, error) {
	name, err := h.jobOf(ev)
	if err != nil {
		return nil, err
	}
	fn, err := h.function(ctx)
	if err != nil {
		return nil, err
	}
	job := fn.Jobs[name]
	if job == nil {
		return nil, fmt.Errorf("%s %q: %w", h.spec.Name, name, ErrNoJob)
	}
	call, cancel, _ := deadlines(ctx)
	defer cancel(nil)
	counts, err := job(call)
	if err != nil {
		return nil, fmt.Errorf("run job %s: %w", name, err)
	}
	return JobDone{Job: name, Counts: counts}, nil
}

// jobOf reads the job's name: EventBridge Scheduler sends the input that our
// templates give it, {"job": "…"}; an EventBridge rule sends an event of its
// own form, with the name in its detail, or without one where the function has
// a single schedule.
func (h *Host) jobOf(ev event) (string, error) {
	if ev.Job != "" {
		return ev.Job, nil
	}
	if ev.Source != "aws.events" || ev.DetailType != "Scheduled Event" {
		return "", fmt.Errorf("%s of %s: %w", ev.DetailType, ev.Source, ErrEvent)
	}
	var detail struct {
		Job string `json:"job"`
	}
	if len(ev.Detail) > 0 {
		if err := json.Unmarshal(ev.Detail, &detail); err != nil {
			return "", fmt.Errorf("decode detail of schedule: %w", err)
		}
	}
	switch {
	case detail.Job != "":
		return detail.Job, nil
	case len(h.spec.Schedules) == 1:
		return h.spec.Schedules[0].Job, nil
	}
	return "", fmt.Errorf("%s has %d schedules and the event names none: %w", h.spec.Name, len(h.spec.Schedules), ErrNoJob)
}
