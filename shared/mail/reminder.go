package mail

import (
	"context"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
)

// TypeKeyDue is the event that a key is to be rotated.
const TypeKeyDue = "key.expiring"

// Stages lists how many days before a key is due it is reminded of; 0 is when the
// date has come.
func Stages() []int { return []int{14, 7, 1, 0} }

const day = 24 * time.Hour

// stageOf is the nearest stage that has been reached.
func stageOf(due, now time.Time) int {
	reached := Stages()[0]
	for _, days := range Stages() {
		if !now.Before(due.Add(-time.Duration(days) * day)) {
			reached = days
		}
	}
	return reached
}

// DueKey is a key that is to be rotated, and was not reminded of at this stage.
type DueKey struct {
	OrgID     string
	KeyID     string
	ProjectID string
	Name      string
	RotateBy  time.Time
	ExpiresAt time.Time // zero: never
	Days      int       // the stage
}

// ReminderStore knows which keys are due and what was reminded of.
type ReminderStore interface {
	// Remind takes at most limit keys that have reached a stage at now which they
	// were not reminded of, writes for each the event of the record that tell makes,
	// and notes that it was; all of it in one transaction, also when called twice at
	// once. It says how many.
	Remind(ctx context.Context, now time.Time, limit int, tell func(DueKey) audit.Record) (int, error)
}

// Reminders announces keys that are to be rotated.
type Reminders struct {
	Store ReminderStore
	Now   func() time.Time
}

// remindBatch is how many keys one transaction takes.
const remindBatch = 500

// Run is the job: however often it runs, each stage of each date is announced once.
func (r *Reminders) Run(ctx context.Context) (function.Counts, error) {
	now, all := r.Now(), int64(0)
	for {
		n, err := r.Store.Remind(ctx, now, remindBatch, func(k DueKey) audit.Record { return announce(k, now) })
		all += int64(n)
		if err != nil || n < remindBatch {
			return counted("keys", all), err
		}
	}
}

// announcer names who announces, where no person acted.
const announcer = "reminders"

// announce is the record that the event of a key that is due is made from. Nobody
// did anything: the audit does not have it.
func announce(k DueKey, now time.Time) audit.Record {
	detail := map[string]any{"name": k.Name, "project_id": k.ProjectID, "rotate_by": k.RotateBy.UTC().Format(time.RFC3339)}
	if !k.ExpiresAt.IsZero() {
		detail["expires_at"] = k.ExpiresAt.UTC().Format(time.RFC3339)
	}
	return audit.Record{
		OrgID: k.OrgID, ID: id.New(id.Audit), At: now, Actor: announcer, Action: TypeKeyDue, Target: k.KeyID, Detail: detail,
	}
}
