package lambda

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// writer keeps net/http's rules about the head of an answer (it is fixed by the
// first write, a second status is ignored, some statuses have no body) for both
// transfer modes, which differ in where head and body go.
type writer struct {
	header http.Header
	status int // 0 until the head is out
	commit func(status int, header http.Header)
	body   io.Writer
}

// Header implements [http.ResponseWriter].
func (w *writer) Header() http.Header { return w.header }

// WriteHeader implements [http.ResponseWriter]. Informational statuses are
// dropped: neither transfer mode can carry them.
func (w *writer) WriteHeader(status int) {
	if w.status != 0 || status < http.StatusOK {
		return
	}
	w.status = status
	head := w.header.Clone()
	// The platform frames the answer itself.
	maps.DeleteFunc(head, func(name string, _ []string) bool {
		return slices.Contains([]string{"Connection", "Content-Length", "Transfer-Encoding", "Trailer"}, name) ||
			strings.HasPrefix(name, http.TrailerPrefix)
	})
	w.commit(status, head)
}

// Write implements [http.ResponseWriter].
func (w *writer) Write(p []byte) (int, error) {
	if w.status == 0 {
		if _, said := w.header["Content-Type"]; !said {
			w.header.Set("Content-Type", http.DetectContentType(p))
		}
		w.WriteHeader(http.StatusOK)
	}
	if w.status == http.StatusNoContent || w.status == http.StatusNotModified {
		return 0, http.ErrBodyNotAllowed
	}
	return w.body.Write(p)
}

// Flush implements [http.Flusher]: it sends the head. Bytes of the body are
// never held back here.
func (w *writer) Flush() { w.WriteHeader(http.StatusOK) }
