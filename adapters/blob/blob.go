package blob

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/aiaas/aiaas/shared/audit"
)

// Store is an open store.
type Store interface {
	audit.Files

	Close() error
}

// Open opens the store at an address.
func Open(ctx context.Context, address string) (Store, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("BLOB_URL can't be read") //nolint:err113 // the parser's own text quotes it
	}
	switch {
	case u.Scheme == "file" && u.Host == "" && filepath.IsAbs(filepath.FromSlash(u.Path)):
		return OpenFolder(filepath.FromSlash(u.Path))
	case u.Scheme == "s3" && u.Host != "":
		return OpenBucket(ctx, BucketConfig{
			Bucket: u.Host, Prefix: strings.Trim(u.Path, "/"), Region: u.Query().Get("region"),
			Endpoint: u.Query().Get("endpoint"), PathStyle: u.Query().Has("path_style"),
		})
	}
	return nil, fmt.Errorf("BLOB_URL must be file:///folder or s3://bucket/prefix, not of the scheme %q", u.Scheme)
}
