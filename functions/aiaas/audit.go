package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/adapters/open/files"
	"github.com/aiaas/aiaas/functions/aiaas/client"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/function"
)

// verifyAudit verifies in the databases themselves, beside a platform that may run
// or not: an operator need not believe the process that is to be checked.
func verifyAudit(ctx context.Context, org string, ring audit.Ring) (report audit.Report, err error) {
	p := &process{out: os.Stderr, log: slog.New(slog.NewJSONHandler(os.Stderr, nil)), getenv: os.Getenv}
	env := p.env(func(error) {})
	s, err := open.Load(ctx, env)
	if err != nil {
		return report, err
	}
	if _, err := s.URL(function.Accounts); err != nil {
		running := runningDatabase(s.DataDir)
		if running == "" {
			return report, fmt.Errorf("%w: the embedded database does not run, and no other is set", client.ErrUnavailable)
		}
		env.Getenv = func(name string) string {
			if name == "DATABASE_URL" {
				return running
			}
			return p.getenv(name)
		}
		if err := open.Reload(env); err != nil {
			return report, err
		}
	}
	if org == "" {
		profile, err := client.ReadProfile(client.ProfilePath(p.getenv))
		if err != nil || profile.OrganizationID == "" {
			return report, client.Usage("--organization says whose audit: there is no profile that does")
		}
		org = profile.OrganizationID
	}
	defer func() { err = errors.Join(err, env.Close(context.WithoutCancel(ctx))) }()
	v, err := auditVerifier(ctx, env, s, ring)
	if err != nil {
		return report, err
	}
	return v.Verify(ctx, org)
}

func auditVerifier(ctx context.Context, env *function.Env, s open.Settings, ring audit.Ring) (*audit.Verifier, error) {
	if ring == nil {
		_, err := os.Stat(filepath.Join(s.DataDir, "audit.key"))
		if s.AuditKey == "" && errors.Is(err, fs.ErrNotExist) {
			return nil, client.Usage("give the public key with --key: neither AIAAS_AUDIT_KEY nor a key file is here")
		}
		if ring, err = open.AuditRing(ctx, env); err != nil {
			return nil, err
		}
	}
	records, chain, err := open.AuditTables(ctx, env)
	if err != nil {
		return nil, err
	}
	store, err := files.Open(ctx, env)
	if err != nil {
		return nil, err
	}
	v := &audit.Verifier{Chain: chain, Files: store, Ring: ring, Now: env.Now, Records: map[function.Service]audit.Records{}}
	for source, r := range records {
		v.Records[source] = r
	}
	return v, nil
}
