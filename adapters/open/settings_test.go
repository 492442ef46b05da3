package open_test

import (
	"strings"
	"testing"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/shared/function"
)

// TestAValueThatCannotBeReadIsNamedAsItIsSet: not by a name of the code.
func TestAValueThatCannotBeReadIsNamedAsItIsSet(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{"AIAAS_AUDIT_RETENTION": "abc", "AIAAS_DATABASE_CONNS": "many", "AIAAS_MAX_BODY_BYTES": "1e"} {
		e := &function.Env{Getenv: func(n string) string { return map[string]string{name: value}[n] }}
		_, err := open.Load(t.Context(), e)
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "field") {
			t.Errorf("%s=%s: %v", name, value, err)
		}
	}
}
