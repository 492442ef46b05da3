package blob_test

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aiaas/aiaas/adapters/blob"
	"github.com/aiaas/aiaas/shared/fault"
)

// stores are all that there is, each fresh.
func stores(t *testing.T) map[string]blob.Store {
	t.Helper()
	dir := t.TempDir()
	folder, err := blob.Open(t.Context(), "file://"+filepath.ToSlash(dir)+"/files")
	if err != nil {
		t.Fatal(err)
	}
	bucket, _ := bucket(t, &cloud{files: map[string][]byte{}})
	for _, s := range []blob.Store{folder, bucket} {
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return map[string]blob.Store{"folder": folder, "bucket": bucket}
}

// cloud speaks as much of S3's protocol as the client uses.
type cloud struct {
	mu     sync.Mutex
	files  map[string][]byte
	broken int // the status of every answer, if not 0
	page   int // names of one page of a list
}

type listing struct {
	XMLName   xml.Name `xml:"ListBucketResult"`
	Truncated bool     `xml:"IsTruncated"`
	Next      string   `xml:"NextContinuationToken,omitempty"`
	Contents  []object
}

type object struct{ Key string }

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != 0 {
		refuse(w, c.broken, "SlowDown")
		return
	}
	if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=test/") {
		refuse(w, http.StatusForbidden, "AccessDenied")
		return
	}
	key, ok := strings.CutPrefix(r.URL.Path, "/bucket/")
	switch {
	case r.URL.Query().Get("list-type") == "2":
		c.list(w, r)
	case !ok:
		refuse(w, http.StatusNotFound, "NoSuchBucket")
	case r.Method == http.MethodPut:
		_, taken := c.files[key]
		if taken && r.Header.Get("If-None-Match") == "*" {
			refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || strings.Contains(r.Header.Get("Content-Encoding"), "aws-chunked") {
			refuse(w, http.StatusNotImplemented, "NotImplemented")
			return
		}
		c.files[key] = body
	case r.Method == http.MethodDelete:
		delete(c.files, key)
		w.WriteHeader(http.StatusNoContent)
	default:
		body, known := c.files[key]
		if !known {
			refuse(w, http.StatusNotFound, "NoSuchKey")
			return
		}
		_, _ = w.Write(body)
	}
}

func (c *cloud) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	after := max(q.Get("start-after"), q.Get("continuation-token"))
	var out listing
	for _, key := range slices.Sorted(maps.Keys(c.files)) {
		rest, ok := strings.CutPrefix(key, q.Get("prefix"))
		if !ok || key <= after || strings.Contains(rest, q.Get("delimiter")) {
			continue
		}
		if c.page > 0 && len(out.Contents) == c.page {
			out.Truncated, out.Next = true, out.Contents[c.page-1].Key
			break
		}
		out.Contents = append(out.Contents, object{key})
	}
	_ = xml.NewEncoder(w).Encode(out)
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `<Error><Code>%s</Code><Message>no</Message></Error>`, code)
}

func bucket(t *testing.T, c *cloud) (blob.Store, *httptest.Server) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	s, err := blob.Open(t.Context(), "s3://bucket/some/prefix?region=eu-central-1&path_style&endpoint="+server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return s, server
}

func names(t *testing.T, s blob.Store, prefix, after string) []string {
	t.Helper()
	list := []string{}
	for name, err := range s.List(t.Context(), prefix, after) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, name)
	}
	return list
}

func TestAFileIsKeptAndNeverOverwritten(t *testing.T) {
	for kind, s := range stores(t) {
		if _, err := s.Get(t.Context(), "heads/org_1/1.json"); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s: get before put: %v", kind, err)
		}
		body := []byte("\x00\xffone\n")
		if err := s.Put(t.Context(), "heads/org_1/1.json", body); err != nil {
			t.Fatalf("%s: put: %v", kind, err)
		}
		if err := s.Put(t.Context(), "heads/org_1/1.json", []byte("two")); !fault.Is(err, fault.Conflict) {
			t.Errorf("%s: put again: %v", kind, err)
		}
		if got, err := s.Get(t.Context(), "heads/org_1/1.json"); err != nil || !bytes.Equal(got, body) {
			t.Errorf("%s: get: %q, %v", kind, got, err)
		}
		for range 2 { // also one that is gone
			if err := s.Delete(t.Context(), "heads/org_1/1.json"); err != nil {
				t.Errorf("%s: delete: %v", kind, err)
			}
		}
		if _, err := s.Get(t.Context(), "heads/org_1/1.json"); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s: get after delete: %v", kind, err)
		}
	}
}

func TestNamesAreListedInTheirOrder(t *testing.T) {
	for kind, s := range stores(t) {
		for _, name := range []string{"h/org/3", "h/org/10", "h/org/20", "h/org-2/1", "h/org/deeper/1", "h/organ", "x"} {
			if err := s.Put(t.Context(), name, []byte(name)); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			prefix, after string
			want          []string
		}{
			{"h/org/", "", []string{"h/org/10", "h/org/20", "h/org/3"}},
			{"h/org/", "h/org/10", []string{"h/org/20", "h/org/3"}},
			{"h/org/", "h/org/11", []string{"h/org/20", "h/org/3"}},
			{"h/org/", "h/org/3", []string{}},
			{"h/org-2/", "", []string{"h/org-2/1"}},
			{"h/nobody/", "", []string{}},
		} {
			if got := names(t, s, c.prefix, c.after); !slices.Equal(got, c.want) {
				t.Errorf("%s: %s after %q: %v; want %v", kind, c.prefix, c.after, got, c.want)
			}
		}
		for name, err := range s.List(t.Context(), "h/org/", "") { // a reader may stop
			if name != "h/org/10" || err != nil {
				t.Errorf("%s: %s, %v", kind, name, err)
			}
			break
		}
	}
}

func TestALongListComesInPages(t *testing.T) {
	c := &cloud{files: map[string][]byte{}, page: 7}
	s, _ := bucket(t, c)
	var want []string
	for i := range 25 {
		name := fmt.Sprintf("h/%03d", i)
		want = append(want, name)
		c.files["some/prefix/"+name] = nil
	}
	if got := names(t, s, "h/", ""); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

func TestOnlyOneOfManyPutsAName(t *testing.T) {
	for kind, s := range stores(t) {
		var won atomic.Int32
		var group sync.WaitGroup
		for i := range 8 {
			group.Go(func() {
				switch err := s.Put(t.Context(), "once", []byte{byte(i)}); {
				case err == nil:
					won.Add(1)
				case !fault.Is(err, fault.Conflict):
					t.Errorf("%s: %v", kind, err)
				}
			})
		}
		group.Wait()
		if n := won.Load(); n != 1 {
			t.Errorf("%s: %d put it", kind, n)
		}
	}
}

func TestANameDoesNotLeaveItsStore(t *testing.T) {
	for kind, s := range stores(t) {
		for _, name := range []string{"", ".", "..", "../x", "a/../../x", "/etc/passwd", "a//b", `a\b`, ".drafts/x"} {
			if err := s.Put(t.Context(), name, nil); err == nil {
				t.Errorf("%s: it put %q", kind, name)
			}
			if _, err := s.Get(t.Context(), name); err == nil {
				t.Errorf("%s: it got %q", kind, name)
			}
			if err := s.Delete(t.Context(), name); err == nil {
				t.Errorf("%s: it deleted %q", kind, name)
			}
		}
	}
}

// TestAFolderShowsNoHalfFiles: what a crash leaves behind has no name that is listed.
func TestAFolderShowsNoHalfFiles(t *testing.T) {
	dir := t.TempDir()
	s, err := blob.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := s.Put(t.Context(), "h/1", []byte("x")); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(filepath.Join(dir, ".drafts"))
	if err != nil || len(left) != 0 {
		t.Errorf("drafts: %v, %v", left, err)
	}
	info, err := os.Stat(filepath.Join(dir, "h", "1"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	// Out of the folder by a link that somebody put there.
	if err := os.Symlink(t.TempDir(), filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "out/1", []byte("x")); err == nil {
		t.Error("it wrote through a link that leads out")
	}
}

func TestABucketThatDoesNotAnswerIsUnavailable(t *testing.T) {
	c := &cloud{files: map[string][]byte{}, broken: http.StatusServiceUnavailable}
	s, server := bucket(t, c)
	for _, close := range []bool{false, true} {
		if close {
			server.Close()
		}
		if err := s.Put(t.Context(), "x", nil); !fault.Is(err, fault.Unavailable) {
			t.Errorf("put: %v", err)
		}
		if _, err := s.Get(t.Context(), "x"); !fault.Is(err, fault.Unavailable) {
			t.Errorf("get: %v", err)
		}
		for _, err := range s.List(t.Context(), "x/", "") {
			if !fault.Is(err, fault.Unavailable) {
				t.Errorf("list: %v", err)
			}
		}
	}
}

func TestAListEndsWithItsContext(t *testing.T) {
	for kind, s := range stores(t) {
		if err := s.Put(t.Context(), "h/1", nil); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, err := range s.List(ctx, "h/", "") {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", kind, err)
			}
		}
	}
}

func TestAddressesThatAreNone(t *testing.T) {
	for _, address := range []string{"", "/tmp/x", "file://host/x", "file:relative", "ftp://x/y", "s3:///x", "file://%zz?secret=hunter2"} {
		s, err := blob.Open(t.Context(), address)
		if err == nil {
			t.Errorf("%q was opened", address)
			_ = s.Close()
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error has the address: %v", err)
		}
	}
}
