package secrets_test

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aiaas/aiaas/adapters/secrets"
	"github.com/aiaas/aiaas/shared/model"
)

func newBox(t *testing.T, key byte) *secrets.Box {
	t.Helper()
	env := map[string]string{"OPENAI_API_KEY": "sk-env"}
	b, err := secrets.New(bytes.Repeat([]byte{key}, secrets.KeySize), func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func backend(baseURL, credential string) model.Backend {
	return model.Backend{ID: "be_1", BaseURL: baseURL, Credential: model.Credential(credential)}
}

func TestACredentialOpensForItsOwnHostOnly(t *testing.T) {
	box := newBox(t, 1)
	sealed, err := box.Seal("sk-secret", "api.example.com:8443")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(sealed, "sk-secret") {
		t.Fatal("it is not sealed")
	}
	again, err := box.Seal("sk-secret", "api.example.com:8443")
	if err != nil || again == sealed {
		t.Errorf("sealed twice it is the same, %v: equal credentials can be told", err)
	}
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimPrefix(sealed, "v1:"))
	if err != nil {
		t.Fatal(err)
	}
	changed := func(i int) string {
		c := bytes.Clone(raw)
		c[(i+len(c))%len(c)] ^= 1
		return "v1:" + base64.RawStdEncoding.EncodeToString(c)
	}
	for _, c := range []struct {
		name string
		box  *secrets.Box
		b    model.Backend
		want string // "" for an error
	}{
		{"its host", box, backend("https://api.example.com:8443/v1", sealed), "sk-secret"},
		{"its host, in another case", box, backend("https://API.Example.com:8443/v2", sealed), "sk-secret"},
		{"its host without TLS", box, backend("http://api.example.com:8443/v1", sealed), "sk-secret"},
		{"another host", box, backend("https://evil.example.com:8443/v1", sealed), ""},
		{"another port", box, backend("https://api.example.com/v1", sealed), ""},
		{"a host hidden behind a user", box, backend("https://api.example.com:8443@evil.com/v1", sealed), ""},
		{"an address that is none", box, backend("api.example.com:8443", sealed), ""},
		{"another key", newBox(t, 2), backend("https://api.example.com:8443/v1", sealed), ""},
		{"a changed nonce", box, backend("https://api.example.com:8443/v1", changed(0)), ""},
		{"a changed text", box, backend("https://api.example.com:8443/v1", changed(12)), ""},
		{"a changed tag", box, backend("https://api.example.com:8443/v1", changed(-1)), ""},
		{"a cut one", box, backend("https://api.example.com:8443/v1", sealed[:10]), ""},
		{"another form", box, backend("https://api.example.com:8443/v1", "v2:"+sealed[3:]), ""},
		{"the credential in the clear", box, backend("https://api.example.com:8443/v1", "sk-secret"), ""},
		{"a variable", box, backend("https://any.example.com/v1", "env:OPENAI_API_KEY"), "sk-env"},
		{"a variable that is not set", box, backend("https://any.example.com/v1", "env:OTHER"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.box.Credential(c.b)
			if got != c.want || (err == nil) != (c.want != "") {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "sk-") {
				t.Errorf("the error shows the credential: %v", err)
			}
		})
	}
	if got, err := box.Credential(backend("https://any.example.com", "")); got != "" || err != nil {
		t.Errorf("a backend without a credential: %q, %v", got, err)
	}
}

func TestAKeyHasItsLength(t *testing.T) {
	for _, n := range []int{0, 16, 24, 31, 33} {
		if _, err := secrets.New(make([]byte, n), os.Getenv); err == nil {
			t.Errorf("a key of %d bytes is taken", n)
		}
		if _, err := secrets.DecodeKey(base64.StdEncoding.EncodeToString(make([]byte, n))); err == nil {
			t.Errorf("%d bytes in base64 are taken", n)
		}
	}
	if _, err := secrets.DecodeKey("no base64!"); err == nil {
		t.Error("what is no base64 is taken")
	}
	if key, err := secrets.DecodeKey(" " + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n"); err != nil || len(key) != 32 {
		t.Errorf("with white space around: %d bytes, %v", len(key), err)
	}
}

func TestAKeyFileIsMadeOnceAndKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "secret.key")
	first, err := secrets.KeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	again, err := secrets.KeyFile(path)
	if err != nil || !bytes.Equal(first, again) {
		t.Errorf("read again: another key, %v", err)
	}
	other, err := secrets.KeyFile(filepath.Join(t.TempDir(), "secret.key"))
	if err != nil || bytes.Equal(first, other) {
		t.Errorf("a second file has the same key, %v", err)
	}
	for _, text := range []string{"", "short\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := secrets.KeyFile(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("a file with %q: %v; want an error that names it", text, err)
		}
		if now, err := os.ReadFile(path); err != nil || string(now) != text {
			t.Errorf("a file with %q was replaced by %q, %v", text, now, err)
		}
	}
}

// Of several processes that start at once, all get the same key, and nothing else
// is left in the folder.
func TestParallelStartsAgreeOnTheKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret.key")
	var wg sync.WaitGroup
	var keys sync.Map
	for range 8 {
		wg.Go(func() {
			key, err := secrets.KeyFile(path)
			if err != nil {
				t.Error(err)
			}
			keys.Store(string(key), true)
		})
	}
	wg.Wait()
	n := 0
	keys.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d keys; want one", n)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("%v is left in the folder, %v; want the key only", left, err)
	}
}
