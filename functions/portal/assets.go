package portal

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"

	"github.com/aiaas/aiaas/shared/fault"
)

//go:embed static
var staticFiles embed.FS

// assets are the styles and scripts. All stand in one folder that is named after
// their content, so that scripts find each other by relative names, browsers keep
// them for ever, and a page never runs with the scripts of another version.
type assets struct {
	version string
	files   map[string]asset
}

type asset struct {
	body      []byte
	mediaType string
	tag       string // ETag
}

func loadAssets() (*assets, error) {
	a := &assets{files: map[string]asset{}}
	all := sha256.New()
	err := fs.WalkDir(staticFiles, "static", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := staticFiles.ReadFile(name)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		sum := sha256.Sum256(body)
		_, _ = all.Write([]byte(name)) // a hash takes everything
		_, _ = all.Write(sum[:])
		mediaType, err := mediaTypeOf(name)
		a.files[path.Base(name)] = asset{body: body, mediaType: mediaType, tag: `"` + short(sum[:]) + `"`}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read assets: %w", err)
	}
	a.version = short(all.Sum(nil))
	return a, nil
}

func short(sum []byte) string { return base64.RawURLEncoding.EncodeToString(sum[:12]) }

// mediaTypeOf does not ask the system, which may know others.
func mediaTypeOf(name string) (string, error) {
	switch path.Ext(name) {
	case ".js":
		return "text/javascript; charset=utf-8", nil
	case ".css":
		return "text/css; charset=utf-8", nil
	case ".svg":
		return "image/svg+xml", nil
	}
	return "", fmt.Errorf("%s has no known media type", name)
}

// folder is the address of the folder.
func (a *assets) folder() string { return "/assets/" + a.version }

// asset answers a file. While a deployment changes, a page of another version may ask
// here: it gets what is here, and must ask again next time.
func (h *handlers) asset(w http.ResponseWriter, r *http.Request) {
	file, ok := h.assets.files[r.PathValue("file")]
	if !ok {
		fault.Write(w, r, w.Header().Get("X-Request-Id"), fault.New(fault.NotFound, "There is nothing at this path."), false)
		return
	}
	h.guard(w.Header())
	w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox") // of a file opened by itself
	w.Header().Set("Cache-Control", "no-cache")
	if r.PathValue("version") == h.assets.version {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	w.Header().Set("ETag", file.tag)
	if r.Header.Get("If-None-Match") == file.tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", file.mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(file.body)))
	_, _ = w.Write(file.body) // the reader may be gone
}
