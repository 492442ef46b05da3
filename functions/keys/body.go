package keys

import (
	"time"

	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/rest"
)

// KeyLimits are the limits of a key; null takes the plan's default.
type KeyLimits struct {
	RequestsPerMinute  *int64 `json:"requests_per_minute" required:"false" minimum:"1"`
	TokensPerMinute    *int64 `json:"tokens_per_minute" required:"false" minimum:"1"`
	ConcurrentRequests *int64 `json:"concurrent_requests" required:"false" minimum:"1"`
}

// KeyOwner is who a key acts for: exactly one member.
type KeyOwner struct {
	MemberID         string `json:"member_id,omitempty" maxLength:"100" doc:"A member: the key is personal."`
	ServiceAccountID string `json:"service_account_id,omitempty" maxLength:"100" doc:"A service account: the key is a service's."`
}

// NewAPIKey is the body that creates a key.
type NewAPIKey struct {
	Name        string     `json:"name" minLength:"1" maxLength:"200" doc:"What people call the key."`
	Scopes      []string   `json:"scopes" minItems:"1" uniqueItems:"true" nullable:"false" doc:"What the key grants."`
	Owner       *KeyOwner  `json:"owner,omitempty" doc:"Who the key acts for; left out, whoever the key that creates it acts for."`
	ProjectID   string     `json:"project_id,omitempty" doc:"The project that the key's usage counts for; left out, that of the key that creates it."`
	Environment string     `json:"environment,omitempty" enum:"production,development" doc:"Left out: production. Secrets are due to be rotated after 90 days, those for development after 180."`
	Models      []string   `json:"models,omitempty" minItems:"1" maxItems:"200" uniqueItems:"true" nullable:"false" doc:"The only models that the key may use; left out, those of the key that creates it."`
	IPAllowList []string   `json:"ip_allow_list,omitempty" maxItems:"100" uniqueItems:"true" nullable:"false" doc:"The only networks (CIDR) and addresses that the key may be used from; left out, those of the key that creates it."`
	ExpiresAt   *time.Time `json:"expires_at,omitempty" nullable:"true" doc:"When the key stops working; left out, never, where the organization allows that."`
	Limits      KeyLimits  `json:"limits,omitzero"`
}

func (b NewAPIKey) core() (n apikey.NewKey, err error) {
	n = apikey.NewKey{
		Name: b.Name, ProjectID: b.ProjectID, Environment: apikey.Environment(b.Environment),
		Scopes: scopes(b.Scopes), Models: b.Models, Limits: apikey.OwnLimits(b.Limits),
	}
	if b.ExpiresAt != nil {
		n.ExpiresAt = b.ExpiresAt.UTC()
	}
	if b.IPAllowList != nil {
		if n.IPs, err = apikey.ParseNetworks(b.IPAllowList); err != nil {
			return n, err
		}
	}
	n.OwnerID, err = b.Owner.id()
	return n, err
}

// id is whom the owner names; "" where nobody is.
func (o *KeyOwner) id() (string, error) {
	switch {
	case o == nil:
		return "", nil
	case (o.MemberID == "") == (o.ServiceAccountID == ""):
		return "", fault.New(fault.Unprocessable, "an owner is exactly one of member_id and service_account_id").At("owner")
	case o.MemberID != "" && id.Valid(id.User, o.MemberID):
		return o.MemberID, nil
	case o.ServiceAccountID != "" && id.Valid(id.ServiceAccount, o.ServiceAccountID):
		return o.ServiceAccountID, nil
	}
	return "", fault.New(fault.NotFound, "there is no such member or service account").At("owner")
}

// ChangedAPIKey is the body that changes a key.
type ChangedAPIKey struct {
	Name        rest.Maybe[string]    `json:"name,omitzero" required:"false" minLength:"1" maxLength:"200" nullable:"false"`
	Scopes      rest.Maybe[[]string]  `json:"scopes,omitzero" required:"false" minItems:"1" uniqueItems:"true" nullable:"false" doc:"What the key grants from now on."`
	Models      rest.Maybe[[]string]  `json:"models,omitzero" required:"false" maxItems:"200" uniqueItems:"true" doc:"The only models that the key may use; null: all of its project's."`
	IPAllowList rest.Maybe[[]string]  `json:"ip_allow_list,omitzero" required:"false" maxItems:"100" uniqueItems:"true" doc:"The only networks and addresses that the key may be used from; null or an empty list: anywhere."`
	ExpiresAt   rest.Maybe[time.Time] `json:"expires_at,omitzero" required:"false" doc:"When the key stops working; null: never."`
	Limits      ChangedKeyLimits      `json:"limits,omitzero"`
}

// ChangedKeyLimits are limits to be changed; what is left out stays, and null takes
// the plan's default.
type ChangedKeyLimits struct {
	RequestsPerMinute  rest.Maybe[int64] `json:"requests_per_minute,omitzero" required:"false" minimum:"1"`
	TokensPerMinute    rest.Maybe[int64] `json:"tokens_per_minute,omitzero" required:"false" minimum:"1"`
	ConcurrentRequests rest.Maybe[int64] `json:"concurrent_requests,omitzero" required:"false" minimum:"1"`
}

func (b ChangedAPIKey) core() (apikey.Patch, error) {
	c := apikey.Patch{Name: b.Name.Value, Limits: apikey.LimitsPatch{
		RequestsPerMinute: limit(b.Limits.RequestsPerMinute), TokensPerMinute: limit(b.Limits.TokensPerMinute),
		ConcurrentRequests: limit(b.Limits.ConcurrentRequests),
	}}
	switch {
	case b.Name.Given && b.Name.Value == nil:
		return c, fault.New(fault.Unprocessable, "a key always has a name").At("name")
	case b.Scopes.Given && b.Scopes.Value == nil:
		return c, fault.New(fault.Unprocessable, "a key always has scopes").At("scopes")
	case b.Scopes.Given:
		c.Scopes = scopes(*b.Scopes.Value)
	}
	if b.Models.Given {
		c.Models = orZero(b.Models.Value)
	}
	if b.ExpiresAt.Given {
		c.ExpiresAt = new(orZero(b.ExpiresAt.Value).UTC())
	}
	if b.IPAllowList.Given {
		list, err := apikey.ParseNetworks(*orZero(b.IPAllowList.Value))
		if err != nil {
			return c, err
		}
		c.IPs = &list
	}
	return c, nil
}

func orZero[T any](v *T) *T {
	if v == nil {
		return new(T)
	}
	return v
}

func limit(m rest.Maybe[int64]) **int64 {
	if !m.Given {
		return nil
	}
	return &m.Value
}

func scopes(texts []string) []authz.Scope {
	out := make([]authz.Scope, len(texts))
	for i, s := range texts {
		out[i] = authz.Scope(s)
	}
	return out
}

// APIKey is a key as it is listed.
type APIKey struct {
	ID            string      `json:"id"`
	Name          string      `json:"name"`
	Fingerprint   string      `json:"fingerprint" doc:"Names the key's secret in logs and lists without giving it away."`
	Kind          string      `json:"kind" enum:"personal,service"`
	OwnerID       string      `json:"owner_id" doc:"The member or service account that the key acts for."`
	Environment   string      `json:"environment" enum:"production,development"`
	State         string      `json:"state" enum:"active,rotating,suspended,expired,revoked" doc:"rotating: active, and the secret before works too."`
	Scopes        []string    `json:"scopes" nullable:"false"`
	Models        []string    `json:"models" doc:"The only models that the key may use; null: all of its project's."`
	IPAllowList   []string    `json:"ip_allow_list" nullable:"false" doc:"The only networks that the key may be used from; empty: anywhere."`
	ProjectID     string      `json:"project_id"`
	Limits        KeyLimits   `json:"limits"`
	ExpiresAt     *time.Time  `json:"expires_at"`
	Rotation      KeyRotation `json:"rotation"`
	PreviousUntil *time.Time  `json:"previous_valid_until" doc:"Until when the secret before works; null: only the one that it has."`
	LastUsedAt    *time.Time  `json:"last_used_at" doc:"Within some minutes; null: never."`
	LastUsedFrom  *string     `json:"last_used_from" doc:"The address."`
	SuspendedAt   *time.Time  `json:"suspended_at"`
	RevokedAt     *time.Time  `json:"revoked_at"`
	RevokedReason *string     `json:"revoked_reason"`
	CreatedBy     string      `json:"created_by" doc:"The id of the key or person that created it."`
	CreatedAt     time.Time   `json:"created_at"`
	SecretSetAt   time.Time   `json:"secret_set_at" doc:"Since when it has the secret that it has."`
}

// KeyRotation says when a secret is due to be changed.
type KeyRotation struct {
	DueAt   *time.Time `json:"due_at"`
	Overdue bool       `json:"overdue"`
}

// CreatedAPIKey is a key with its secret.
type CreatedAPIKey struct {
	APIKey
	Key string `json:"key" doc:"The key itself, shown this once."`
}

// RotateAPIKey says how a key is rotated.
type RotateAPIKey struct {
	Overlap        string `json:"overlap,omitempty" maxLength:"40" example:"24h" doc:"How long the secret before goes on to work: \"24h\", \"90m\", \"0s\". Left out: 24 hours. At most 7 days."`
	OverlapSeconds *int64 `json:"overlap_seconds,omitempty" minimum:"0" maximum:"604800" doc:"The same in seconds."`
}

func (b *RotateAPIKey) overlap() (time.Duration, error) {
	switch {
	case b == nil:
		return apikey.DefaultOverlap, nil
	case b.Overlap != "" && b.OverlapSeconds != nil:
		return 0, fault.New(fault.Unprocessable, "say overlap or overlap_seconds, not both").At("overlap")
	case b.OverlapSeconds != nil:
		return time.Duration(*b.OverlapSeconds) * time.Second, nil
	case b.Overlap == "":
		return apikey.DefaultOverlap, nil
	}
	d, err := time.ParseDuration(b.Overlap)
	if err != nil {
		return 0, fault.New(fault.Unprocessable, "an overlap is written like \"24h\" or \"90m\"").At("overlap")
	}
	return d, nil
}

// Reason is the body that says why something is done.
type Reason struct {
	Reason string `json:"reason,omitempty" maxLength:"500" doc:"For the audit, and those who are told."`
}

func (r *Reason) text() string {
	if r == nil {
		return ""
	}
	return r.Reason
}

func show(k apikey.Key, now time.Time) APIKey {
	texts, networks := make([]string, len(k.Scopes)), make([]string, len(k.IPs))
	for i, s := range k.Scopes {
		texts[i] = string(s)
	}
	for i, n := range k.IPs {
		networks[i] = n.String()
	}
	v := APIKey{
		ID: k.ID, Name: k.Name, Fingerprint: k.Fingerprint, Kind: string(k.Kind), OwnerID: k.OwnerID,
		Environment: string(k.Environment), State: string(k.State(now)), Scopes: texts, Models: k.Models, IPAllowList: networks,
		ProjectID: k.ProjectID, Limits: KeyLimits(k.Limits), ExpiresAt: moment(k.ExpiresAt),
		Rotation:   KeyRotation{DueAt: moment(k.RotateBy), Overdue: k.RotationOverdue(now)},
		LastUsedAt: moment(k.LastUsedAt), LastUsedFrom: text(k.LastUsedFrom), SuspendedAt: moment(k.SuspendedAt),
		RevokedAt: moment(k.RevokedAt), RevokedReason: text(k.RevokedReason),
		CreatedBy: k.CreatedBy, CreatedAt: k.CreatedAt.Truncate(time.Microsecond), SecretSetAt: k.SecretAt.Truncate(time.Microsecond),
	}
	if now.Before(k.Overlap) && !k.Over(now) {
		v.PreviousUntil = moment(k.Overlap)
	}
	return v
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return new(t.Truncate(time.Microsecond))
}

func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
