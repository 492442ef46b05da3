package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/functions/aiaas/client"
)

func bootstrapCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "bootstrap",
		Short: "Prepare a database without serving: schemas, the first organization, models",
		Long: "bootstrap does what the first start of serve does, and ends. The keys are written to credentials.json in the data\n" +
			"folder; with --output json they are printed too, this once. Where all is done already it changes nothing.",
		Args: client.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := client.CheckOutput(output); err != nil {
				return err
			}
			p := &process{out: cmd.OutOrStdout(), log: slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), nil)), getenv: os.Getenv}
			if output == client.Table {
				s, err := p.bootstrap(cmd.Context())
				if err == nil {
					s.sayBootstrapped()
				}
				return err
			}
			p.out = cmd.ErrOrStderr() // what is said on the way
			s, err := p.bootstrap(cmd.Context())
			if err != nil {
				return err
			}
			return client.Print(cmd.OutOrStdout(), output, s.outcome())
		},
	}
	client.BindOutput(cmd, &output)
	return cmd
}

// bootstrap prepares the database that serve would use.
func (p *process) bootstrap(ctx context.Context) (_ *setup, err error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	env := p.env(fail)
	s, err := open.Load(ctx, env)
	if err != nil {
		return nil, err
	}
	lock, err := claim(s.DataDir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	address, err := p.address(s)
	if err != nil {
		return nil, err
	}
	stop, err := p.database(ctx, env, &s, lock, fail)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		err = errors.Join(err, env.Close(ctx))
	}()
	return p.prepare(ctx, env, s, address)
}

// address is where serve will listen; where there is a profile already, what that
// says: nobody has moved.
func (p *process) address(s open.Settings) (string, error) {
	if old, err := client.ReadProfile(filepath.Join(s.DataDir, client.ProfileName)); err == nil && old.BaseURL != "" {
		return old.BaseURL, nil
	}
	a, err := net.ResolveTCPAddr("tcp", s.Addr)
	if err != nil {
		return "", fmt.Errorf("read AIAAS_ADDR=%s: %w", s.Addr, err)
	}
	return "http://" + reachable(a), nil
}

func (s *setup) sayBootstrapped() {
	if !s.shown {
		s.say("The database is set up already.")
	}
	if len(s.added) > 0 {
		s.say("  new models     %v", s.added)
	}
	s.sayKeys()
}

// outcome is what bootstrap did, for programs.
func (s *setup) outcome() any {
	type done struct {
		Founded bool     `json:"founded"`
		Models  []string `json:"new_models"`
		File    string   `json:"credentials_file"`
	}
	d := done{Founded: s.shown, Models: append([]string{}, s.added...), File: absolute(s.path())}
	if !s.shown {
		return d
	}
	return struct {
		done
		client.Profile
	}{d, s.profile}
}
