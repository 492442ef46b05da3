//go:build linux || darwin

package embedded_test

import (
	"context"
	"errors"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/aiaas/aiaas/adapters/postgres/embedded"
)

func TestFirstStartMakesADurableDatabase(t *testing.T) {
	var said lines
	cfg := config(filepath.Join(folder(t), "data"))
	cfg.Progress = said.say
	s := start(t, cfg)

	wantIn(t, said.String(), "creating the database")
	for setting, want := range map[string]string{
		"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "data_checksums": "on",
		"server_encoding": "UTF8", "lc_collate": "C", "listen_addresses": "", "timezone": "UTC",
		"shared_buffers": "128MB", "max_connections": "100",
	} {
		if setting == "lc_collate" { // a column, from PostgreSQL 16 on
			if got := query(t, s, "SELECT datcollate::text FROM pg_database WHERE datname = current_database()"); got != want {
				t.Errorf("collation is %q, want %q", got, want)
			}
			continue
		}
		if got := query(t, s, "SELECT current_setting('"+setting+"')"); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	if got := query(t, s, "SELECT current_user || ' ' || current_database()"); got != "aiaas aiaas" {
		t.Errorf("connected as %q", got)
	}
}

func TestRestartFindsItsData(t *testing.T) {
	dir := filepath.Join(folder(t), "data")
	s := start(t, config(dir))
	query(t, s, "CREATE TABLE kept AS SELECT 'kept' AS what")
	stop(t, s)
	if err := s.Err(); err != nil {
		t.Errorf("a wanted end is told as %v", err)
	}
	if alive(s.PID()) {
		t.Error("the server outlives Stop")
	}

	var said lines
	cfg := config(dir)
	cfg.Progress = said.say
	s = start(t, cfg)
	if got := query(t, s, "SELECT what FROM kept"); got != "kept" {
		t.Errorf("read %q", got)
	}
	if said.String() != "" {
		t.Errorf("an ordinary start says %q", said.String())
	}
	if log := readLog(t, dir); strings.Contains(log, "recovery") {
		t.Errorf("the shutdown was not clean:\n%s", log)
	}
}

func TestADatabaseThatACrashLeftOutIsMade(t *testing.T) {
	dir := filepath.Join(folder(t), "data")
	s := start(t, config(dir))
	url := strings.Replace(s.URL(), "///aiaas?", "///postgres?", 1)
	exec(t, url, "DROP DATABASE aiaas")
	stop(t, s)
	if got := query(t, start(t, config(dir)), "SELECT current_database()::text"); got != "aiaas" {
		t.Errorf("connected to %q", got)
	}
}

func TestOnlyOneProcessMayHaveADataFolder(t *testing.T) {
	dir := filepath.Join(folder(t), "data")
	other, server := holder(t, dir)

	for what, err := range map[string]error{
		"Start": func() error { _, err := embedded.Start(t.Context(), config(dir)); return err }(),
		"Lock":  func() error { _, err := embedded.Lock(dir); return err }(),
	} {
		var inUse *embedded.InUseError
		if !errors.Is(err, embedded.ErrInUse) || !errors.As(err, &inUse) {
			t.Fatalf("%s: %v, want ErrInUse", what, err)
		}
		if inUse.PID != other.Process.Pid {
			t.Errorf("%s names pid %d, want %d", what, inUse.PID, other.Process.Pid)
		}
		wantIn(t, err.Error(), "another aiaas (pid ", "is running on this data folder")
	}
	if !alive(server) {
		t.Error("the second one stopped the first one's server")
	}
}

func TestALockIsTakenOnceAndGivenBack(t *testing.T) {
	dir := filepath.Join(folder(t), "a", "b")
	lock, err := embedded.Lock(dir)
	must(t, err)
	link := filepath.Join(folder(t), "link")
	must(t, os.Symlink(dir, link))
	if _, err := embedded.Lock(link); !errors.Is(err, embedded.ErrInUse) {
		t.Errorf("locked twice, by another name: %v", err)
	}

	cfg := config(dir)
	cfg.Lock = lock
	stop(t, start(t, cfg))
	if _, err := embedded.Lock(dir); !errors.Is(err, embedded.ErrInUse) {
		t.Errorf("Stop gave back a lock that is its caller's: %v", err)
	}
	must(t, lock.Close())
	must(t, lock.Close())
	lock, err = embedded.Lock(dir)
	must(t, err)
	must(t, lock.Close())
}

func TestTheServerOfAKilledCommandIsReplaced(t *testing.T) {
	dir := filepath.Join(folder(t), "data")
	owner, orphan := holder(t, dir)
	must(t, owner.Process.Kill())
	_ = owner.Wait()
	if !alive(orphan) {
		t.Fatal("the server ended with its owner: this test tests nothing")
	}

	var said lines
	cfg := config(dir)
	cfg.Progress = said.say
	s := start(t, cfg)
	wantIn(t, said.String(), "stopping the PostgreSQL (pid ")
	if got := embedded.ProcessesOf(filepath.Join(dir, "postgres")); len(got) == 0 || slices.Contains(got, orphan) {
		t.Errorf("processes on the cluster: %v, the orphan was %d", got, orphan)
	}
	query(t, s, "SELECT 'answers'")
}

func TestAPidFileWhoseNumberIsAnothersIsStale(t *testing.T) {
	// Not our own: PostgreSQL knows better than to take its parent for a server.
	other := osexec.CommandContext(t.Context(), "sleep", "600")
	must(t, other.Start())
	t.Cleanup(func() { _ = other.Wait() })
	for name, pid := range map[string]int{"a living process": other.Process.Pid, "nobody": 4194305} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(short(t), "data")
			s := start(t, config(dir))
			// What kill -9 of the server leaves, with the number given away since.
			must(t, syscall.Kill(s.PID(), syscall.SIGKILL))
			<-s.Done()
			locks, err := filepath.Glob(filepath.Join(socketDir(t, s), ".s.PGSQL.*.lock"))
			must(t, err)
			if len(locks) != 1 {
				t.Fatalf("the killed server left the socket locks %v", locks)
			}
			stop(t, s)
			replacePID(t, filepath.Join(dir, "postgres", "postmaster.pid"), s.PID(), pid)
			for _, lock := range locks {
				replacePID(t, lock, s.PID(), pid)
			}
			query(t, start(t, config(dir)), "SELECT 'answers'")
		})
	}
}

func TestDoneTellsThatTheServerDied(t *testing.T) {
	dir := filepath.Join(folder(t), "data")
	s := start(t, config(dir))
	if err := s.Err(); err != nil {
		t.Errorf("Err is %v while it runs", err)
	}
	must(t, syscall.Kill(s.PID(), syscall.SIGKILL))
	<-s.Done()
	if err := s.Err(); err == nil {
		t.Error("Err is nil after a kill")
	} else {
		wantIn(t, err.Error(), "killed", "postgres.log")
	}
	stop(t, s) // gives the folder back
	query(t, start(t, config(dir)), "SELECT 'recovered'")
}

func TestStopEscalatesWhenItsContextEnds(t *testing.T) {
	s := start(t, config(filepath.Join(folder(t), "data")))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Stop(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Stop: %v", err)
	}
	<-s.Done()
	if alive(s.PID()) {
		t.Error("it runs on")
	}
}

func TestTheTerminalsCtrlCDoesNotReachTheServer(t *testing.T) {
	s := start(t, config(filepath.Join(folder(t), "data")))
	group, err := syscall.Getpgid(s.PID())
	must(t, err)
	if group == syscall.Getpgrp() {
		t.Error("the server is in our process group")
	}
}

func TestAnInterruptedCreationIsBegunAnew(t *testing.T) {
	data := filepath.Join(folder(t), "data")
	must(t, os.MkdirAll(filepath.Join(data, "postgres.new-123", "base"), 0o711))
	must(t, os.Chmod(data, 0o711))

	ctx, cancel := context.WithCancel(t.Context())
	cfg := config(data)
	cfg.Progress = func(string) { cancel() } // as Ctrl-C, when the creation begins
	if _, err := embedded.Start(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Fatalf("Start: %v, want cancelled", err)
	}
	if _, err := os.Stat(filepath.Join(data, "postgres")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an unfinished cluster stands in its place: %v", err)
	}
	query(t, start(t, config(data)), "SELECT 'answers'")
	left, err := filepath.Glob(filepath.Join(data, "postgres.new-*"))
	must(t, err)
	if len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestAnyFolderWillDo(t *testing.T) {
	for name, sub := range map[string]string{
		"too long for a socket": strings.Repeat("long/", 25) + "data",
		"odd characters":        `it's "odd", 100% + ünï & = ? #1`,
		"spaces":                "Application Support/aiaas",
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(folder(t), sub)
			s := start(t, config(dir))
			query(t, s, "CREATE TABLE kept AS SELECT 'kept' AS what")
			stop(t, s)
			if got := query(t, start(t, config(dir)), "SELECT what FROM kept"); got != "kept" {
				t.Errorf("read %q", got)
			}
		})
	}
}

func TestASocketFolderThatSomebodyElsePreparedIsNotUsed(t *testing.T) {
	tmp := short(t)
	t.Setenv("TMPDIR", tmp)
	dir := filepath.Join(folder(t), strings.Repeat("long/", 25)+"data")
	s := start(t, config(dir))
	socket := socketDir(t, s)
	if filepath.Dir(socket) != tmp {
		t.Fatalf("the socket is in %s, want below %s", socket, tmp)
	}
	stop(t, s)

	must(t, os.Mkdir(socket, 0o700))
	must(t, os.Chmod(socket, 0o777)) // others could replace the socket in it
	if got := socketDir(t, start(t, config(dir))); got == socket {
		t.Errorf("the server listens in a folder that is open to all: %s", got)
	}
}

func TestSettingsComeOverTheDefaultsButDoNotOpenTheServer(t *testing.T) {
	cfg := config(filepath.Join(folder(t), "data"))
	cfg.Settings = map[string]string{"shared_buffers": "16MB", "listen_addresses": "127.0.0.1"}
	s := start(t, cfg)
	if got := query(t, s, "SELECT current_setting('shared_buffers')"); got != "16MB" {
		t.Errorf("shared_buffers is %s", got)
	}
	if got := query(t, s, "SELECT current_setting('listen_addresses')"); got != "" {
		t.Errorf("it listens on %s", got)
	}
}

func TestAFailedStartShowsTheServersWords(t *testing.T) {
	dir := filepath.Join(folder(t), "data")
	cfg := config(dir)
	cfg.Settings = map[string]string{"shared_buffers": "none"}
	_, err := embedded.Start(t.Context(), cfg)
	if err == nil {
		t.Fatal("it started")
	}
	wantIn(t, err.Error(), "shared_buffers", "postgres.log")
	query(t, start(t, config(dir)), "SELECT 'the folder was given back'")
}

func TestNoStatementAndNoValueIsLogged(t *testing.T) {
	dir := filepath.Join(folder(t), "data")
	s := start(t, config(dir))
	exec(t, s.URL(), "CREATE TABLE secret (value text CHECK (value <> 'sesame-1'))")
	if err := tryExec(t, s.URL(), "INSERT INTO secret VALUES ('sesame-1')"); err == nil {
		t.Fatal("the insert went through: this test tests nothing")
	}
	stop(t, s)
	log := readLog(t, dir)
	wantIn(t, log, "violates check constraint")
	if strings.Contains(log, "sesame") {
		t.Errorf("the log holds what was inserted:\n%s", log)
	}
}

func TestALogThatHasGrownIsPutAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "postgres.log")
	must(t, embedded.TrimLog(path, 10)) // none yet
	for _, step := range []struct{ text, log, before string }{
		{"small\n", "small\n", ""},
		{"and more\n", "", "small\nand more\n"},
		{"later\n", "later\n", "small\nand more\n"},
	} {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		must(t, err)
		_, err = file.WriteString(step.text)
		must(t, err)
		must(t, file.Close())
		must(t, embedded.TrimLog(path, 10))
		log, err := os.ReadFile(path)
		must(t, err)
		before, err := os.ReadFile(path + ".1")
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if string(log) != step.log || string(before) != step.before {
			t.Errorf("after %q: log %q, before %q", step.text, log, before)
		}
	}
}

func TestALostDatabaseIsNotReplacedByAnEmptyOne(t *testing.T) {
	dir := folder(t)
	must(t, os.WriteFile(filepath.Join(dir, "postgres.location"), []byte(filepath.Join(dir, "gone")+"\n"), 0o600))
	_, err := embedded.Start(t.Context(), config(dir))
	if err == nil {
		t.Fatal("it started with an empty database")
	}
	wantIn(t, err.Error(), "gone", "postgres.location")
}
