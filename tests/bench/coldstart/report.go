package main

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// floor is the name of the bootstrap that the others are compared with.
const floor = "hello world"

const mib = 1 << 20

// report prints the table. Times are medians, in milliseconds; × is the factor
// over hello world.
func report(w io.Writer, functions []*measured, runs int) error {
	_, err := fmt.Fprintf(w, `Cold starts, medians of %d runs. Times in ms from exec; CPU is user and system time
of the process until it had answered; × is the factor over %s.

| bootstrap     | raw MiB | zip MiB | initialised | first response |    × |  CPU |    × |
|---------------|--------:|--------:|------------:|---------------:|-----:|-----:|-----:|
`, runs, floor)
	if err != nil {
		return fmt.Errorf("print: %w", err)
	}
	least := functions[0]
	for _, f := range functions {
		raw, zipped, err := sizes(f.path)
		if err != nil {
			return fmt.Errorf("measure %s: %w", f.path, err)
		}
		_, err = fmt.Fprintf(w, "| %-13s | %7.2f | %7.2f | %11.1f | %14.1f | %4.1f | %4.1f | %4.1f |\n", f.name,
			float64(raw)/mib, float64(zipped)/mib, ms(f.polled), ms(f.answered), ms(f.answered)/ms(least.answered),
			ms(f.cpu), ms(f.cpu)/ms(least.cpu))
		if err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	return nil
}

func ms(all []time.Duration) float64 {
	sorted := slices.Sorted(slices.Values(all))
	middle := sorted[len(sorted)/2]
	if len(sorted)%2 == 0 {
		middle = (middle + sorted[len(sorted)/2-1]) / 2
	}
	return float64(middle) / float64(time.Millisecond)
}

// sizes are a file's bytes, as it is and in the archive that is deployed.
func sizes(path string) (raw, zipped int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, fmt.Errorf("open: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var out counter
	archive := zip.NewWriter(&out)
	entry, err := archive.Create("bootstrap")
	if err != nil {
		return 0, 0, fmt.Errorf("zip: %w", err)
	}
	if raw, err = io.Copy(entry, f); err != nil {
		return 0, 0, fmt.Errorf("zip: %w", err)
	}
	if err := archive.Close(); err != nil {
		return 0, 0, fmt.Errorf("zip: %w", err)
	}
	return raw, int64(out), nil
}

// counter counts bytes.
type counter int64

// Write implements [io.Writer].
func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
