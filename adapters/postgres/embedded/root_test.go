//go:build linux || darwin

package embedded_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/aiaas/aiaas/adapters/postgres/embedded"
)

// These tests become other users, which only root may. A continuous build runs
// as root; elsewhere the rest of the tests covers the ordinary user.
func asRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may become another user")
	}
}

const nobody = 65534

// The whole suite runs again as an unprivileged user: every promise holds for
// root and for them.
func TestAllOfItAsAnOrdinaryUser(t *testing.T) {
	asRoot(t)
	tmp := folder(t)
	must(t, os.Chmod(tmp, 0o777|os.ModeSticky))
	cmd := helper(t, "", "")
	cmd.Args = append(cmd.Args, "-test.v", "-test.timeout=5m")
	cmd.Env = append(cmd.Env, "TMPDIR="+tmp, "HOME="+tmp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "---") || strings.Contains(line, "started in") || err != nil {
			t.Log(strings.TrimRight(line, "\n"))
		}
	}
	must(t, err)
	if strings.Count(string(out), "--- PASS") < 15 {
		t.Error("the suite did not run")
	}
}

func TestNoOtherUserGetsIn(t *testing.T) {
	asRoot(t)
	s := start(t, config(filepath.Join(folder(t), "data")))
	attempt := func(uid uint32) string {
		cmd := helper(t, "connect", s.URL())
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, _ := cmd.CombinedOutput()
		return string(out)
	}
	wantIn(t, attempt(0), "connected")
	wantIn(t, attempt(nobody), "refused", "permission denied")

	// With the folder's door open, the server itself refuses.
	must(t, os.Chmod(socketDir(t, s), 0o777))
	must(t, os.Chmod(filepath.Join(socketDir(t, s), ".s.PGSQL.5432"), 0o777))
	wantIn(t, attempt(nobody), "refused", "authentication failed")
	wantIn(t, attempt(0), "connected")
}

func TestAFolderThatTheServersUserCantEnter(t *testing.T) {
	asRoot(t)
	closed := folder(t)
	must(t, os.Chmod(closed, 0o700))
	data := filepath.Join(closed, "data")
	elsewhere := folder(t)

	var said lines
	cfg := config(data)
	cfg.Progress = said.say
	cfg.Elsewhere = []string{filepath.Join(closed, "no"), closed, elsewhere}
	s := start(t, cfg)
	wantIn(t, said.String(), "can't enter "+closed, elsewhere)
	query(t, s, "CREATE TABLE kept AS SELECT 'kept' AS what")
	stop(t, s)

	cfg.Elsewhere = nil // it is recorded
	s = start(t, cfg)
	if got := query(t, s, "SELECT what FROM kept"); got != "kept" {
		t.Errorf("read %q", got)
	}

	// A copy of the data folder is another folder with the same database.
	twin := filepath.Join(folder(t), "twin")
	must(t, os.CopyFS(twin, os.DirFS(data)))
	if _, err := embedded.Start(t.Context(), config(twin)); !errors.Is(err, embedded.ErrInUse) {
		t.Errorf("two commands share one database: %v", err)
	}
	query(t, s, "SELECT 'unharmed'")
}

func TestWithNoPlaceThatWorksTheFolderAndTheRemedyAreNamed(t *testing.T) {
	asRoot(t)
	closed := folder(t)
	must(t, os.Chmod(closed, 0o700))
	cfg := config(filepath.Join(closed, "data"))
	cfg.Elsewhere = []string{closed}
	_, err := embedded.Start(t.Context(), cfg)
	if !errors.Is(err, embedded.ErrUnreachable) {
		t.Fatalf("Start: %v, want ErrUnreachable", err)
	}
	wantIn(t, err.Error(), "chmod o+x "+closed, "AIAAS_DATA_DIR")
}

func TestRootGoesOnWithTheClusterOfAnotherUserAndBack(t *testing.T) {
	asRoot(t)
	dir := filepath.Join(folder(t), "data")
	s := start(t, config(dir))
	query(t, s, "CREATE TABLE kept AS SELECT 'kept' AS what")
	stop(t, s)
	must(t, chownAll(filepath.Join(dir, "postgres"), 12345))
	for _, uid := range []int{12345, 0} { // another user's; root's own after chown -R
		must(t, chownAll(filepath.Join(dir, "postgres"), uid))
		s := start(t, config(dir))
		if got := query(t, s, "SELECT what FROM kept"); got != "kept" {
			t.Errorf("read %q", got)
		}
		stop(t, s)
	}
}

func TestAnotherUsersClusterIsNamedAsSuch(t *testing.T) {
	asRoot(t)
	dir := filepath.Join(folder(t), "data")
	stop(t, start(t, config(dir)))
	must(t, os.Chmod(dir, 0o777))
	must(t, os.Chmod(filepath.Join(dir, "aiaas.lock"), 0o666))
	cmd := helper(t, "hold", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatal("it started")
	}
	wantIn(t, string(out), "belongs to user ", "start as that user, or as root")
}

func chownAll(dir string, uid int) error {
	return filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, uid)
	})
}
