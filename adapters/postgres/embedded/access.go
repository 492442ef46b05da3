//go:build linux || darwin

package embedded

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strings"
)

const (
	port       = "5432" // part of the socket's name only: there is no TCP listener
	socketName = ".s.PGSQL." + port
	// maxSocket is the longest path of a socket in bytes: 107 on Linux, 103 on macOS.
	maxSocket = 103
	hbaName   = "postgres.hba"
	identName = "postgres.ident"
)

// admit writes down who may connect: the user that runs this command, as the
// database's owner, through the socket. The files stand beside the cluster, not
// in it, where the server's own user could change them.
func (c *cluster) admit(context.Context) error {
	me, err := user.Current()
	if err != nil {
		return fmt.Errorf("find who runs this (PostgreSQL needs a user with a name): %w", err)
	}
	if strings.ContainsAny(me.Username, "\r\n\x00") {
		return fmt.Errorf("this user's name can't be written down: %q", me.Username)
	}
	ident := fmt.Sprintf("# written by aiaas at each start\naiaas %s %s\n", confQuote(me.Username), Database)
	hba := "# written by aiaas at each start\nlocal all all peer map=aiaas\n"
	// Nothing in them is secret, and the server's user must read them.
	return errors.Join(
		writeFile(filepath.Join(c.place, hbaName), hba, 0o644),
		writeFile(filepath.Join(c.place, identName), ident, 0o644))
}

// listen makes the socket's folder: beside the cluster, or where that path would
// be too long below the folder for temporary files, under a name that only this
// data folder has, at last one that nobody could have taken.
func (c *cluster) listen(ctx context.Context) error {
	short := "aiaas-run-" + c.hash()
	for _, dir := range []string{
		filepath.Join(c.place, "run"),
		filepath.Join(os.TempDir(), short),
		filepath.Join("/tmp", short),
	} {
		// A comma separates hosts in a database's address.
		if len(filepath.Join(dir, socketName)) > maxSocket || strings.Contains(dir, ",") {
			continue
		}
		err := c.claim(ctx, dir)
		if err == nil {
			c.socket, c.temporary = dir, filepath.Dir(dir) != c.place
			return nil
		}
		c.log.WarnContext(ctx, "this folder can't hold the socket", "folder", dir, "err", err)
	}
	dir, err := os.MkdirTemp("/tmp", "aiaas-run-")
	if err != nil {
		return fmt.Errorf("make the socket's folder: %w", err)
	}
	c.socket, c.temporary = dir, true
	return c.claim(ctx, dir)
}

// claim makes dir a folder that only the server's user (and root) can enter.
func (c *cluster) claim(ctx context.Context, dir string) error {
	if c.owner.dropped {
		if folder, err := c.owner.blocked(ctx, filepath.Dir(dir)); err != nil || folder != "" {
			return errors.Join(err, c.unreachable(folder))
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make the socket's folder: %w", err)
	}
	if err := ownedBy(dir, 0o077, uint32(os.Geteuid()), c.owner.uid); err != nil { //nolint:gosec // ids are 32 bits wide
		return err
	}
	if c.owner.dropped {
		if err := os.Lchown(dir, int(c.owner.uid), int(c.owner.gid)); err != nil {
			return fmt.Errorf("give the socket's folder to user %s: %w", c.owner.name, err)
		}
	}
	return c.sweep(dir)
}

// sweep removes the socket that a killed server left, whose lock file may name a
// process id that is another's by now.
func (c *cluster) sweep(dir string) error {
	for _, name := range []string{socketName, socketName + ".lock"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove a dead server's socket: %w", err)
		}
	}
	return nil
}

// url is how to reach a database through the socket. It names the port and the
// TLS mode so that a PGPORT or PGSSLMODE in the environment changes nothing.
func (c *cluster) url(database string) string {
	host := strings.NewReplacer("%2F", "/", "+", "%20").Replace(url.QueryEscape(c.socket))
	return "postgres:///" + database + "?host=" + host + "&port=" + port + "&user=" + Database + "&sslmode=disable"
}

// confQuote writes a word for PostgreSQL's ident file and its lists of folders.
func confQuote(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// settings are the server's parameters: durable, and of a size that a laptop
// does not notice. The log has no statements and no values of rows: it must be
// fit to be sent to somebody. Config.Settings come over them; what decides over
// access comes last.
func (c *cluster) settings() []string {
	args := []string{
		"-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "full_page_writes=on",
		"-c", "shared_buffers=128MB", "-c", "max_connections=100", "-c", "jit=off",
		"-c", "wal_compression=on", "-c", "max_wal_size=1GB", "-c", "checkpoint_timeout=15min",
		"-c", "timezone=UTC", "-c", "log_timezone=UTC", "-c", "cluster_name=aiaas",
		"-c", "logging_collector=off", "-c", "log_destination=stderr", "-c", "log_line_prefix=%m [%p] ",
		"-c", "log_checkpoints=off", "-c", "log_min_error_statement=panic", "-c", "log_error_verbosity=terse",
	}
	for name, value := range c.cfg.Settings {
		args = append(args, "-c", name+"="+value)
	}
	return append(args,
		"-c", "listen_addresses=", "-c", "port="+port,
		"-c", "unix_socket_directories="+confQuote(c.socket), "-c", "unix_socket_permissions=0700",
		"-c", "hba_file="+filepath.Join(c.place, hbaName), "-c", "ident_file="+filepath.Join(c.place, identName))
}
