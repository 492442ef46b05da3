package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/functions/aiaas/client"
	"github.com/aiaas/aiaas/shared/function"
)

func (e *exam) checkSettings(ctx context.Context) bool {
	s, err := open.Load(ctx, &function.Env{Getenv: e.getenv})
	if err != nil {
		e.fail("settings", "see aiaas help settings", "%v", err)
		return false
	}
	e.settings = s
	if _, err := readBackends(s.Backends); err != nil {
		e.fail("settings", "correct the file, or unset AIAAS_BACKENDS", "%v", err)
		return true
	}
	e.ok("settings", "they can be read")
	return true
}

func (e *exam) checkFolder() {
	const check = "data folder"
	dir := absolute(e.settings.DataDir)
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.warn(check, "aiaas serve or aiaas bootstrap makes it; or set AIAAS_DATA_DIR", "%s does not exist", dir)
		return
	case err != nil:
		e.fail(check, "let this user read it", "%v", err)
		return
	case !info.IsDir():
		e.fail(check, "set AIAAS_DATA_DIR to a folder", "%s is no folder", dir)
		return
	}
	probe, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		e.fail(check, "give the folder to the user that runs aiaas", "it can't be written to: %v", err)
		return
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		e.fail(check, "give the folder to the user that runs aiaas", "%v", err)
		return
	}
	if info.Mode().Perm()&0o022 != 0 {
		e.warn(check, "chmod go-w "+dir, "%s can be written by others (%#o)", dir, info.Mode().Perm())
		return
	}
	e.ok(check, "%s", dir)
}

// checkSecrets looks at who can read the files that hold keys.
func (e *exam) checkSecrets() {
	for _, name := range []string{client.ProfileName, "secret.key"} {
		path := filepath.Join(absolute(e.settings.DataDir), name)
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			e.fail(name, "let this user read it", "%v", err)
		case info.Mode().Perm()&0o077 != 0:
			e.fail(name, "chmod 600 "+path+", and replace its keys if somebody may have read them", "others can read it (%#o)", info.Mode().Perm())
		default:
			e.ok(name, "only its owner can read it")
		}
	}
}

// How much free space is little.
const (
	littleSpace = 1 << 30
	noSpace     = 100 << 20
)

func (e *exam) checkDisk() {
	const check = "disk space"
	free, err := freeSpace(existing(absolute(e.settings.DataDir)))
	const mib = 1 << 20
	switch {
	case err != nil:
		e.warn(check, "", "it can't be told: %v", err)
	case free < noSpace:
		e.fail(check, "free some space: the database can't write without", "%d MiB are free", free/mib)
	case free < littleSpace:
		e.warn(check, "free some space", "%d MiB are free", free/mib)
	default:
		e.ok(check, "%d MiB are free", free/mib)
	}
}

// existing is the folder, or the nearest above it that exists.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || filepath.Dir(dir) == dir {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// checkPort tells why the platform can't listen where nothing of ours answers.
func (e *exam) checkPort(ctx context.Context) {
	const check = "port"
	var l net.ListenConfig
	ln, err := l.Listen(ctx, "tcp", e.settings.Addr)
	if err != nil {
		e.fail(check, "end the other program, or set AIAAS_ADDR", "AIAAS_ADDR=%s can't be listened on: %v", e.settings.Addr, err)
		return
	}
	if err := ln.Close(); err != nil {
		e.fail(check, "", "%v", err)
		return
	}
	e.ok(check, "%s is free", e.settings.Addr)
}

func (e *exam) checkProfile() {
	const check = "profile"
	if e.path == "" {
		e.path = client.ProfilePath(e.getenv)
	}
	p, err := client.ReadProfile(e.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.warn(check, "aiaas serve or aiaas bootstrap makes it; or name one with --profile", "%s does not exist", e.path)
		return
	case err != nil:
		e.fail(check, "restore it: the keys in it are nowhere else", "%v", err)
		return
	}
	e.profile = p
	e.ok(check, "%s, for %s", e.path, p.BaseURL)
}

// short says why a call failed, with the status of an answer.
func short(err error) string {
	if e, ok := errors.AsType[*client.APIError](err); ok {
		return fmt.Sprintf("it answers %d: %v", e.Status, e)
	}
	return err.Error()
}
