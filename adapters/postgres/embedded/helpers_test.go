//go:build linux || darwin

package embedded_test

import (
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/adapters/postgres/embedded"
)

func exec(t *testing.T, url, sql string) {
	t.Helper()
	must(t, tryExec(t, url, sql))
}

func tryExec(t *testing.T, url, sql string) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	defer conn.Close(t.Context()) //nolint:errcheck // it is over with it
	_, err = conn.Exec(t.Context(), sql)
	return err
}

func readLog(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "postgres.log"))
	must(t, err)
	return string(text)
}

// replacePID rewrites the first line of a pid file.
func replacePID(t *testing.T, path string, from, to int) {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	first, rest, _ := strings.Cut(string(text), "\n")
	if first != strconv.Itoa(from) {
		t.Fatalf("the pid file names %s, want %d", first, from)
	}
	must(t, os.WriteFile(path, []byte(strconv.Itoa(to)+"\n"+rest), 0o600))
}

func socketDir(t *testing.T, s *embedded.Server) string {
	t.Helper()
	u, err := url.Parse(s.URL())
	must(t, err)
	return u.Query().Get("host")
}
