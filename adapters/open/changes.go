package open

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/aiaas/aiaas/adapters/memory"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/admission"
	"github.com/aiaas/aiaas/shared/function"
)

// Changer tells of changes of configuration: to this process, whose very next
// request sees them, and to the others.
type Changer struct {
	limiter *memory.Limiter
	others  *postgres.Changes
}

// Bump implements the ports that move a configuration version on. The change itself
// is committed; others that can't be told find it out within a second.
func (c *Changer) Bump(ctx context.Context, scope string) error {
	ctx = context.WithoutCancel(ctx) // it is done: who asked for it may have left
	if err := c.limiter.Bump(ctx, scope); err != nil {
		return err
	}
	_ = c.others.Tell(ctx, scope)
	return nil
}

// Changes tells of changes, and on hosts that go on between calls it listens, too.
func Changes(ctx context.Context, e *function.Env) (*Changer, error) {
	limiter, err := inMemory(ctx, e)
	if err != nil {
		return nil, err
	}
	db, err := DB(ctx, e, function.Accounts, postgres.RoleGateway)
	if err != nil {
		return nil, err
	}
	return function.Shared(ctx, e, "changes", func(ctx context.Context) (*Changer, function.Closer, error) {
		c := &Changer{limiter: limiter, others: postgres.NewChanges(db, uuid.NewString(), e.Log)}
		if !e.Background {
			return c, nil, nil
		}
		ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx)) // it ends with the process
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.others.Listen(ctx, func(scope string) { _ = limiter.Bump(ctx, scope) })
		}()
		return c, func(context.Context) error {
			cancel(errors.New("the process ends")) //nolint:err113 // nobody branches on it
			<-done
			return nil
		}, nil
	})
}

// TellingLimiter is the process's limiter, as those use it who change what it knows.
type TellingLimiter struct {
	*memory.Limiter

	changes *Changer
}

// Bump implements [admission.Versions].
func (l *TellingLimiter) Bump(ctx context.Context, org string) error {
	return l.changes.Bump(ctx, org)
}

var _ admission.Limiter = (*TellingLimiter)(nil)

// LimiterTelling is the process's limiter, whose changes of configuration the other
// processes hear of.
func LimiterTelling(ctx context.Context, e *function.Env) (*TellingLimiter, error) {
	changes, err := Changes(ctx, e)
	if err != nil {
		return nil, err
	}
	return &TellingLimiter{Limiter: changes.limiter, changes: changes}, nil
}
