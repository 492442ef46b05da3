//go:build linux || darwin

package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// choose picks the programs: of the version that made the cluster, or for a new
// one the first that the server's user can run.
func (c *cluster) choose(ctx context.Context) error {
	wanted, err := c.version()
	if err != nil {
		return err
	}
	var others, unusable []string
	for _, bin := range candidates(c.cfg.BinDir, c.cfg.Search) {
		version, err := c.versionOf(ctx, bin)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("look for PostgreSQL: %w", ctx.Err())
		case err != nil:
			c.log.WarnContext(ctx, "this PostgreSQL can't be used", "folder", bin, "err", err)
			unusable = append(unusable, bin+" can't be used: "+err.Error())
		case wanted == "" || wanted == version:
			c.bin = bin
			return nil
		default:
			others = append(others, version+" in "+bin)
		}
	}
	switch {
	case len(others) > 0:
		return fmt.Errorf("%w: %s was made by PostgreSQL %s, installed is %s: install PostgreSQL %s beside it (apt-get install postgresql-%s, brew install postgresql@%s), or move the data folder away to begin anew",
			ErrVersion, c.dir(), wanted, strings.Join(others, ", "), wanted, wanted, wanted)
	case len(unusable) > 0:
		return notInstalled(unusable[0])
	}
	return notInstalled("")
}

// version is the version of the existing cluster, "" when there is none.
func (c *cluster) version() (string, error) {
	exists, err := present(c.dir())
	if err != nil || !exists {
		return "", err
	}
	text, err := os.ReadFile(filepath.Join(c.dir(), "PG_VERSION"))
	if err != nil {
		return "", fmt.Errorf("%s is no PostgreSQL cluster (move it away to begin anew): %w", c.dir(), err)
	}
	return strings.TrimSpace(string(text)), nil
}

// versionOf asks the programs themselves, as the user that would run them.
func (c *cluster) versionOf(ctx context.Context, bin string) (string, error) {
	if c.owner.dropped {
		if folder, err := c.owner.blocked(ctx, bin); err != nil || folder != "" {
			return "", errors.Join(err, c.unreachable(folder))
		}
	}
	text, err := c.owner.output(ctx, "/", filepath.Join(bin, "postgres"), "--version")
	if err != nil {
		return "", err
	}
	return parseVersion(text)
}

// parseVersion reads PG_VERSION's form of "postgres (PostgreSQL) 15.18 (Debian …)":
// the first number, and up to 9.6 the first two.
func parseVersion(text string) (string, error) {
	m := regexp.MustCompile(`\(PostgreSQL\) (9\.\d+|\d+)`).FindStringSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("read PostgreSQL's version: %q", text)
	}
	return m[1], nil
}

// create makes the cluster when there is none. It grows under a name of its own
// and is renamed when complete: an interrupted one never looks like a cluster,
// and an initdb that a kill left running can't write into its successor.
func (c *cluster) create(ctx context.Context) error {
	unfinished, err := filepath.Glob(filepath.Join(c.place, clusterName+".new-*"))
	if err != nil {
		return fmt.Errorf("look for unfinished clusters: %w", err)
	}
	for _, dir := range unfinished {
		if err := os.RemoveAll(dir); err != nil {
			c.log.WarnContext(ctx, "an unfinished cluster stays", "folder", dir, "err", err)
		}
	}
	if exists, err := present(c.dir()); err != nil || exists {
		return err
	}
	c.say("creating the database (a few seconds, once)")
	dir, err := os.MkdirTemp(c.place, clusterName+".new-*")
	if err != nil {
		return fmt.Errorf("make the cluster's folder: %w", err)
	}
	if err := c.initialise(ctx, dir); err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	if err := os.Rename(dir, c.dir()); err != nil {
		return fmt.Errorf("put the cluster in place: %w", err)
	}
	return syncDir(c.place)
}

func (c *cluster) initialise(ctx context.Context, dir string) error {
	if c.owner.dropped {
		if err := os.Lchown(dir, int(c.owner.uid), int(c.owner.gid)); err != nil {
			return fmt.Errorf("give the cluster to user %s: %w", c.owner.name, err)
		}
	}
	_, err := c.owner.output(ctx, dir, filepath.Join(c.bin, "initdb"), "--pgdata", dir, "--username", Database,
		"--encoding", "UTF8", "--locale", "C", "--data-checksums", "--auth-local", "peer", "--auth-host", "reject")
	if err != nil {
		return fmt.Errorf("create the database cluster: %w", err)
	}
	return nil
}
