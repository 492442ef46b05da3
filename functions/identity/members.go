package identity

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/member"
	"github.com/aiaas/aiaas/shared/rest"
)

func memberRoutes() []function.Route {
	g := routes{"Members", authz.MembersRead, authz.MembersWrite}
	return []function.Route{
		g.get("/v1/members", "listMembers", "List the members",
			"The people of the organisation, in the order of their ids; for who manages projects only, those of the own projects."),
		g.create("/v1/members", "addMember", "Add a member",
			"The person is known by e-mail address, and may be a member of other organisations too. Nobody gives a role as high as the own; an owner may make another owner."),
		g.get("/v1/members/{id}", "getMember", "Show a member", ""),
		g.change(http.MethodPatch, "/v1/members/{id}", "changeMember", "Change a member",
			"What the body does not name stays. Another role holds from the answer on, everywhere within a second, for all keys of the member. Nobody acts on a peer or a superior, and one owner always stays."),
		g.change(http.MethodPost, "/v1/members/{id}/suspend", "suspendMember", "Suspend a member",
			"From the answer on the member's keys are refused, everywhere within a second. `keys` says how many those are. Nothing of it is lost."),
		g.change(http.MethodPost, "/v1/members/{id}/reactivate", "reactivateMember", "Let a suspended member act again", "With the keys as they were."),
		g.change(http.MethodDelete, "/v1/members/{id}", "removeMember", "Remove a member",
			"The member's keys are revoked, or go to the one whom `transfer_to` names, who must not be able to do more with them. The answer says what became of them."),
	}
}

func programRoutes() []function.Route {
	g := routes{"Members", authz.MembersRead, authz.MembersWrite}
	return []function.Route{
		g.get("/v1/service-accounts", "listServiceAccounts", "List the service accounts", "The programs that act for the organisation, the oldest first."),
		g.create("/v1/service-accounts", "createServiceAccount", "Create a service account", "It has a role as a member has, never above its creator's, and acts by keys of its own."),
		g.get("/v1/service-accounts/{id}", "getServiceAccount", "Show a service account", ""),
		g.change(http.MethodPatch, "/v1/service-accounts/{id}", "changeServiceAccount", "Change a service account", "What the body does not name stays."),
		g.change(http.MethodPost, "/v1/service-accounts/{id}/suspend", "suspendServiceAccount", "Suspend a service account",
			"From the answer on its keys are refused, everywhere within a second."),
		g.change(http.MethodPost, "/v1/service-accounts/{id}/reactivate", "reactivateServiceAccount", "Let a suspended service account act again", ""),
		g.change(http.MethodDelete, "/v1/service-accounts/{id}", "deleteServiceAccount", "Delete a service account",
			"Its keys are revoked, or go to the one whom `transfer_to` names, who must not be able to do more with them."),
	}
}

func registerMembers(api *rest.API, svc *member.Service) {
	h := &holderHandlers[Member]{svc: svc, kind: member.Person, show: showMember}
	rest.Handle(api, "listMembers", h.list)
	rest.Handle(api, "addMember", h.add, rest.Fails(fault.Conflict), rest.RequestExample(NewMember{Email: "ada@example.com", Name: "Ada Lovelace", Role: "developer"}))
	rest.Handle(api, "getMember", h.get)
	role := "analyst"
	rest.Handle(api, "changeMember", h.changeMember, rest.Fails(fault.Conflict), rest.RequestExample(ChangedMember{Role: &role}))
	rest.Handle(api, "suspendMember", h.suspend, rest.Fails(fault.Conflict), rest.RequestExample(Suspension{Reason: "on leave"}))
	rest.Handle(api, "reactivateMember", h.reactivate)
	rest.Handle(api, "removeMember", h.remove, rest.Fails(fault.Conflict), rest.Fails(fault.Unprocessable))
}

func registerPrograms(api *rest.API, svc *member.Service) {
	h := &holderHandlers[ServiceAccount]{svc: svc, kind: member.Program, show: showProgram}
	rest.Handle(api, "listServiceAccounts", h.list)
	rest.Handle(api, "createServiceAccount", h.create, rest.Fails(fault.Conflict),
		rest.RequestExample(NewServiceAccount{Name: "nightly reports", Role: "analyst"}))
	rest.Handle(api, "getServiceAccount", h.get)
	name := "reports"
	rest.Handle(api, "changeServiceAccount", h.changeProgram, rest.Fails(fault.Conflict), rest.RequestExample(ChangedServiceAccount{Name: &name}))
	rest.Handle(api, "suspendServiceAccount", h.suspend, rest.RequestExample(Suspension{Reason: "under review"}))
	rest.Handle(api, "reactivateServiceAccount", h.reactivate)
	rest.Handle(api, "deleteServiceAccount", h.remove, rest.Fails(fault.Conflict), rest.Fails(fault.Unprocessable))
}

// Holder is what members and service accounts have in common.
type Holder struct {
	ID           string        `json:"id"`
	Name         string        `json:"name"`
	Role         string        `json:"role" example:"developer" doc:"A built-in role, or the id of one of the organisation's own."`
	Status       string        `json:"status" enum:"active,suspended"`
	StatusReason *string       `json:"status_reason" doc:"Why it is suspended, where that was said."`
	Projects     []ProjectRole `json:"projects" nullable:"false" doc:"That it belongs to."`
	Keys         int           `json:"keys" doc:"API keys that act for it and are not revoked."`
	AddedBy      string        `json:"added_by" doc:"The credential by which it was added."`
	CreatedAt    time.Time     `json:"created_at"`
	UpdatedAt    *time.Time    `json:"updated_at"`
}

// ProjectRole is a role in a project.
type ProjectRole struct {
	ProjectID string `json:"project_id"`
	Role      string `json:"role" enum:"manager,developer,viewer"`
}

// Member is a person in the organisation.
type Member struct {
	Holder

	Email string `json:"email"`
}

// ServiceAccount is a program that acts for the organisation.
type ServiceAccount struct {
	Holder

	Description string `json:"description"`
}

func showHolder(m member.Member) Holder {
	h := Holder{
		ID: m.ID, Name: m.Name, Role: m.Role, Status: string(m.Status), StatusReason: orNull(m.Reason), Projects: []ProjectRole{}, Keys: m.Keys,
		AddedBy: m.AddedBy, CreatedAt: m.CreatedAt, UpdatedAt: moment(m.UpdatedAt),
	}
	for _, id := range slices.Sorted(maps.Keys(m.Projects)) {
		h.Projects = append(h.Projects, ProjectRole{ProjectID: id, Role: string(m.Projects[id])})
	}
	return h
}

func showMember(m member.Member) Member { return Member{Holder: showHolder(m), Email: m.Email} }

func showProgram(m member.Member) ServiceAccount {
	return ServiceAccount{Holder: showHolder(m), Description: m.Description}
}

// holderHandlers serve members and service accounts alike; T is how one is shown.
type holderHandlers[T any] struct {
	svc  *member.Service
	kind member.Kind
	show func(member.Member) T
}

func (h *holderHandlers[T]) ref(p authz.Principal, memberID string) member.Ref {
	return member.Ref{OrgID: p.OrgID, Kind: h.kind, ID: memberID}
}

type holderOutput[T any] struct{ Body T }

func (h *holderHandlers[T]) answer(m member.Member, err error) (*holderOutput[T], error) {
	if err != nil {
		return nil, err
	}
	return &holderOutput[T]{Body: h.show(m)}, nil
}

type pageInput struct{ rest.Paging }

type holdersOutput[T any] struct{ Body rest.List[T] }

func (h *holderHandlers[T]) list(ctx context.Context, p authz.Principal, in *pageInput) (*holdersOutput[T], error) {
	after, err := in.After(h.kind.Prefix())
	if err != nil {
		return nil, err
	}
	list, err := h.svc.List(ctx, p, h.kind, after, in.Fetch())
	if err != nil {
		return nil, err
	}
	return &holdersOutput[T]{Body: rest.Page(in.Paging, list, func(m member.Member) string { return m.ID }, h.show)}, nil
}

func (h *holderHandlers[T]) get(ctx context.Context, p authz.Principal, in *idInput) (*holderOutput[T], error) {
	return h.answer(h.svc.Get(ctx, p, h.kind, in.ID))
}

// NewMember is the body that adds a member.
type NewMember struct {
	Email string `json:"email" maxLength:"254" example:"ada@example.com"`
	Name  string `json:"name,omitempty" maxLength:"100" doc:"What the organisation calls the person; left out, the person's own name, once known."`
	Role  string `json:"role" maxLength:"60" example:"developer" doc:"A built-in role, or the id of one of the organisation's own."`
}

type addInput struct{ Body NewMember }

func (h *holderHandlers[T]) add(ctx context.Context, p authz.Principal, in *addInput) (*holderOutput[T], error) {
	return h.answer(h.svc.Add(ctx, p, member.New{Kind: h.kind, Email: in.Body.Email, Name: in.Body.Name, Role: in.Body.Role}))
}

// NewServiceAccount is the body that creates a service account.
type NewServiceAccount struct {
	Name        string `json:"name" minLength:"1" maxLength:"100"`
	Description string `json:"description,omitempty" maxLength:"500"`
	Role        string `json:"role" maxLength:"60" example:"analyst" doc:"A built-in role, or the id of one of the organisation's own."`
}

type createProgramInput struct{ Body NewServiceAccount }

func (h *holderHandlers[T]) create(ctx context.Context, p authz.Principal, in *createProgramInput) (*holderOutput[T], error) {
	b := in.Body
	return h.answer(h.svc.Add(ctx, p, member.New{Kind: h.kind, Name: b.Name, Description: b.Description, Role: b.Role}))
}

// ChangedMember is the body that changes a member: what is left out stays.
type ChangedMember struct {
	Role *string `json:"role,omitempty" maxLength:"60" nullable:"false"`
	Name *string `json:"name,omitempty" maxLength:"100" nullable:"false" doc:"Empty: the person's own name."`
}

type changeMemberInput struct {
	ID   string `path:"id" maxLength:"100"`
	Body ChangedMember
}

func (h *holderHandlers[T]) changeMember(ctx context.Context, p authz.Principal, in *changeMemberInput) (*holderOutput[T], error) {
	return h.answer(h.svc.Change(ctx, p, h.ref(p, in.ID), member.Patch{Role: in.Body.Role, Name: in.Body.Name}))
}

// ChangedServiceAccount is the body that changes a service account: what is left out
// stays.
type ChangedServiceAccount struct {
	Role        *string `json:"role,omitempty" maxLength:"60" nullable:"false"`
	Name        *string `json:"name,omitempty" minLength:"1" maxLength:"100" nullable:"false"`
	Description *string `json:"description,omitempty" maxLength:"500" nullable:"false"`
}

type changeProgramInput struct {
	ID   string `path:"id" maxLength:"100"`
	Body ChangedServiceAccount
}

func (h *holderHandlers[T]) changeProgram(ctx context.Context, p authz.Principal, in *changeProgramInput) (*holderOutput[T], error) {
	return h.answer(h.svc.Change(ctx, p, h.ref(p, in.ID), member.Patch(in.Body)))
}

// Suspension is the body that suspends.
type Suspension struct {
	Reason string `json:"reason,omitempty" maxLength:"500" doc:"Shown to who may see the member."`
}

type suspendInput struct {
	ID   string `path:"id" maxLength:"100"`
	Body *Suspension
}

func (h *holderHandlers[T]) suspend(ctx context.Context, p authz.Principal, in *suspendInput) (*holderOutput[T], error) {
	reason := ""
	if in.Body != nil {
		reason = in.Body.Reason
	}
	return h.answer(h.svc.Suspend(ctx, p, h.ref(p, in.ID), reason))
}

func (h *holderHandlers[T]) reactivate(ctx context.Context, p authz.Principal, in *idInput) (*holderOutput[T], error) {
	return h.answer(h.svc.Reactivate(ctx, p, h.ref(p, in.ID)))
}

type removeInput struct {
	ID         string `path:"id" maxLength:"100"`
	Keys       string `query:"keys" enum:"revoke,transfer" doc:"What becomes of the keys; left out, they are revoked, unless transfer_to names somebody."`
	TransferTo string `query:"transfer_to" maxLength:"100" doc:"The member or service account that is to have the keys."`
}

// Removed says what became of the keys of one who was removed.
type Removed struct {
	ID            string  `json:"id"`
	Keys          string  `json:"keys" enum:"revoked,transferred"`
	KeyCount      int     `json:"key_count" doc:"How many there were."`
	TransferredTo *string `json:"transferred_to"`
}

type removeOutput struct{ Body Removed }

func (h *holderHandlers[T]) remove(ctx context.Context, p authz.Principal, in *removeInput) (*removeOutput, error) {
	if in.Keys != "" && (in.Keys == "transfer") != (in.TransferTo != "") {
		return nil, fault.New(fault.Unprocessable, "keys=transfer and transfer_to go together").At("keys")
	}
	r, err := h.svc.Remove(ctx, p, h.ref(p, in.ID), in.TransferTo)
	if err != nil {
		return nil, err
	}
	out := Removed{ID: in.ID, Keys: "revoked", KeyCount: r.Keys, TransferredTo: orNull(r.TransferredTo)}
	if r.TransferredTo != "" {
		out.Keys = "transferred"
	}
	return &removeOutput{Body: out}, nil
}
