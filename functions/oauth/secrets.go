package oauth

import (
	"context"
	"slices"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/oauth"
	"github.com/aiaas/aiaas/shared/rest"
)

// ClientSecret is what a service account proves itself by.
type ClientSecret struct {
	ID         string     `json:"id"`
	Hint       string     `json:"hint" example:"x7Qk" doc:"The last characters of the secret."`
	CreatedBy  string     `json:"created_by"`
	CreatedAt  time.Time  `json:"created_at"`
	LastUsedAt *time.Time `json:"last_used_at" doc:"null where it never was."`
}

// NewClientSecret is a client secret that was just made.
type NewClientSecret struct {
	ClientSecret

	ClientID string `json:"client_id" doc:"The id of the service account."`
	Secret   string `json:"client_secret" doc:"Shown this once."`
}

type accountInput struct {
	ID string `path:"id" maxLength:"100"`
}

type listSecretsInput struct {
	ID string `path:"id" maxLength:"100"`
	rest.Paging
}

type secretOutput struct{ Body NewClientSecret }

type secretsOutput struct{ Body rest.List[ClientSecret] }

type secretInput struct {
	ID       string `path:"id" maxLength:"100"`
	SecretID string `path:"secret_id" maxLength:"100"`
}

func (h *handlers) createSecret(ctx context.Context, p authz.Principal, in *accountInput) (*secretOutput, error) {
	made, plain, err := h.secrets.Create(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	return &secretOutput{Body: NewClientSecret{ClientSecret: showSecret(made), ClientID: in.ID, Secret: plain}}, nil
}

func (h *handlers) listSecrets(ctx context.Context, p authz.Principal, in *listSecretsInput) (*secretsOutput, error) {
	after, err := in.After(id.ClientSecret)
	if err != nil {
		return nil, err
	}
	list, err := h.secrets.List(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(s oauth.Secret) bool { return s.ID <= after }) // they are five at most
	return &secretsOutput{Body: rest.Page(in.Paging, list, func(s oauth.Secret) string { return s.ID }, showSecret)}, nil
}

func (h *handlers) deleteSecret(ctx context.Context, p authz.Principal, in *secretInput) (*noOutput, error) {
	return &noOutput{}, h.secrets.Delete(ctx, p, in.ID, in.SecretID)
}

func showSecret(s oauth.Secret) ClientSecret {
	out := ClientSecret{ID: s.ID, Hint: s.Hint, CreatedBy: s.CreatedBy, CreatedAt: s.CreatedAt.Truncate(time.Microsecond)}
	if !s.LastUsedAt.IsZero() {
		out.LastUsedAt = &s.LastUsedAt
	}
	return out
}
