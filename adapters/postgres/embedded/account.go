//go:build linux || darwin

package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// account is the operating-system user that the server runs as.
type account struct {
	uid, gid uint32
	name     string
	dropped  bool // root became this user
}

// serverAccount is who runs a new cluster: the caller, or for root the user
// that PostgreSQL's packages make, else the one that owns nothing.
func serverAccount() account {
	if euid := os.Geteuid(); euid != 0 {
		return named(uint32(euid), uint32(os.Getegid())) //nolint:gosec // ids are 32 bits wide
	}
	for _, name := range []string{"postgres", "_postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			if a, err := fromUser(u); err == nil {
				return a
			}
		}
	}
	return account{uid: 65534, gid: 65534, name: "65534", dropped: true}
}

// clusterAccount is who runs an existing cluster: its owner, so that a cluster
// which one user began goes on when root (or another package) comes later.
func clusterAccount(dir string) (account, error) {
	info, err := os.Lstat(dir)
	if err != nil {
		return account{}, fmt.Errorf("look at the cluster: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() {
		return account{}, fmt.Errorf("look at the cluster: %s is no folder", dir)
	}
	me := uint32(os.Geteuid()) //nolint:gosec // ids are 32 bits wide
	owner := named(stat.Uid, stat.Gid)
	switch {
	case me == 0 && stat.Uid == 0:
		return serverAccount(), nil
	case me == 0:
		owner.dropped = true
		return owner, nil
	case me != stat.Uid:
		return account{}, fmt.Errorf("the cluster in %s belongs to user %s: start as that user, or as root", dir, owner.name)
	}
	return owner, nil
}

func named(uid, gid uint32) account {
	a := account{uid: uid, gid: gid, name: strconv.FormatUint(uint64(uid), 10)}
	if u, err := user.LookupId(a.name); err == nil {
		a.name = u.Username
	}
	return a
}

func fromUser(u *user.User) (account, error) {
	uid, err := strconv.ParseInt(u.Uid, 10, 64) // macOS's nobody is -2
	if err != nil {
		return account{}, fmt.Errorf("read the id of user %s: %w", u.Username, err)
	}
	gid, err := strconv.ParseInt(u.Gid, 10, 64)
	if err != nil {
		return account{}, fmt.Errorf("read the group of user %s: %w", u.Username, err)
	}
	return account{uid: uint32(uid), gid: uint32(gid), name: u.Username, dropped: true}, nil //nolint:gosec // ids are 32 bits wide
}

// command prepares a program that runs as the account, in a session of its own
// and with an environment built from nothing. Cancelling ctx kills the program
// with its children.
func (a account) command(ctx context.Context, dir, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // the programs are PostgreSQL's and the shell
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "HOME=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if a.dropped {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// output runs a program to its end; the error carries what it printed.
func (a account) output(ctx context.Context, dir, program string, args ...string) (string, error) {
	cmd := a.command(ctx, dir, program, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	text := strings.TrimSpace(out.String())
	switch {
	case err != nil && ctx.Err() != nil:
		return text, fmt.Errorf("run %s: %w", filepath.Base(program), ctx.Err())
	case errors.Is(err, syscall.EPERM) && a.dropped:
		return text, fmt.Errorf("run %s as user %s: %w (this root may not become another user: start as an ordinary user)",
			filepath.Base(program), a.name, err)
	case err != nil:
		return text, fmt.Errorf("run %s as user %s: %w: %s", filepath.Base(program), a.name, err, lastLines(text))
	}
	return text, nil
}

// enterAll tries each folder in turn, the only test that knows of every access
// rule a system may have, and prints the first that can't be entered.
const enterAll = `for dir do cd "$dir" 2>/dev/null || { printf %s "$dir"; exit 9; }; done`

// blocked returns the topmost of the folders down to dir that the account can't
// enter, "" when it can enter them all.
func (a account) blocked(ctx context.Context, dir string) (string, error) {
	folders := []string{dir}
	for folder := dir; folder != filepath.Dir(folder); {
		folder = filepath.Dir(folder)
		folders = append(folders, folder)
	}
	slices.Reverse(folders)
	cmd := a.command(ctx, "/", "/bin/sh", append([]string{"-c", enterAll, "sh"}, folders...)...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == 9:
		return string(out), nil
	case err != nil:
		return "", fmt.Errorf("try the folders above %s as user %s: %w", dir, a.name, err)
	}
	return "", nil
}
