package relay

import (
	"net/http"
	"strconv"

	"github.com/aiaas/aiaas/shared/budget"
)

// WarningHeader is on the answer to a request that falls under a budget with the
// action "warn" of which the amount, or a threshold below it, is reached: a value
// for each such budget, "bud_…; spent=82%". The share is rounded down and at most
// 9999. It is up to a second old.
const WarningHeader = "X-AIaaS-Budget-Warning"

// warn tells the budgets that warn of a request.
func warn(h http.Header, c *call) {
	for i := range c.warning {
		b := &c.warning[i]
		if !b.Scope.Covers(c.key.ProjectID, c.key.KeyID, c.model.ID) {
			continue
		}
		if spent := b.SpentAt(c.at); b.Warns(spent) {
			h.Add(WarningHeader, b.ID+"; spent="+strconv.Itoa(budget.Percent(spent, b.Amount))+"%")
		}
	}
}
