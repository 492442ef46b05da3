// Command aiaas is the platform in one program: `serve` runs all of its functions
// in one process.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/aiaas/aiaas/adapters/open"
)

// Exit codes.
const (
	exitError = 1 // it did not work
	exitUsage = 2 // it was called wrongly
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := root().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "aiaas: "+err.Error())
		os.Exit(exitCode(err)) //nolint:gocritic // nothing is left to stop
	}
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "aiaas",
		Short:         "AIaaS turns model backends into a paid, governed, multi-tenant AI service",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noArgs, // so that an unknown command is a usage error
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	cmd.AddCommand(serveCommand(), migrateCommand(), settingsTopic())
	return cmd
}

// usageError marks a command that was called wrongly.
type usageError struct{ error }

// noArgs refuses arguments.
func noArgs(cmd *cobra.Command, args []string) error {
	if err := cobra.NoArgs(cmd, args); err != nil {
		return usageError{err}
	}
	return nil
}

func exitCode(err error) int {
	if _, ok := err.(usageError); ok { //nolint:errorlint // it is made in one place and not wrapped
		return exitUsage
	}
	return exitError
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
	return &cobra.Command{Use: "settings", Short: "The settings and their defaults", Long: text.String()}
}
