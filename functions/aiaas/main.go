// Command aiaas is the platform in one program: `serve` runs all of its functions
// in one process, `migrate` and `bootstrap` prepare a database, `doctor` finds what
// is wrong, and the other commands call a running platform (see package client).
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/functions/aiaas/client"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cmd, err := root().ExecuteContextC(ctx)
	if err == nil {
		return
	}
	client.Report(os.Stderr, err, outputOf(cmd))
	os.Exit(client.ExitCode(err)) //nolint:gocritic // nothing is left to stop
}

// outputOf is the form of output that a command was asked for, as far as its flags
// were read.
func outputOf(cmd *cobra.Command) string {
	if f := cmd.Flags().Lookup(client.OutputFlag); f != nil {
		return f.Value.String()
	}
	return ""
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "aiaas",
		Short: "AIaaS turns model backends into a paid, governed, multi-tenant AI service",
		Long: "AIaaS turns model backends into a paid, governed, multi-tenant AI service.\n\n" +
			"Exit codes: 0 fine, 1 it did not work, 2 called wrongly, 3 the service can't be reached or can't serve now.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          client.NoArgs, // so that an unknown command is a usage error
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return client.UsageError{Err: err} })
	cmd.AddCommand(serveCommand(), migrateCommand(), bootstrapCommand(), doctorCommand(), versionCommand(), settingsTopic())
	cmd.AddCommand(client.Commands(client.Env{
		Getenv: os.Getenv,
		Now:    func() time.Time { return time.Now().UTC() },
		Asks:   func() bool { return isTerminal(os.Stdin) },

		VerifyAudit: verifyAudit,
	})...)
	return cmd
}

// isTerminal tells whether somebody sits at a file. What has no other end, such as
// /dev/null, is a device too.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: client.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "aiaas "+version())
			return err
		},
	}
}

// version is what the build knows of itself.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	text, facts := info.Main.Version, map[string]string{}
	for _, s := range info.Settings {
		facts[s.Key] = s.Value
	}
	if text == "" {
		text = "(devel)"
	}
	if rev := facts["vcs.revision"]; rev != "" {
		text += " " + rev[:min(12, len(rev))] + " " + facts["vcs.time"]
	}
	if facts["vcs.modified"] == "true" {
		text += " modified"
	}
	return text + " " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
}

// settingsTopic is a help topic: `aiaas help settings`.
func settingsTopic() *cobra.Command {
	var text strings.Builder
	text.WriteString("All settings are read from the environment.\n\n")
	for _, s := range open.Describe() {
		fmt.Fprintf(&text, "  %-28s %s", s.Name, s.Doc)
		if s.Default != "" {
			fmt.Fprintf(&text, " (default %s)", s.Default)
		}
		text.WriteString("\n")
	}
	text.WriteString("\nThe commands that call a running platform read these:\n\n")
	for _, s := range client.Settings() {
		fmt.Fprintf(&text, "  %-28s %s", s.Name, s.Doc)
		if s.Default != "" {
			fmt.Fprintf(&text, " (default %s)", s.Default)
		}
		text.WriteString("\n")
	}
	return &cobra.Command{Use: "settings", Short: "The settings and their defaults", Long: text.String()}
}
