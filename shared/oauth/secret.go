package oauth

import (
	"context"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/session"
)

const (
	// MaxSecrets is how many client secrets a service account has at most: an old one
	// and a new one for each of two deployments, and one to spare.
	MaxSecrets   = 5
	secretPrefix = "aiaas_secret_"
	hintLen      = 4
)

// Secret is a client secret. The secret itself is shown once.
type Secret struct {
	OrgID      string
	ID         string
	AccountID  string
	Hint       string // its last characters
	CreatedBy  string
	SeenBy     []string // who may have seen it; of a new one, to whom it is shown
	By         string   // the credential that it is asked for by: whoever knows that one's secret, may be who asks; of a new one only
	CreatedAt  time.Time
	LastUsedAt time.Time // zero: never
}

// Account is a service account as a change of its secrets is decided on.
type Account struct {
	Subject authz.Subject // without scopes
	Secrets int
}

// SecretStore keeps client secrets.
type SecretStore interface {
	// AddSecret stores a secret with its hash, in one transaction with what decide
	// returns for the account as it is; NotFound where it is none. Whoever has seen the
	// credential that it is asked for by, is among those who have seen it.
	AddSecret(ctx context.Context, s Secret, hash []byte, decide func(Account) (audit.Record, error)) error
	// Secrets lists those of an account, the oldest first, with the account.
	Secrets(ctx context.Context, org, accountID string) ([]Secret, Account, error)
	// DeleteSecret removes a secret; NotFound where the account has no such.
	DeleteSecret(ctx context.Context, s Secret, decide func(Account) (audit.Record, error)) error
}

// Secrets gives service accounts what they prove themselves by.
type Secrets struct {
	Store SecretStore
	Now   func() time.Time
}

// Create makes a client secret and returns it: the only time. Whoever sees it can do
// by it what the account can, so he must be able to do as much himself.
func (s *Secrets) Create(ctx context.Context, p authz.Principal, accountID string) (Secret, string, error) {
	plain := newSecret(secretPrefix)
	made := Secret{
		OrgID: p.OrgID, ID: id.New(id.ClientSecret), AccountID: accountID, Hint: plain[len(plain)-hintLen:],
		CreatedBy: p.Actor(), SeenBy: []string{p.OwnerID}, By: p.KeyID, CreatedAt: s.Now(),
	}
	err := s.Store.AddSecret(ctx, made, Hash(plain), func(a Account) (audit.Record, error) {
		if err := mayWrite(ctx, p, a); err != nil {
			return audit.Record{}, err
		}
		child := a.Subject
		child.Scopes = session.AllScopes(child.Role)
		if act, exceeds := authz.Exceeding(child, p.Subject()); exceeds {
			return audit.Record{}, fault.New(fault.Forbidden,
				"the service account has the right %q, which this credential does not: its secret would give more than you have", string(act)).
				With("permission", string(act))
		}
		if a.Secrets >= MaxSecrets {
			return audit.Record{}, fault.New(fault.Conflict, "a service account has at most %d client secrets: delete one", MaxSecrets).With("limit", MaxSecrets)
		}
		return audit.New(ctx, p, made.CreatedAt, "client_secret.create", made.ID).With(map[string]any{"service_account_id": accountID}), nil
	})
	return made, plain, err
}

func mayWrite(ctx context.Context, p authz.Principal, a Account) error {
	return p.RequireOn(ctx, authz.DoServiceAccountsWrite, authz.Resource{OwnerID: a.Subject.OwnerID, Role: a.Subject.Role})
}

// List returns the client secrets of a service account, without themselves.
func (s *Secrets) List(ctx context.Context, p authz.Principal, accountID string) ([]Secret, error) {
	reach, err := p.Reach(ctx, authz.DoServiceAccountsRead)
	if err != nil {
		return nil, err
	}
	if !reach.Covers("", accountID) {
		return nil, ErrNoAccount()
	}
	list, _, err := s.Store.Secrets(ctx, p.OrgID, accountID)
	return list, err
}

// Delete makes a client secret worthless. Tokens that were issued for it last for
// their ten minutes; to end them at once end the account's sessions, or suspend it.
func (s *Secrets) Delete(ctx context.Context, p authz.Principal, accountID, secretID string) error {
	gone := Secret{OrgID: p.OrgID, ID: secretID, AccountID: accountID}
	return s.Store.DeleteSecret(ctx, gone, func(a Account) (audit.Record, error) {
		if err := mayWrite(ctx, p, a); err != nil {
			return audit.Record{}, err
		}
		return audit.New(ctx, p, s.Now(), "client_secret.delete", secretID).With(map[string]any{"service_account_id": accountID}), nil
	})
}

// ErrNoAccount is that of service accounts that are not there, or out of reach.
func ErrNoAccount() error { return fault.New(fault.NotFound, "there is no such service account") }
