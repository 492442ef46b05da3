package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Profile is credentials.json: what the command and other programs need to call
// the platform.
type Profile struct {
	BaseURL        string `json:"base_url"`
	OrganizationID string `json:"organization_id"`
	ProjectID      string `json:"project_id"`
	APIKey         string `json:"api_key"`
	AdminKey       string `json:"admin_key"`
	PlatformKey    string `json:"platform_key"`
}

// ProfileName is the profile's name within the data folder.
const ProfileName = "credentials.json"

// Setting describes a setting of client commands, for help.
type Setting struct{ Name, Default, Doc string }

// Settings lists what client commands read from the environment.
func Settings() []Setting {
	return []Setting{
		{"AIAAS_PROFILE", "credentials.json in AIAAS_DATA_DIR", "file with the address and the keys that client commands use"},
		{"AIAAS_KEY", "", "key that client commands use instead of the profile's; a flag would show it to every user of the machine"},
	}
}

// ProfilePath is the profile that a process uses unless a flag names another.
func ProfilePath(getenv func(string) string) string {
	if path := getenv("AIAAS_PROFILE"); path != "" {
		return path
	}
	dir := getenv("AIAAS_DATA_DIR")
	if dir == "" {
		dir = ".aiaas"
	}
	return filepath.Join(dir, ProfileName)
}

// ReadProfile reads a profile; the error is fs.ErrNotExist where there is none.
func ReadProfile(path string) (Profile, error) {
	var p Profile
	body, err := os.ReadFile(path)
	if err != nil {
		return p, fmt.Errorf("read profile: %w", err)
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return p, fmt.Errorf("read profile %s: it is not the JSON of a %s", path, ProfileName)
	}
	return p, nil
}

// role is whose key a command uses.
type role string

const (
	roleAPI      role = "api"
	roleAdmin    role = "admin"
	rolePlatform role = "platform"
	roleNone     role = "none" // of what everybody may do
)

func (p *Profile) key(r role) string {
	switch r {
	case roleAPI:
		return p.APIKey
	case roleAdmin:
		return p.AdminKey
	case rolePlatform:
		return p.PlatformKey
	case roleNone:
	}
	return ""
}

// target finds out where a command goes and with which key.
//
// A key that was given goes first, then the login, then the profile's key.
func (o *options) target(env Env, r role) (*target, error) {
	getenv := env.Getenv
	t := &target{baseURL: o.baseURL, timeout: o.timeout}
	if o.role != "" {
		r = role(o.role)
	}
	key, err := o.ownKey(getenv)
	if err != nil {
		return nil, err
	}
	t.key = key
	if r == roleNone {
		t.key = ""
	}
	if t.baseURL != "" && (t.key != "" || r == roleNone) {
		return t, nil
	}
	path := o.profilePath(getenv)
	if t.key == "" && r != roleNone && o.role == "" {
		l, err := readLogin(path)
		switch {
		case err == nil && l.serves(t.baseURL):
			t.baseURL, t.login = l.BaseURL, &keptLogin{path: path, now: env.Now, timeout: o.timeout}
			return t, nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	p, err := ReadProfile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, Usage("there is no profile at %s: start the platform (aiaas serve), sign in (aiaas login --base-url ADDRESS), name another file with --profile, or give --base-url and AIAAS_KEY", path)
	case err != nil:
		return nil, err
	}
	if t.baseURL == "" {
		t.baseURL = p.BaseURL
	}
	if t.key == "" {
		t.key = p.key(r)
	}
	switch {
	case t.baseURL == "":
		return nil, Usage("the profile %s has no base_url", path)
	case t.key == "" && r != roleNone:
		return nil, Usage("the profile %s has no %s_key: give a key in AIAAS_KEY or with --key-file", path, r)
	}
	return t, nil
}

// profilePath is the profile that the command uses.
func (o *options) profilePath(getenv func(string) string) string {
	if o.profile != "" {
		return o.profile
	}
	return ProfilePath(getenv)
}

// ownKey is the key that the caller gives beside the profile, if any.
func (o *options) ownKey(getenv func(string) string) (string, error) {
	if o.keyFile == "" {
		return strings.TrimSpace(getenv("AIAAS_KEY")), nil
	}
	body, err := os.ReadFile(o.keyFile)
	if err != nil {
		return "", UsageError{Err: fmt.Errorf("read key: %w", err)}
	}
	key := strings.TrimSpace(string(body))
	if key == "" || strings.ContainsAny(key, "\r\n") {
		return "", Usage("%s does not hold one key", o.keyFile)
	}
	return key, nil
}
