// Command coldstart measures what a cold start of each function costs: the size
// of its bootstrap, and the time from exec to its first response, beside a
// bootstrap that only says hello, in the same run.
//
// Each run is a fresh process whose first event is a real one: it reads or writes
// the database where the function does. The bootstraps take turns, so that
// whatever else the machine does falls on all of them. Medians are printed, as a
// Markdown table.
//
// It owns a PostgreSQL for its time, in a temporary folder, and leaves nothing.
// What it does not measure is what the platform adds: fetching the package and
// starting the micro VM.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// maxRuns bounds the time that a measurement takes: a run is some 20 ms for each
// function.
const maxRuns = 1000

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir := flag.String("dir", "bin/lambda", "folder with <function>/bootstrap, as make build-lambda leaves it")
	runs := flag.Int("runs", 30, "cold starts of each bootstrap")
	flag.Parse()
	if err := bench(ctx, *dir, *runs); err != nil {
		fmt.Fprintln(os.Stderr, "coldstart: "+err.Error())
		os.Exit(1) //nolint:gocritic // nothing is left to stop
	}
}

func bench(ctx context.Context, dir string, runs int) (err error) {
	if runs < 1 || runs > maxRuns {
		return fmt.Errorf("-runs must be between 1 and %d", maxRuns)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	s, err := setUp(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for run := range runs {
		for _, f := range s.functions {
			if err := s.measure(ctx, f); err != nil {
				return fmt.Errorf("%s, run %d: %w", f.name, run+1, err)
			}
		}
	}
	return report(os.Stdout, s.functions, runs)
}
