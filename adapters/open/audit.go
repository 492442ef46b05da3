package open

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/adapters/secrets"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/function"
)

// AuditSigner signs the audit. A host whose disk may vanish must be given the key:
// one that each process made for itself would prove nothing.
func AuditSigner(ctx context.Context, e *function.Env) (*audit.Signer, error) {
	s, err := Load(ctx, e)
	if err != nil {
		return nil, err
	}
	return function.Shared(ctx, e, "audit key", func(context.Context) (*audit.Signer, function.Closer, error) {
		seed, err := auditSeed(s, e.LocalDisk)
		if err != nil {
			return nil, nil, fmt.Errorf("open AIAAS_AUDIT_KEY: %w", err)
		}
		signer, err := audit.NewSigner(seed)
		return signer, nil, err
	})
}

func auditSeed(s Settings, lasting bool) ([]byte, error) {
	switch {
	case s.AuditKey != "":
		return secrets.DecodeKey(s.AuditKey)
	case !lasting:
		return nil, errors.New("it is not set, and this host's disk does not last")
	}
	return secrets.KeyFile(filepath.Join(s.DataDir, "audit.key"))
}

// AuditRing is the public keys by which signatures of the audit are checked.
func AuditRing(ctx context.Context, e *function.Env) (audit.Ring, error) {
	signer, err := AuditSigner(ctx, e)
	if err != nil {
		return nil, err
	}
	s, err := Load(ctx, e)
	if err != nil {
		return nil, err
	}
	keys := []audit.PublicKey{signer.Public()}
	for text := range strings.SplitSeq(s.AuditOldKeys, ",") {
		if strings.TrimSpace(text) == "" {
			continue
		}
		k, err := audit.ParsePublicKey(text)
		if err != nil {
			return nil, fmt.Errorf("read AIAAS_AUDIT_OLD_KEYS: %w", err)
		}
		keys = append(keys, k)
	}
	return audit.NewRing(keys...), nil
}

// Denials sums up refused calls of the management API for the audit.
func Denials(ctx context.Context, e *function.Env) (*audit.Denials, error) {
	db, err := DB(ctx, e, function.Accounts, postgres.RoleAccounts)
	if err != nil {
		return nil, err
	}
	return function.Shared(ctx, e, "denials", func(ctx context.Context) (*audit.Denials, function.Closer, error) {
		d := audit.NewDenials(ctx, postgres.NewAuditDenials(db), e.Now, e.Log)
		return d, d.Close, nil
	})
}

// dataPlaneDenials sums up refused calls of the data plane, under its own role.
func dataPlaneDenials(ctx context.Context, e *function.Env) (*audit.Denials, error) {
	j, err := Journal(ctx, e)
	if err != nil {
		return nil, err
	}
	return function.Shared(ctx, e, "denials of the data plane", func(ctx context.Context) (*audit.Denials, function.Closer, error) {
		d := audit.NewDenials(ctx, j, e.Now, e.Log)
		return d, d.Close, nil
	})
}

// AuditPorts is what the function audit works with, but for the store of files.
type AuditPorts struct {
	Records  map[function.Service]*postgres.AuditRecords
	Chain    *postgres.AuditChain
	Accounts *postgres.DB
	Signer   *audit.Signer
	Ring     audit.Ring
	Keep     time.Duration
}

// Audit opens what the audit is sealed, read and verified with.
func Audit(ctx context.Context, e *function.Env) (p AuditPorts, err error) {
	s, err := Load(ctx, e)
	if err != nil {
		return p, err
	}
	p.Keep = s.AuditRetention
	if p.Accounts, err = DB(ctx, e, function.Accounts, postgres.RoleAuditor); err != nil {
		return p, err
	}
	if p.Records, p.Chain, err = AuditTables(ctx, e); err != nil {
		return p, err
	}
	if p.Signer, err = AuditSigner(ctx, e); err != nil {
		return p, err
	}
	if p.Ring, err = AuditRing(ctx, e); err != nil {
		return p, err
	}
	return p, hasSigned(ctx, p.Chain, p.Ring)
}

// hasSigned refuses to go on with an audit that was signed by keys which are not in
// the ring: a new key would go on with the chains as if nothing had been lost. The
// embedded database lives in the folder of its key, and moves with it.
func hasSigned(ctx context.Context, chain *postgres.AuditChain, ring audit.Ring) error {
	keys, err := chain.Keys(ctx)
	if err != nil {
		return fmt.Errorf("look which keys have signed the audit: %w", err)
	}
	var lost []string
	for _, k := range keys {
		if _, ok := ring[k.ID]; !ok {
			lost = append(lost, k.String())
		}
	}
	if len(lost) == 0 {
		return nil
	}
	list := strings.Join(lost, ",")
	return fmt.Errorf("the audit in this database was signed by a key that is not here; its public key is %s. "+
		"Give back the AIAAS_AUDIT_KEY (or the file audit.key of the data folder) and the BLOB_URL (or its folder files) that this database had. "+
		"If another key shall sign from now on, confirm it: add %s to AIAAS_AUDIT_OLD_KEYS, by which what was signed before is then checked", list, list)
}

// AuditTables is all of the audit that is in databases.
func AuditTables(ctx context.Context, e *function.Env) (map[function.Service]*postgres.AuditRecords, *postgres.AuditChain, error) {
	records := map[function.Service]*postgres.AuditRecords{}
	for _, source := range audit.Sources() {
		db, err := DB(ctx, e, source, postgres.RoleAuditor)
		if err != nil {
			return nil, nil, err
		}
		records[source] = postgres.NewAuditRecords(db, source)
	}
	accounts, err := DB(ctx, e, function.Accounts, postgres.RoleAuditor)
	if err != nil {
		return nil, nil, err
	}
	return records, postgres.NewAuditChain(accounts), nil
}
