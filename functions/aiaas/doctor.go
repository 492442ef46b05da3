package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/functions/aiaas/client"
)

// state is how a check ended.
type state string

const (
	fine   state = "ok"
	warned state = "warn"
	failed state = "fail"
)

// finding is what one check found, and what to do about it.
type finding struct {
	Check  string `json:"check"`
	State  state  `json:"state"`
	Detail string `json:"detail"`
	Hint   string `json:"hint"`
}

// exam is one run of the doctor.
type exam struct {
	getenv   func(string) string
	now      func() time.Time
	timeout  time.Duration
	path     string // of the profile
	settings open.Settings
	profile  client.Profile
	found    []finding
	down     bool // the service does not serve
}

func (e *exam) ok(check, format string, args ...any) {
	e.found = append(e.found, finding{check, fine, fmt.Sprintf(format, args...), ""})
}

func (e *exam) warn(check, hint, format string, args ...any) {
	e.found = append(e.found, finding{check, warned, fmt.Sprintf(format, args...), hint})
}

func (e *exam) fail(check, hint, format string, args ...any) {
	e.found = append(e.found, finding{check, failed, fmt.Sprintf(format, args...), hint})
}

func doctorCommand() *cobra.Command {
	var output, path string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong, and say what to do",
		Long: "doctor looks at the settings, the data folder, the database, and the running platform as the profile knows it.\n" +
			"It changes nothing. It ends with 1 where something is wrong, and with 3 where the platform does not serve.",
		Args: client.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := client.CheckOutput(output); err != nil {
				return err
			}
			e := &exam{getenv: os.Getenv, now: time.Now, timeout: timeout, path: path}
			e.run(cmd.Context())
			if output == client.Table {
				e.print(cmd.OutOrStdout())
				return e.verdict()
			}
			if err := client.Print(cmd.OutOrStdout(), output, e.found); err != nil {
				return err
			}
			return e.verdict()
		},
	}
	cmd.Flags().StringVar(&path, "profile", "", "file with the address and keys (default $AIAAS_PROFILE, else credentials.json in the data folder)")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "how long one check may wait")
	client.BindOutput(cmd, &output)
	return cmd
}

// run examines all; a check whose ground is missing is left out.
func (e *exam) run(ctx context.Context) {
	if !e.checkSettings(ctx) {
		return
	}
	e.checkFolder()
	e.checkSecrets()
	e.checkDisk()
	e.checkMail(ctx)
	e.checkSignIn()
	e.checkProfile()
	e.checkServer(ctx)
	e.checkDatabases(ctx)
}

// print writes a line for each finding, and what to do below it.
func (e *exam) print(w io.Writer) {
	longest := 0
	for _, f := range e.found {
		longest = max(longest, len(f.Check))
	}
	for _, f := range e.found {
		_, _ = fmt.Fprintf(w, "%-4s  %-*s  %s\n", f.State, longest, f.Check, f.Detail) // the verdict is the exit code
		if f.Hint != "" {
			_, _ = fmt.Fprintf(w, "%*s  to do: %s\n", longest+6, "", f.Hint)
		}
	}
}

// verdict is the command's end.
func (e *exam) verdict() error {
	bad := 0
	for _, f := range e.found {
		if f.State == failed {
			bad++
		}
	}
	switch {
	case e.down:
		return fmt.Errorf("the platform does not serve: %w", client.ErrUnavailable)
	case bad == 1:
		return fmt.Errorf("one check has failed")
	case bad > 0:
		return fmt.Errorf("%d checks have failed", bad)
	}
	return nil
}
