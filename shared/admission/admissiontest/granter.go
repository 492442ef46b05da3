package admissiontest

import (
	"context"
	"sync"
	"time"

	"github.com/aiaas/aiaas/shared/admission"
)

// tranches is the smallest granter: one limit for every window, handed out in
// parts, as the database does.
type tranches struct {
	limit, size int64

	mu      sync.Mutex
	granted map[window]int64
	seq     int64
}

type window struct {
	budget string
	start  time.Time
}

// Grant implements [admission.Granter].
func (g *tranches) Grant(_ context.Context, _ string, lacks []admission.Lack) ([]admission.Grant, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.granted == nil {
		g.granted = map[window]int64{}
	}
	out := make([]admission.Grant, len(lacks))
	for i, lack := range lacks {
		w := window{lack.Budget, lack.Start}
		g.granted[w] = max(g.granted[w], min(g.limit, g.granted[w]+max(lack.Amount, g.size)))
		g.seq++
		out[i] = admission.Grant{Budget: lack.Budget, Start: lack.Start, Limit: g.limit, Granted: g.granted[w], Seq: g.seq}
	}
	return out, nil
}
