package apikey

import (
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/tenant"
)

// Founding is what a new platform starts with: the platform's own organisation
// with its key, and a first organisation with an owner, a project and two keys.
type Founding struct {
	Organizations []FoundedOrg
}

// FoundedOrg is one organisation of a founding.
type FoundedOrg struct {
	ID        string
	Name      string
	Plan      tenant.Plan
	ProjectID string
	Project   string
	OwnerID   string
	Owner     string     // e-mail address
	Role      authz.Role // of the owner: one of the platform's makes it the platform's own
	Keys      []FoundedKey
	Audit     []audit.Record
}

// FoundedKey is a key with its hash.
type FoundedKey struct {
	Key
	Hash Hash
}

// Credentials are the ids and keys of a founding, shown once.
type Credentials struct {
	OrganizationID string
	ProjectID      string
	APIKey         Secret // calls models and reads usage
	AdminKey       Secret // uses the management API of the organisation
	PlatformKey    Secret // administers the platform
}

// FirstOwner is the address of the first organisation's owner.
const FirstOwner = "owner@localhost"

// founder names who acted before anyone could.
const founder = "bootstrap"

// Found prepares a founding.
func Found(now time.Time) (Founding, Credentials) {
	platform := newOrg("Platform", "platform@localhost", authz.SystemAdministrator, now)
	first := newOrg("My organization", FirstOwner, authz.Owner, now)
	c := Credentials{OrganizationID: first.ID, ProjectID: first.ProjectID}
	c.PlatformKey = platform.addKey("platform administration", now, platformScopes()...)
	c.APIKey = first.addKey("first API key", now, authz.Inference, authz.ModelsRead, authz.UsageRead)
	c.AdminKey = first.addKey("administration", now, authz.Scopes()...)
	return Founding{Organizations: []FoundedOrg{platform, first}}, c
}

// platformScopes are those of the first platform key: it administers the platform,
// and the people and keys of the platform's own organisation.
func platformScopes() []authz.Scope {
	return []authz.Scope{
		authz.Platform, authz.KeysRead, authz.KeysWrite, authz.MembersRead, authz.MembersWrite,
		authz.ProjectsRead, authz.ProjectsWrite, authz.SettingsRead, authz.SettingsWrite, authz.AuditRead,
	}
}

func newOrg(name, owner string, role authz.Role, now time.Time) FoundedOrg {
	o := FoundedOrg{
		ID: id.New(id.Organization), Name: name, Plan: tenant.SelfHosted, Role: role,
		ProjectID: id.New(id.Project), Project: "Default project", OwnerID: id.New(id.User), Owner: owner,
	}
	o.Audit = append(o.Audit, audit.Record{
		OrgID: o.ID, ID: id.New(id.Audit), At: now, Actor: founder, Action: "organization.create", Target: o.ID,
		Detail: map[string]any{"name": name, "project_id": o.ProjectID, "owner": o.OwnerID},
	})
	return o
}

func (o *FoundedOrg) addKey(name string, now time.Time, scopes ...authz.Scope) Secret {
	s := NewSecret(Production)
	k := Key{
		ID: id.New(id.Key), OrgID: o.ID, ProjectID: o.ProjectID, Name: name, Environment: Production,
		Fingerprint: s.Fingerprint(), Scopes: scopes, CreatedBy: founder, CreatedAt: now,
		Kind: PersonalKey, OwnerID: o.OwnerID, SecretAt: now, SecretBy: o.OwnerID, RotateBy: now.Add(Production.RotateAfter()),
	}
	o.Keys = append(o.Keys, FoundedKey{Key: k, Hash: s.Hash()})
	o.Audit = append(o.Audit, audit.Record{
		OrgID: o.ID, ID: id.New(id.Audit), At: now, Actor: founder, Action: "key.create", Target: k.ID,
		Detail: map[string]any{"name": name, "fingerprint": k.Fingerprint, "scopes": scopes},
	})
	return s
}
