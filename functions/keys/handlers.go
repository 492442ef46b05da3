package keys

import (
	"context"

	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/rest"
)

type createInput struct{ Body NewAPIKey }

type createOutput struct{ Body CreatedAPIKey }

func (h *handlers) create(ctx context.Context, p authz.Principal, in *createInput) (*createOutput, error) {
	n, err := in.Body.core()
	if err != nil {
		return nil, err
	}
	key, secret, err := h.svc.Create(ctx, p, n)
	if err != nil {
		return nil, err
	}
	return &createOutput{Body: CreatedAPIKey{APIKey: show(key, h.svc.Now()), Key: secret.Reveal()}}, nil
}

type listInput struct {
	rest.Paging
	State       string `query:"state" enum:"active,rotating,suspended,expired,revoked" doc:"Only keys in this state."`
	OwnerID     string `query:"owner_id" maxLength:"100" doc:"Only keys of this member or service account."`
	ProjectID   string `query:"project_id" maxLength:"100" doc:"Only keys of this project."`
	Environment string `query:"environment" enum:"production,development" doc:"Only keys of this environment."`
	RotationDue bool   `query:"rotation_due" doc:"true: only keys whose secret is due to be rotated."`
}

func (in *listInput) filter() apikey.Filter {
	f := apikey.Filter{
		State: apikey.State(in.State), OwnerID: in.OwnerID, ProjectID: in.ProjectID, Environment: apikey.Environment(in.Environment),
	}
	if in.RotationDue {
		f.RotationDue = apikey.OnlyOverdue
	}
	return f
}

type listOutput struct{ Body rest.List[APIKey] }

func (h *handlers) list(ctx context.Context, p authz.Principal, in *listInput) (*listOutput, error) {
	after, err := in.After(id.Key)
	if err != nil {
		return nil, err
	}
	keys, err := h.svc.List(ctx, p, in.filter(), apikey.Page{After: after, Limit: in.Fetch()})
	if err != nil {
		return nil, err
	}
	now := h.svc.Now()
	return &listOutput{Body: rest.Page(in.Paging, keys,
		func(k apikey.Key) string { return k.ID },
		func(k apikey.Key) APIKey { return show(k, now) })}, nil
}

// KeyPath names a key.
type KeyPath struct {
	ID string `path:"id" example:"key_0199c0b2f3a47c1e8d6a5b4c3d2e1f00"`
}

func (in *KeyPath) check() error {
	if !id.Valid(id.Key, in.ID) {
		return apikey.ErrNoKey()
	}
	return nil
}

type keyOutput struct{ Body APIKey }

// one answers with a key.
func (h *handlers) one(in *KeyPath, do func() (apikey.Key, error)) (*keyOutput, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	k, err := do()
	if err != nil {
		return nil, err
	}
	return &keyOutput{Body: show(k, h.svc.Now())}, nil
}

func (h *handlers) get(ctx context.Context, p authz.Principal, in *KeyPath) (*keyOutput, error) {
	return h.one(in, func() (apikey.Key, error) { return h.svc.Get(ctx, p, in.ID) })
}

type updateInput struct {
	KeyPath
	Body ChangedAPIKey
}

func (h *handlers) update(ctx context.Context, p authz.Principal, in *updateInput) (*keyOutput, error) {
	c, err := in.Body.core()
	if err != nil {
		return nil, err
	}
	return h.one(&in.KeyPath, func() (apikey.Key, error) { return h.svc.Update(ctx, p, in.ID, c) })
}

type reasonInput struct {
	KeyPath
	Body *Reason
}

func (h *handlers) suspend(ctx context.Context, p authz.Principal, in *reasonInput) (*keyOutput, error) {
	return h.one(&in.KeyPath, func() (apikey.Key, error) { return h.svc.Suspend(ctx, p, in.ID, in.Body.text()) })
}

func (h *handlers) resume(ctx context.Context, p authz.Principal, in *reasonInput) (*keyOutput, error) {
	return h.one(&in.KeyPath, func() (apikey.Key, error) { return h.svc.Resume(ctx, p, in.ID, in.Body.text()) })
}

type rotateInput struct {
	KeyPath
	Body *RotateAPIKey
}

func (h *handlers) rotate(ctx context.Context, p authz.Principal, in *rotateInput) (*createOutput, error) {
	overlap, err := in.Body.overlap()
	if err != nil {
		return nil, err
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	r, err := h.svc.Rotate(ctx, p, in.ID, overlap)
	if err != nil {
		return nil, err
	}
	return &createOutput{Body: CreatedAPIKey{APIKey: show(r.Key, h.svc.Now()), Key: r.Secret.Reveal()}}, nil
}

type revokeInput struct {
	KeyPath
	Reason string `query:"reason" maxLength:"500" doc:"For the audit, and those who are told."`
}

func (h *handlers) revoke(ctx context.Context, p authz.Principal, in *revokeInput) (*struct{}, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	return nil, h.svc.Revoke(ctx, p, in.ID, in.Reason)
}
