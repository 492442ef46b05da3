//go:build linux || darwin

package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const lockName = "aiaas.lock"

// DirLock is the exclusive right to a data folder. The kernel takes it back
// when the process ends, however it ends; children do not inherit it.
type DirLock struct {
	file *os.File
	once sync.Once
	err  error
}

// Lock takes the exclusive lock on a data folder, which it makes when missing.
// It does not wait: when another process (or this one) holds the folder, the
// error is an [InUseError] with the holder's process id.
func Lock(dataDir string) (*DirLock, error) {
	dir, err := makeDataDir(dataDir)
	if err != nil {
		return nil, err
	}
	return lockDir(dir)
}

func lockDir(dir string) (*DirLock, error) {
	path := filepath.Join(dir, lockName)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600) //nolint:gosec // a name of ours in the data folder
	if err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		pid := holder(path)
		return nil, errors.Join(&InUseError{Dir: dir, PID: pid}, file.Close())
	case err != nil:
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
	}
	lock := &DirLock{file: file}
	if err := lock.sign(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// sign writes down who holds the lock, for the message of whoever comes second.
func (l *DirLock) sign() error {
	if err := l.file.Truncate(0); err != nil {
		return fmt.Errorf("sign the lock: %w", err)
	}
	if _, err := l.file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return fmt.Errorf("sign the lock: %w", err)
	}
	return nil
}

// Close gives the folder back; further calls do nothing. The file stays: were it
// removed, two processes could hold locks on two files of one name.
func (l *DirLock) Close() error {
	l.once.Do(func() {
		l.err = errors.Join(l.file.Truncate(0), l.file.Close())
	})
	return l.err
}

// holder reads who holds the lock. The holder signs just after it locks, so an
// empty file is read again a few times.
func holder(path string) int {
	for range 20 {
		text, err := os.ReadFile(path) //nolint:gosec // a name of ours in the data folder
		if err != nil {
			return 0
		}
		if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			return pid
		}
		time.Sleep(5 * time.Millisecond)
	}
	return 0
}

// makeDataDir returns the folder's absolute name with links followed, so that
// two names of one folder meet in one lock. A folder that root makes may be
// passed through by the server's unprivileged user, but not listed.
func makeDataDir(dataDir string) (string, error) {
	if dataDir == "" {
		return "", errors.New("embedded PostgreSQL: no data folder is named")
	}
	dir, err := filepath.Abs(dataDir)
	if err != nil {
		return "", fmt.Errorf("find the data folder: %w", err)
	}
	if err := makePrivate(dir); err != nil {
		return "", fmt.Errorf("make the data folder: %w", err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", fmt.Errorf("find the data folder: %w", err)
	}
	return dir, nil
}

// makePrivate makes a folder for this user, and those above it, if missing.
func makePrivate(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		return err //nolint:wrapcheck // a PathError says it all
	}
	mode := os.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil { //nolint:gosec // above the data, as mkdir -p
		return err //nolint:wrapcheck // a PathError says it all
	}
	if err := os.Mkdir(dir, mode); err != nil && !errors.Is(err, os.ErrExist) {
		return err //nolint:wrapcheck // a PathError says it all
	}
	return os.Chmod(dir, mode) //nolint:wrapcheck // a PathError says it all; the umask may have taken bits
}
