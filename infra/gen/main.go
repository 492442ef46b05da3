// Command gen writes the files that follow from the catalogue of functions, so
// that what a function answers to is said once. It takes no arguments and writes
// relative to the module's root:
//
//	go run ./infra/gen
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/aiaas/aiaas/functions"
	"github.com/aiaas/aiaas/shared/function"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	doc, err := openAPI(specs())
	if err != nil {
		return err
	}
	if err := write(filepath.Join(root, "functions", "operations", "openapi.json"), doc); err != nil {
		return err
	}
	table, err := grants(ctx)
	if err != nil {
		return err
	}
	return write(filepath.Join(root, "shared", "authz", "grants_gen.go"), table)
}

func specs() []function.Spec {
	var list []function.Spec
	for _, e := range functions.Catalogue() {
		list = append(list, e.Spec)
	}
	return list
}

// moduleRoot is the folder of go.mod, from wherever the command runs.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find module: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("find module: no go.mod above the working folder")
		}
		dir = up
	}
}

// write replaces a file whole, so that no reader sees half of it.
func write(path string, content []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, content, 0o644); err != nil { //nolint:gosec // a source file
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	return nil
}
