//go:build linux || darwin

package embedded

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

const (
	clusterName  = "postgres"          // the cluster's folder below its place
	locationName = "postgres.location" // in the data folder: where the cluster is instead
)

// cluster is the data on disk, and everything that a server needs to run it.
type cluster struct {
	cfg   Config
	log   *slog.Logger
	place string  // the folder that holds the cluster's: the data folder, or one elsewhere
	owner account // who runs it
	bin   string  // the folder of its PostgreSQL's programs
	locks []*DirLock
	// socket is the folder of the socket; temporary, when it is not in place.
	socket    string
	temporary bool
}

func (c *cluster) dir() string { return filepath.Join(c.place, clusterName) }

func (c *cluster) say(format string, args ...any) {
	if c.cfg.Progress != nil {
		c.cfg.Progress(fmt.Sprintf(format, args...))
	}
}

// hash tells data folders apart where one shared folder holds what is theirs.
func (c *cluster) hash() string {
	sum := sha256.Sum256([]byte(c.cfg.DataDir))
	return hex.EncodeToString(sum[:8])
}

// open makes the data folder and takes its lock, unless the caller holds it.
func (c *cluster) open(context.Context) error {
	dir, err := makeDataDir(c.cfg.DataDir)
	if err != nil {
		return err
	}
	c.cfg.DataDir = dir
	if c.cfg.Lock != nil {
		return nil
	}
	return c.lock(dir)
}

func (c *cluster) lock(dir string) error {
	lock, err := lockDir(dir)
	if err == nil {
		c.locks = append(c.locks, lock)
	}
	return err
}

// settle finds where the cluster is, or will be, and who runs it.
func (c *cluster) settle(ctx context.Context) error {
	place, recorded, err := c.recorded()
	if err != nil {
		return err
	}
	c.place = place
	if recorded {
		// A copy of the data folder records the same place: one at a time.
		if err := c.lock(place); err != nil {
			return err
		}
	}
	exists, err := present(c.dir())
	if err != nil {
		return fmt.Errorf("look for the cluster: %w", err)
	}
	if !exists {
		c.owner = serverAccount()
		if recorded || !c.owner.dropped {
			return c.reachable(ctx)
		}
		return c.settleNew(ctx)
	}
	if c.owner, err = clusterAccount(c.dir()); err != nil {
		return err
	}
	if err := c.adopt(); err != nil {
		return err
	}
	return c.reachable(ctx)
}

// recorded returns the place that the data folder names, else the data folder.
func (c *cluster) recorded() (place string, recorded bool, err error) {
	text, err := os.ReadFile(filepath.Join(c.cfg.DataDir, locationName))
	if errors.Is(err, os.ErrNotExist) {
		return c.cfg.DataDir, false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("read where the cluster is: %w", err)
	}
	place = strings.TrimSpace(string(text))
	// An empty database in the place of a lost one would hide the loss.
	if there, err := present(place); err != nil || !there || !filepath.IsAbs(place) {
		return "", false, fmt.Errorf("the database of %s was kept in %q (as %s there says), which is gone: bring it back, or remove %s to begin anew",
			c.cfg.DataDir, place, locationName, locationName)
	}
	return place, true, nil
}

// settleNew chooses the place of a new cluster that root gives to another user.
func (c *cluster) settleNew(ctx context.Context) error {
	folder, err := c.owner.blocked(ctx, c.cfg.DataDir)
	if err != nil || folder == "" {
		return err
	}
	for _, base := range c.elsewhere() {
		err := c.settleIn(ctx, base)
		if err == nil {
			c.say("PostgreSQL runs as user %s, who can't enter %s: the database is kept in %s", c.owner.name, folder, c.place)
			return nil
		}
		c.log.DebugContext(ctx, "no place for the cluster", "folder", base, "err", err)
	}
	return c.unreachable(folder)
}

func (c *cluster) elsewhere() []string {
	switch {
	case c.cfg.Elsewhere != nil:
		return c.cfg.Elsewhere
	case runtime.GOOS == "darwin":
		return []string{"/usr/local/var", os.TempDir()}
	}
	return []string{"/var/lib", os.TempDir()}
}

// settleIn makes the cluster's place below base, and records it.
func (c *cluster) settleIn(ctx context.Context, base string) error {
	place := filepath.Join(base, "aiaas-"+c.hash())
	err := os.Mkdir(place, 0o711) //nolint:gosec // the server's user must pass through
	if err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make the cluster's folder: %w", err)
	}
	if err := ownedBy(place, 0o022, 0); err != nil {
		return err
	}
	if err := os.Chmod(place, 0o711); err != nil { //nolint:gosec // the umask may have taken what the server's user needs
		return fmt.Errorf("open the cluster's folder: %w", err)
	}
	if folder, err := c.owner.blocked(ctx, place); err != nil || folder != "" {
		return errors.Join(err, c.unreachable(folder), os.Remove(place))
	}
	if err := c.lock(place); err != nil {
		return err
	}
	c.place = place
	return writeFile(filepath.Join(c.cfg.DataDir, locationName), place+"\n", 0o600)
}

// reachable checks that the server's user gets to an existing cluster's folder.
func (c *cluster) reachable(ctx context.Context) error {
	if !c.owner.dropped {
		return nil
	}
	folder, err := c.owner.blocked(ctx, c.place)
	if err != nil || folder == "" {
		return err
	}
	return c.unreachable(folder)
}

func (c *cluster) unreachable(folder string) error {
	return fmt.Errorf("%w: PostgreSQL runs as user %s, who can't pass through %s: run chmod o+x %s, or set AIAAS_DATA_DIR to a folder outside of it",
		ErrUnreachable, c.owner.name, folder, shellQuote(folder))
}

// adopt gives a cluster that root came to own (by chown -R, or a restored copy)
// back to the server's user.
func (c *cluster) adopt() error {
	info, err := os.Lstat(c.dir())
	if err != nil {
		return fmt.Errorf("look at the cluster: %w", err)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || !c.owner.dropped || stat.Uid == c.owner.uid {
		return nil
	}
	root, err := os.OpenRoot(c.dir())
	if err != nil {
		return fmt.Errorf("look at the cluster: %w", err)
	}
	err = fs.WalkDir(root.FS(), ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return root.Lchown(path, int(c.owner.uid), int(c.owner.gid))
	})
	if err = errors.Join(err, root.Close()); err != nil {
		return fmt.Errorf("give the cluster to user %s: %w", c.owner.name, err)
	}
	return nil
}

func present(path string) (bool, error) {
	_, err := os.Lstat(path) //nolint:gosec // it is only asked for
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err //nolint:wrapcheck // callers say what they looked for
}

// ownedBy checks that path is a true folder of one of the users, with none of
// the forbidden permissions: in a folder that everybody may write to, another
// user could have made it first.
func ownedBy(path string, forbidden os.FileMode, uids ...uint32) error {
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("look at %s: %w", path, err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() {
		return fmt.Errorf("%s is no folder", path)
	}
	if info.Mode().Perm()&forbidden != 0 {
		return fmt.Errorf("%s is open to other users (mode %v)", path, info.Mode().Perm())
	}
	if slices.Contains(uids, stat.Uid) {
		return nil
	}
	return fmt.Errorf("%s belongs to another user (%d)", path, stat.Uid)
}

// writeFile replaces a file in one step, so that a crash leaves the old or the
// new one, and a link put in its place is not followed.
func writeFile(path, text string, mode os.FileMode) error {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = file.WriteString(text)
	err = errors.Join(err, file.Chmod(mode), file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(file.Name()))
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a rename in the folder durable.
func syncDir(dir string) error {
	file, err := os.Open(dir) //nolint:gosec // our own folder
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

func shellQuote(s string) string {
	if !strings.ContainsAny(s, " \t\n'\"\\$`*?[]#&;<>|(){}~!") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
