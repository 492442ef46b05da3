package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/functions/aiaas/client"
	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/function"
)

// setup brings a database to the point where a request can be served.
type setup struct {
	*process
	env      *function.Env
	settings open.Settings
	baseURL  string

	shown   bool // the keys are printed
	profile client.Profile
	added   []string // models that this start has added
	try     string   // a model that can be called
}

func (s *setup) path() string { return filepath.Join(s.settings.DataDir, client.ProfileName) }

// run checks all that is to be added before it founds anything: a start that
// fails by its settings leaves nothing behind.
func (s *setup) run(ctx context.Context) error {
	listed, err := readBackends(s.settings.Backends)
	if err != nil {
		return fmt.Errorf("set up models: %w", err)
	}
	c, err := openCatalogue(ctx, s.env)
	if err != nil {
		return fmt.Errorf("set up models: %w", err)
	}
	wanted := listed
	if c.unfinished() {
		wanted = append(s.initialModels(), listed...)
	}
	if err := c.check(ctx, wanted); err != nil {
		return fmt.Errorf("set up models: %w", err)
	}
	founded, err := s.found(ctx)
	if err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	m, err := c.add(ctx, wanted)
	if err != nil {
		return fmt.Errorf("set up models: %w", err)
	}
	s.added, s.try = m.added, m.callable()
	// The start that founded may have been cut off before it could show the keys.
	s.shown = founded || (slices.Contains(m.added, demoID) && s.profile.APIKey != "")
	return nil
}

// found creates the first organisations, once for a database. The keys are in the
// file before they count: a crash in between leaves a file that the next start
// replaces, never keys that nobody has.
func (s *setup) found(ctx context.Context) (founded bool, err error) {
	db, err := open.DB(ctx, s.env, function.Accounts, postgres.RoleTenants)
	if err != nil {
		return false, err
	}
	keys := postgres.NewKeys(db)
	done, err := keys.Founded(ctx)
	if err != nil {
		return false, err
	}
	if done {
		return false, s.update()
	}
	founding, c := apikey.Found(s.env.Now())
	s.profile = client.Profile{
		BaseURL: s.baseURL, OrganizationID: c.OrganizationID, ProjectID: c.ProjectID,
		APIKey: c.APIKey.Reveal(), AdminKey: c.AdminKey.Reveal(), PlatformKey: c.PlatformKey.Reveal(),
	}
	founded, err = keys.Found(ctx, founding, s.keep)
	if err == nil && !founded { // another process was faster: those keys are nobody's
		s.profile = client.Profile{}
		return false, s.update()
	}
	return founded, err
}

// keep writes the profile. A file that is there already belongs to another
// database: it is put aside, not lost.
func (s *setup) keep() error {
	if _, err := os.Stat(s.path()); err == nil {
		aside := s.path() + "." + s.env.Now().Format("20060102T150405Z")
		if err := os.Rename(s.path(), aside); err != nil {
			return fmt.Errorf("put old credentials aside: %w", err)
		}
		s.say("The credentials of another database were put aside: %s", absolute(aside))
	}
	return s.write()
}

func (s *setup) write() error {
	body, err := json.MarshalIndent(s.profile, "", "  ") //nolint:gosec // this file is the one place for the keys; mode 0600
	if err != nil {
		return fmt.Errorf("encode credentials: %w", err)
	}
	tmp, err := os.CreateTemp(s.settings.DataDir, ".credentials-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write credentials: %w", err)
	}
	_, err = tmp.Write(append(body, '\n'))
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("write credentials: %w", errors.Join(err, os.Remove(tmp.Name())))
	}
	if err := os.Rename(tmp.Name(), s.path()); err != nil {
		return fmt.Errorf("write credentials: %w", err)
	}
	return nil
}

// update keeps the address in the profile true. Without a file there is nothing
// to keep: the keys of a database that was set up elsewhere are elsewhere.
func (s *setup) update() error {
	body, err := os.ReadFile(s.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read credentials: %w", err)
	}
	if err := json.Unmarshal(body, &s.profile); err != nil {
		return fmt.Errorf("read %s: %w", s.path(), err)
	}
	if s.profile.BaseURL == s.baseURL {
		return nil
	}
	s.profile.BaseURL = s.baseURL
	return s.write()
}

// initialModels are those that a platform begins with: OpenAI's where there is a
// key for them, and the demo model.
func (s *setup) initialModels() []declared {
	if s.settings.OpenAIKey == "" {
		return []declared{demoModel()}
	}
	s.say("OPENAI_API_KEY is set: adding OpenAI's models with its list prices as known on %s. Check them before you bill by them.", openAIPricesDate)
	return append(openAIModels(), demoModel())
}

// welcome prints what to do next.
func (s *setup) welcome() {
	s.say("")
	s.say("AIaaS is running at %s", s.baseURL)
	s.say("  sign in        %s/sign-in", s.baseURL)
	s.say("  API reference  %s/docs", s.baseURL)
	s.say("  health         %s/readyz", s.baseURL)
	s.say("  data           %s", absolute(s.settings.DataDir))
	if len(s.added) > 0 {
		s.say("  new models     %v", s.added)
	}
	s.sayKeys()
	if s.try != "" {
		s.say("")
		s.say("Try it:")
		s.say("")
		s.say(`curl %s/v1/chat/completions -H "Authorization: Bearer %s" -H 'Content-Type: application/json' -d '{"model":"%s","messages":[{"role":"user","content":"Hello"}]}'`, s.baseURL, s.keyForShell(), s.try)
	}
	s.say("")
	s.say("Press Ctrl-C to stop.")
}

func (s *setup) sayKeys() {
	switch {
	case s.shown:
		s.say("")
		s.say("Your keys. They are shown this once, and kept in %s:", absolute(s.path()))
		s.say("  api key        %s   calls models", s.profile.APIKey)
		s.say("  admin key      %s   manages your organization", s.profile.AdminKey)
		s.say("  platform key   %s   manages models and prices", s.profile.PlatformKey)
		s.say("To sign in as %s, ask for a password at %s/forgot-password; where mails are files, the link is printed here.", apikey.FirstOwner, s.baseURL)
	case s.profile.APIKey != "":
		s.say("  keys           %s", absolute(s.path()))
	}
}

// keyForShell is what stands for the API key in a command line.
func (s *setup) keyForShell() string {
	switch {
	case s.shown:
		return s.profile.APIKey
	case s.profile.APIKey != "":
		return `$(sed -n 's/.*"api_key": "\(.*\)".*/\1/p' '` + absolute(s.path()) + `')`
	}
	return "YOUR_API_KEY" // the database was set up elsewhere
}
