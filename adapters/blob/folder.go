// Package blob keeps files that must not share a fate with the database: signed
// heads of the audit's chains, and what is written once and read much later. A file
// is there whole or not at all, durable when Put returns, and never overwritten.
//
// An address of the form file:///path is a folder on a disk that lasts, and
// s3://bucket/prefix a bucket of S3 or of a store that speaks its protocol.
package blob

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/fault"
)

// Folder keeps files in a folder.
type Folder struct{ root *os.Root }

var _ audit.Files = (*Folder)(nil)

// drafts is where files are written before they have their names.
const drafts = ".drafts"

// OpenFolder opens a folder, and makes it where there is none.
func OpenFolder(dir string) (*Folder, error) {
	if err := os.MkdirAll(filepath.Join(dir, drafts), 0o700); err != nil {
		return nil, fmt.Errorf("make folder for files: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open folder for files: %w", err)
	}
	return &Folder{root: root}, nil
}

// Close frees what the folder holds.
func (f *Folder) Close() error {
	if err := f.root.Close(); err != nil {
		return fmt.Errorf("close folder for files: %w", err)
	}
	return nil
}

// check refuses names that are no plain paths.
func check(name string) error {
	if !fs.ValidPath(name) || name == "." || strings.HasPrefix(name, drafts) || strings.Contains(name, `\`) {
		return fault.New(fault.Internal, "%q is no name for a file", name)
	}
	return nil
}

// Put implements [audit.Files].
func (f *Folder) Put(_ context.Context, name string, data []byte) (err error) {
	if err := check(name); err != nil {
		return err
	}
	if err := f.root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return fmt.Errorf("make folder of %s: %w", name, err)
	}
	draft := path.Join(drafts, strings.ToLower(rand.Text()))
	if err := f.fill(draft, data); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, f.root.Remove(draft)) }()
	err = f.root.Link(draft, name) // unlike a rename it never replaces
	if errors.Is(err, fs.ErrExist) {
		return fault.New(fault.Conflict, "there is a file %s already", name)
	}
	if err != nil {
		return fmt.Errorf("name %s: %w", name, err)
	}
	return f.sync(path.Dir(name))
}

func (f *Folder) fill(draft string, data []byte) error {
	file, err := f.root.OpenFile(draft, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("make file: %w", err)
	}
	_, err = file.Write(data)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("fill file: %w", errors.Join(err, f.root.Remove(draft)))
	}
	return nil
}

// sync makes the names in a folder durable, and the folder's own.
func (f *Folder) sync(dir string) error {
	for {
		d, err := f.root.Open(dir)
		if err != nil {
			return fmt.Errorf("open folder: %w", err)
		}
		if err := errors.Join(d.Sync(), d.Close()); err != nil {
			return fmt.Errorf("sync folder: %w", err)
		}
		if dir == "." {
			return nil
		}
		dir = path.Dir(dir)
	}
}

// Get implements [audit.Files].
func (f *Folder) Get(_ context.Context, name string) ([]byte, error) {
	if err := check(name); err != nil {
		return nil, err
	}
	data, err := f.root.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "there is no file %s", name)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}

// List implements [audit.Files]. A prefix is a folder's name and a slash.
func (f *Folder) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		names, err := f.names(prefix)
		if err != nil {
			yield("", err)
			return
		}
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				yield("", fmt.Errorf("list %s: %w", prefix, err))
				return
			}
			if name > after && !yield(name, nil) {
				return
			}
		}
	}
}

// names are the files of a folder, in order.
func (f *Folder) names(prefix string) ([]string, error) {
	folder := strings.TrimSuffix(prefix, "/")
	if err := check(folder); err != nil {
		return nil, err
	}
	dir, err := f.root.Open(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", folder, err)
	}
	entries, err := dir.ReadDir(-1)
	if err := errors.Join(err, dir.Close()); err != nil {
		return nil, fmt.Errorf("list %s: %w", folder, err)
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, folder+"/"+e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// Delete implements [audit.Files].
func (f *Folder) Delete(_ context.Context, name string) error {
	if err := check(name); err != nil {
		return err
	}
	if err := f.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	return nil
}
