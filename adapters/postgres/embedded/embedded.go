// Package embedded runs the PostgreSQL of a laptop: it finds an installed
// server, keeps one cluster below a data folder, and starts and stops it with
// the command that needs it.
//
// It owns the cluster's life (creation, start, shutdown, what a crash left
// behind), who may connect to it, and the lock that keeps a second command off
// the same data. It does not own what stands in the database: schemas, roles
// and migrations belong to the services.
//
// Decisions:
//
//   - The cluster listens on a Unix socket in a folder of its own, never on TCP,
//     and lets in one operating-system user by peer authentication: there is no
//     password to keep, and no other user of the machine gets in.
//   - PostgreSQL refuses to run as root, so a command that root started gives
//     the cluster to an unprivileged user. Everything below the cluster's folder
//     is then done by processes of that user, never by root, so that the folder
//     can't be used to make root write elsewhere.
//   - A killed command leaves its PostgreSQL running; the next start stops it.
//     Linux could tie the server's life to the command's (PR_SET_PDEATHSIG), but
//     that signal follows the thread that forked, and the Go runtime ends
//     threads when it likes: a healthy server would be shot at random.
//   - The server has a session of its own, so that Ctrl-C in a terminal reaches
//     the command only, which drains first and stops the server last.
//   - The children's environment is built from nothing: no key of the command's
//     environment can be read from the server's.
package embedded

import (
	"errors"
	"fmt"
	"log/slog"
)

// Database is the name of the database, and of the superuser that owns it.
const Database = "aiaas"

var (
	// ErrNotInstalled says that no usable PostgreSQL server was found; its text
	// tells in one line what to do about it.
	ErrNotInstalled = errors.New("no PostgreSQL server was found")
	// ErrInUse says that another process holds the data folder. See [InUseError].
	ErrInUse = errors.New("the data folder is in use")
	// ErrVersion says that the cluster was made by a PostgreSQL of another major
	// version than any that is installed.
	ErrVersion = errors.New("the cluster needs another PostgreSQL version")
	// ErrUnsupported says that this operating system can't run it.
	ErrUnsupported = errors.New("the embedded PostgreSQL runs on Linux and macOS only: set DATABASE_URL to a server of yours")
	// ErrUnreachable says that the unprivileged user that must run the server
	// can't enter a folder above it.
	ErrUnreachable = errors.New("a folder can't be entered")
)

// InUseError is the [ErrInUse] of one folder.
type InUseError struct {
	Dir string // the folder
	PID int    // who holds it; 0 where it could not be read
}

// Error names the holder and the folder.
func (e *InUseError) Error() string {
	if e.PID == 0 {
		return "another aiaas is running on this data folder: " + e.Dir
	}
	return fmt.Sprintf("another aiaas (pid %d) is running on this data folder: %s", e.PID, e.Dir)
}

// Is makes errors.Is(err, ErrInUse) true.
func (e *InUseError) Is(target error) bool { return target == ErrInUse }

// Config says where and how the server runs. Only DataDir is required.
type Config struct {
	// DataDir holds the cluster (postgres/), its log (postgres.log, the one
	// before as postgres.log.1), the lock (aiaas.lock), and postgres.location
	// where the cluster had to be put elsewhere. It is made when missing.
	DataDir string
	// BinDir is the folder of initdb and postgres; "" looks for it as [Find] does.
	BinDir string
	// Search are further places for [Find].
	Search []string
	// Lock is the lock on DataDir that the caller already holds, and keeps. With
	// nil, Start takes it and Stop gives it back.
	Lock *DirLock
	// Elsewhere are the folders below which the cluster of a command that root
	// started is put, the first that works, when the unprivileged user can't
	// enter DataDir. With nil: /var/lib (macOS: /usr/local/var), at last the
	// folder for temporary files.
	Elsewhere []string
	// Settings are set over the defaults, as in postgresql.conf. Who may connect,
	// and where, can't be changed.
	Settings map[string]string
	// Log gets what an operator would want to know; nil discards it.
	Log *slog.Logger
	// Progress gets a line for the person who waits, before each step that takes
	// long or that they should know of; nil discards them.
	Progress func(line string)
}
