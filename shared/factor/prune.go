package factor

import (
	"context"
	"time"

	"github.com/aiaas/aiaas/shared/function"
)

// Forgetter removes ceremonies that have expired, and enrolments that have waited for
// so long; it returns how many. Several may run at once.
type Forgetter func(ctx context.Context, now time.Time, enrolFor time.Duration) (int, error)

// Prune is the job that forgets what nobody went on with.
func Prune(forget Forgetter, now func() time.Time) function.Job {
	return func(ctx context.Context) (function.Counts, error) {
		n, err := forget(ctx, now(), EnrolFor)
		if n == 0 {
			return nil, err
		}
		return function.Counts{"enrolments": int64(n)}, err
	}
}
