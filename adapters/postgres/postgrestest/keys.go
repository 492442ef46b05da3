package postgrestest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/id"
)

// Key puts a key with the scopes into a database. It acts for a service account that
// has every right there is: owner of the organisation, or administrator of the
// platform where one of the scopes is the platform's.
func Key(tb testing.TB, databaseURL, org, project string, scopes ...authz.Scope) (keyID, secret string) {
	tb.Helper()
	role := authz.Owner
	if slices.Contains(scopes, authz.Platform) {
		role = authz.SystemAdministrator
	}
	return KeyOf(tb, databaseURL, Ownership{Org: org, Project: project, Owner: ServiceAccount(tb, databaseURL, org, role)}, scopes...)
}

// ServiceAccount puts a service account with the role into a database, once for each
// organisation and role.
func ServiceAccount(tb testing.TB, databaseURL, org string, role authz.Role) (accountID string) {
	tb.Helper()
	accountID = "sa_" + strings.TrimPrefix(org, "org_") + string(role)
	Exec(tb, databaseURL, fmt.Sprintf(`
		INSERT INTO accounts.service_accounts (org_id, account_id, name, role, created_by, created_at, updated_at)
		VALUES ('%s', '%s', '%[3]s', '%[3]s', 'test', now(), now()) ON CONFLICT DO NOTHING`, org, accountID, role))
	return accountID
}

// Ownership says whose a key is, and where its usage counts.
type Ownership struct {
	Org, Project string
	Owner        string // a member or a service account
}

// KeyOf puts a key that acts for a member or a service account into a database.
func KeyOf(tb testing.TB, databaseURL string, o Ownership, scopes ...authz.Scope) (keyID, secret string) {
	tb.Helper()
	s := apikey.NewSecret(apikey.Production)
	keyID = id.New(id.Key)
	list := make([]string, len(scopes))
	for i, sc := range scopes {
		list[i] = string(sc)
	}
	kind := apikey.PersonalKey
	if strings.HasPrefix(o.Owner, "sa_") {
		kind = apikey.ServiceKey
	}
	Exec(tb, databaseURL, fmt.Sprintf(`
		INSERT INTO accounts.api_keys (org_id, key_id, project_id, name, environment, hash, fingerprint, scopes, created_by, created_at, kind, owner_id, secret_by, secret_at)
		VALUES ('%s', '%s', '%s', 'k', 'production', '\x%x', '%s', '{%s}', 'test', now() - interval '1 day', '%s', '%s', '{%[8]s}', now() - interval '1 day')`,
		o.Org, keyID, o.Project, s.Hash(), s.Fingerprint(), strings.Join(list, ","), kind, o.Owner))
	return keyID, s.Reveal()
}
