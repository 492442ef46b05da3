// Package files opens the store of files. It stands apart from package open for the
// client of a cloud that it links: few functions need it.
package files

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/aiaas/aiaas/adapters/blob"
	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/shared/function"
)

// Open is the store of the process.
func Open(ctx context.Context, e *function.Env) (blob.Store, error) {
	s, err := open.Load(ctx, e)
	if err != nil {
		return nil, err
	}
	return function.Shared(ctx, e, "files", func(ctx context.Context) (blob.Store, function.Closer, error) {
		address := s.BlobURL
		if address == "" {
			if !e.LocalDisk {
				return nil, nil, errors.New("BLOB_URL is not set, and this host's disk does not last")
			}
			dir, err := filepath.Abs(filepath.Join(s.DataDir, "files"))
			if err != nil {
				return nil, nil, fmt.Errorf("find the data folder: %w", err)
			}
			address = "file://" + filepath.ToSlash(dir)
		}
		store, err := blob.Open(ctx, address)
		if err != nil {
			return nil, nil, err
		}
		return store, func(context.Context) error { return store.Close() }, nil
	})
}
