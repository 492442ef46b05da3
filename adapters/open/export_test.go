package open

import (
	"github.com/aiaas/aiaas/adapters/memory"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/admission"
)

// NewReconciler makes a reconciler, for its test.
func NewReconciler(inbox *postgres.Inbox, limiter *memory.Limiter) admission.Granter {
	return &reconciler{inbox: inbox, limiter: limiter}
}
