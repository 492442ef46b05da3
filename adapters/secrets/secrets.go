// Package secrets encrypts what the platform must be able to read again, such as
// the credentials of backends, what webhooks are signed with and the secrets of
// authenticator apps: AES-256-GCM under one key, each value bound to the host that it
// may be sent to, or to the row that it is of, so that a copy at another place opens
// nothing.
package secrets

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/aiaas/aiaas/shared/event"
	"github.com/aiaas/aiaas/shared/factor"
	"github.com/aiaas/aiaas/shared/model"
)

// KeySize is the length of a key in bytes.
const KeySize = 32

const prefix = "v1:" // names form and algorithm, for the day there is another

// Box seals and opens. The zero value is not usable.
type Box struct {
	aead   cipher.AEAD
	getenv func(string) string
}

var (
	_ model.Sealer = (*Box)(nil)
	_ event.Vault  = (*Box)(nil)
	_ factor.Vault = (*Box)(nil)
)

// New makes a box with a key of KeySize bytes. getenv looks up credentials that
// are kept in the environment.
func New(key []byte, getenv func(string) string) (*Box, error) {
	block, err := aes.NewCipher(key)
	if err != nil || len(key) != KeySize {
		return nil, fmt.Errorf("secret key must have %d bytes", KeySize)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	return &Box{aead: aead, getenv: getenv}, nil
}

// DecodeKey reads a key in base64.
func DecodeKey(text string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil || len(key) != KeySize {
		return nil, fmt.Errorf("secret key must be %d bytes in base64", KeySize)
	}
	return key, nil
}

// KeyFile reads the key in a file, which only its owner can read; where there is
// none yet it makes one. The file is there whole or not at all, so that a crash
// leaves no half of a key behind. A file without a key is an error, never
// replaced: values may be sealed with what it held.
func KeyFile(path string) ([]byte, error) {
	key, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // the database's own user must pass through
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	err = writeKey(path)
	if err != nil && !errors.Is(err, fs.ErrExist) { // another process may have been faster
		return nil, fmt.Errorf("write secret key: %w", err)
	}
	return readKey(path)
}

func readKey(path string) ([]byte, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the operator's own setting
	switch {
	case err != nil:
		return nil, fmt.Errorf("read secret key: %w", err)
	case strings.TrimSpace(string(text)) == "":
		return nil, fmt.Errorf("read secret key: %s is empty: put the key back, or remove the file if no credential was ever sealed", path)
	}
	key, err := DecodeKey(string(text))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return key, nil
}

// writeKey makes a key and a file for it, unless there is one: fs.ErrExist.
func writeKey(path string) (err error) {
	key := make([]byte, KeySize)
	_, _ = rand.Read(key) // never fails: it ends the process instead
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".secret-*") // mode 0600
	if err != nil {
		return fmt.Errorf("make file: %w", err)
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(key) + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("fill file: %w", err)
	}
	if err := os.Link(f.Name(), path); err != nil { // unlike a rename it never replaces
		return fmt.Errorf("name file: %w", err)
	}
	return syncDir(dir)
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the operator's own setting
	if err != nil {
		return fmt.Errorf("open folder: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}

// Seal encrypts a credential for a host.
func (b *Box) Seal(plain, host string) (string, error) {
	nonce := make([]byte, b.aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails: it ends the process instead
	return prefix + base64.RawStdEncoding.EncodeToString(b.aead.Seal(nonce, nonce, []byte(plain), []byte(host))), nil
}

// errSealed says no more, so that it can't be an oracle.
var errSealed = errors.New("sealed value can't be opened for this host")

// Credential returns a backend's credential in the clear, for its own host only.
// A variable that is not set is an error: calling without a credential would be
// somebody else's 401.
func (b *Box) Credential(be model.Backend) (string, error) {
	if be.Credential == "" {
		return "", nil
	}
	if name, ok := be.Credential.EnvName(); ok {
		if v := b.getenv(name); v != "" {
			return v, nil
		}
		return "", fmt.Errorf("credential of backend %s: %s is not set", be.ID, name)
	}
	host, err := model.Host(be.BaseURL)
	if err != nil {
		return "", fmt.Errorf("address of backend %s: %w", be.ID, err)
	}
	return b.Open(string(be.Credential), host)
}

// Open is what was sealed for a host.
func (b *Box) Open(sealed, host string) (string, error) {
	text, ok := strings.CutPrefix(sealed, prefix)
	raw, err := base64.RawStdEncoding.DecodeString(text)
	if !ok || err != nil || len(raw) < b.aead.NonceSize() {
		return "", errSealed
	}
	n := b.aead.NonceSize()
	plain, err := b.aead.Open(nil, raw[:n], raw[n:], []byte(host))
	if err != nil {
		return "", errSealed
	}
	return string(plain), nil
}
