package command_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/tests/harness"
)

// TestTheAuditIsVerifiedByTheCommand has a platform seal what its administrators do,
// and then somebody who may write to its database.
func TestTheAuditIsVerifiedByTheCommand(t *testing.T) {
	t.Parallel()
	server := harness.StartServer(t)
	g := harness.Start(t, harness.Options{Env: map[string]string{"DATABASE_URL": server.URL()}})
	defer g.Stop(t)
	sh := of(g)
	direct := of(g)
	direct.env["DATABASE_URL"], direct.env["AIAAS_AUDIT_KEY"] = server.URL(), harness.AuditKey
	created := sh.words(t, "key create --name k --scopes inference -o json").want(0).json()
	sh.words(t, "key revoke "+text(created, "id")+" --yes").want(0)
	harness.Eventually(t, "the sealer", func() (bool, string) {
		r := sh.words(t, "audit verify -o json").want(0)
		checked, _ := r.json()["checked"].(float64)
		return r.json()["pending"] == 0.0 && checked >= 5, r.stdout
	})
	direct.words(t, "audit verify --database").want(0)
	for _, missing := range []result{
		sh.words(t, "audit verify --organization nope --use-key platform").want(1), direct.words(t, "audit verify --database --organization nope").want(1),
	} {
		if !strings.Contains(missing.stderr, "no organization") || strings.Contains(missing.stdout, "Valid") {
			t.Errorf("%s: %s%s", missing.line, missing.stdout, missing.stderr)
		}
	}
	key := text(data(sh.words(t, "audit keys -o json").want(0).json())[0], "public_key")
	file := filepath.Join(t.TempDir(), "audit.ndjson")
	harness.Must(t, os.WriteFile(file, []byte(sh.words(t, "audit export").want(0).stdout), 0o600))
	sh.words(t, "audit verify --file "+file+" --key "+key).want(0)

	revoked := data(sh.words(t, "audit list --action key.revoke -o json").want(0).json())
	if len(revoked) != 1 || text(revoked[0], "target") != text(created, "id") || text(revoked[0], "source_address") != "127.0.0.1" {
		t.Fatalf("the audit has %v", revoked)
	}
	conn, err := pgx.Connect(t.Context(), server.URL())
	harness.Must(t, err)
	defer func() { _ = conn.Close(t.Context()) }()
	_, err = conn.Exec(t.Context(), `UPDATE accounts.audit_records SET actor = 'somebody' WHERE action = 'key.revoke'`)
	if err == nil || !strings.Contains(err.Error(), "append-only") {
		t.Errorf("the database's owner may change a record: %v", err)
	}
	_, err = conn.Exec(t.Context(), `SET session_replication_role = replica; UPDATE accounts.audit_records SET actor = 'somebody' WHERE action = 'key.revoke'`)
	harness.Must(t, err)
	for _, r := range []result{sh.words(t, "audit verify").want(1), direct.words(t, "audit verify --database").want(1)} {
		if !strings.Contains(r.stderr, text(revoked[0], "id")) || !strings.Contains(r.stderr, "record_changed") {
			t.Errorf("%s: %s", r.line, r.stderr)
		}
	}
	sh.words(t, "audit verify --file "+file+" --key "+key).want(0) // what was exported before
}
