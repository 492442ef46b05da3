package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/aiaas/aiaas/shared/oauth"
)

// login is what the command keeps of a sign-in.
type login struct {
	BaseURL      string    `json:"base_url"`
	Issuer       string    `json:"issuer"`
	TokenURL     string    `json:"token_endpoint"`
	RevokeURL    string    `json:"revocation_endpoint"`
	AccessToken  string    `json:"access_token"`
	RefreshToken string    `json:"refresh_token"`
	ExpiresAt    time.Time `json:"expires_at"` // of the access token
}

// refreshBefore is how long a token must be good for at least when it is used.
const refreshBefore = 30 * time.Second

// loginPath is the login's file: beside the profile, and named after it.
func loginPath(profile string) string {
	return strings.TrimSuffix(profile, ".json") + ".login.json"
}

// serves reports whether the login is one at an address; "" is any.
func (l *login) serves(base string) bool {
	return base == "" || samePlace(base, l.BaseURL)
}

// take keeps what a token endpoint gave.
func (l *login) take(tok *oauth2.Token, now time.Time) {
	l.AccessToken, l.ExpiresAt = tok.AccessToken, tok.Expiry
	if l.ExpiresAt.IsZero() {
		l.ExpiresAt = now
	}
	if tok.RefreshToken != "" {
		l.RefreshToken = tok.RefreshToken
	}
}

// readLogin reads the login beside a profile; fs.ErrNotExist where there is none.
func readLogin(profile string) (*login, error) {
	path := loginPath(profile)
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read login: %w", err)
	}
	var l login
	if err := json.Unmarshal(body, &l); err != nil || l.BaseURL == "" || l.TokenURL == "" {
		return nil, fmt.Errorf("read login: %s can't be read: remove it, and run aiaas login", path)
	}
	return &l, nil
}

// writeLogin keeps a login, under the lock.
func writeLogin(ctx context.Context, profile string, l login) error {
	return locked(ctx, loginPath(profile), func() error { return replaceLogin(profile, l) })
}

// replaceLogin writes the file anew: whole, and readable to its owner alone.
func replaceLogin(profile string, l login) (err error) {
	path := loginPath(profile)
	body, err := json.MarshalIndent(l, "", "  ") //nolint:gosec // the tokens are what the file is for
	if err != nil {
		return fmt.Errorf("encode login: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".login-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write login: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // it may be gone
		}
	}()
	_, err = f.Write(append(body, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write login: %w", err)
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("write login: %w", err)
	}
	return nil
}

func removeLogin(profile string) error {
	if err := os.Remove(loginPath(profile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove login: %w", err)
	}
	return nil
}

// withLogin runs f with the login, under the lock; nil where there is none.
func withLogin(ctx context.Context, profile string, f func(*login) error) error {
	return locked(ctx, loginPath(profile), func() error {
		l, err := readLogin(profile)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return f(l)
	})
}

// keptLogin gives the token of the login beside a profile.
type keptLogin struct {
	path    string // of the profile
	now     func() time.Time
	timeout time.Duration
}

// token is an access token that is good for a while. One that is about to expire is
// refreshed under a lock: a refresh token is good once, so two commands that used it
// at the same moment would end the login.
func (k *keptLogin) token(ctx context.Context) (token string, err error) {
	l, err := readLogin(k.path)
	if err != nil {
		return "", err
	}
	if k.fresh(l) {
		return l.AccessToken, nil
	}
	err = withLogin(ctx, k.path, func(l *login) error {
		if l == nil {
			return errors.New("you have signed out meanwhile: run aiaas login")
		}
		if !k.fresh(l) { // else another command was faster
			if err := k.refresh(ctx, l); err != nil {
				return err
			}
		}
		token = l.AccessToken
		return nil
	})
	return token, err
}

func (k *keptLogin) fresh(l *login) bool { return k.now().Add(refreshBefore).Before(l.ExpiresAt) }

// refresh is not given up half-way: what the platform has given must be kept.
func (k *keptLogin) refresh(ctx context.Context, l *login) error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), k.timeout, errTimeout)
	defer cancel()
	ctx = context.WithValue(ctx, oauth2.HTTPClient, direct())
	c := &oauth2.Config{ClientID: oauth.CLI, Endpoint: oauth2.Endpoint{TokenURL: l.TokenURL, AuthStyle: oauth2.AuthStyleInParams}}
	tok, err := c.TokenSource(ctx, &oauth2.Token{RefreshToken: l.RefreshToken}).Token()
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok && e.ErrorCode == string(oauth.InvalidGrant) {
		return errors.New("the login is over: run aiaas login")
	}
	if err != nil {
		return said(ctx, "refresh the login", err)
	}
	l.take(tok, k.now())
	return replaceLogin(k.path, *l)
}

const lockAgain = 20 * time.Millisecond

// locked runs f while no other command of this person does so. It waits for others.
func locked(ctx context.Context, path string, f func() error) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	file, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open lock: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }() // which unlocks
	for {
		taken, err := lockFile(file)
		if err != nil {
			return fmt.Errorf("lock login: %w", err)
		}
		if taken {
			return f()
		}
		select {
		case <-time.After(lockAgain):
		case <-ctx.Done():
			return fmt.Errorf("wait for another aiaas command: %w", context.Cause(ctx))
		}
	}
}
