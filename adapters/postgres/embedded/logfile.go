//go:build linux || darwin

package embedded

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

const (
	logName = "postgres.log"
	// logLimit in bytes is where the log is put aside; two are kept.
	logLimit = 10 << 20
)

// openLog opens the file that the server's messages go to. The server inherits
// it opened, so it need not be able to reach it.
func openLog(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|syscall.O_NOFOLLOW, 0o600) //nolint:gosec // a name of ours in the data folder
	if err != nil {
		return nil, fmt.Errorf("open the log of PostgreSQL: %w", err)
	}
	return file, nil
}

// trimLog copies a log that has grown to the limit to path.1 and empties it. The
// server keeps its file open (and outlives this process, if that is killed), so
// the file can't be renamed away from it; a line written in between may be lost.
func trimLog(path string, limit int64) error {
	from, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW, 0) //nolint:gosec // a name of ours in the data folder
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("trim the log of PostgreSQL: %w", err)
	}
	defer from.Close() //nolint:errcheck // nothing was buffered
	info, err := from.Stat()
	if err != nil || info.Size() < limit {
		return err //nolint:wrapcheck // a PathError says it all
	}
	to, err := os.OpenFile(path+".1", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600) //nolint:gosec // a name of ours in the data folder
	if err != nil {
		return fmt.Errorf("trim the log of PostgreSQL: %w", err)
	}
	_, err = io.Copy(to, from)
	if err = errors.Join(err, to.Close()); err != nil {
		return fmt.Errorf("trim the log of PostgreSQL: %w", err)
	}
	if err := from.Truncate(0); err != nil {
		return fmt.Errorf("trim the log of PostgreSQL: %w", err)
	}
	return nil
}

// logSince returns the last lines written after offset.
func logSince(path string, offset int64) string {
	file, err := os.Open(path) //nolint:gosec // our own log
	if err != nil {
		return ""
	}
	defer file.Close() //nolint:errcheck // it was only read
	info, err := file.Stat()
	if err != nil {
		return ""
	}
	if info.Size() < offset { // trimmed since
		offset = 0
	}
	text, err := io.ReadAll(io.NewSectionReader(file, max(offset, info.Size()-8<<10), 8<<10))
	if err != nil {
		return ""
	}
	return lastLines(string(text))
}

func lastLines(text string) string {
	const most = 10
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}
