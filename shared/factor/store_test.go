package factor_test

import (
	"testing"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/factor"
	"github.com/aiaas/aiaas/shared/factor/factortest"
)

func TestTheStoreInMemoryConforms(t *testing.T) {
	t.Parallel()
	factortest.Conform(t, func(*testing.T) factortest.World {
		in := []factor.Membership{{OrgID: "org_1", Name: "One", Role: authz.Developer}}
		m := factortest.NewMemory(
			factor.State{UserID: "user_1", Email: "ann@example.com", Memberships: in},
			factor.State{UserID: "user_2", Email: "bob@example.com", Memberships: in},
		)
		return factortest.World{Store: m, Other: m, Ann: "user_1", Bob: "user_2", Org: "org_1"}
	})
}
