package catalogue_test

import (
	"bytes"
	"path/filepath"
	"time"

	"github.com/aiaas/aiaas/adapters/blob"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
)

// record enters an audit record of a moment.
func (p *platform) record(moment string) {
	p.t.Helper()
	postgrestest.Exec(p.t, p.database, `INSERT INTO accounts.audit_records (org_id, audit_id, at, actor, action, target, detail)
		VALUES ('org', '`+id.New(id.Audit)+`', `+moment+`, 'a', 'b', 'c', '{}')`)
}

// sealLongAgo has a record that was made and sealed three years ago, as the function
// does, and one of today.
func (p *platform) sealLongAgo() {
	p.t.Helper()
	p.record("now() - interval '3 years'")
	db, err := postgres.Open(p.t.Context(), p.database, postgres.RoleAuditor, 4)
	if err != nil {
		p.t.Fatal(err)
	}
	defer db.Close()
	files, err := blob.OpenFolder(filepath.Join(p.folder, "files"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = files.Close() }()                                    // it was only written to
	signer, err := audit.NewSigner(bytes.Repeat([]byte{7}, audit.SeedSize)) // the fleet's
	if err != nil {
		p.t.Fatal(err)
	}
	s := &audit.Sealer{
		Chains: postgres.NewAuditChain(db), Files: files, Signer: signer, Pending: map[function.Service]audit.Pending{},
		Now: func() time.Time { return time.Now().UTC().AddDate(-3, 0, 0) },
	}
	for _, source := range audit.Sources() {
		s.Pending[source] = postgres.NewAuditRecords(db, source)
	}
	if _, err := s.Seal(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	p.record("now()")
}
