package identity

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/member"
	"github.com/aiaas/aiaas/shared/profile"
	"github.com/aiaas/aiaas/shared/rest"
)

func policyRoutes() []function.Route {
	g := routes{"Access", authz.AnyScope, authz.AnyScope}
	return []function.Route{
		g.get("/v1/me", "getMe", "Show who the caller is", "The organisation, the owner of the credential, the role, what it permits and how far, and what restricts it. Who is signed in is also told what is his own: profile, second factors, and the organisations that he may work in."),
		g.change(http.MethodPatch, "/v1/me", "changeMe", "Change your profile", "The own name, time zone and language, and which mails are wanted; what the body does not name stays. For people who are signed in; an API key changes nobody's profile."),
		g.change(http.MethodPost, "/v1/policy/evaluate", "evaluatePolicy", "Ask what somebody may do, and why",
			"Everybody may ask about himself; asking about another needs the permission `policy.evaluate`. Of a member or service account it is answered what a credential with every scope could do; of a key, what that key can. Nothing is changed, and nothing recorded."),
		g.get("/v1/policy/permissions", "listPermissions", "List the permissions", "Each action with the scope that it needs and the roles that have it. All on one page."),
	}
}

func registerPolicy(api *rest.API, h *policyHandlers) {
	rest.Handle(api, "getMe", h.me)
	rest.Handle(api, "changeMe", h.changeMe, rest.RequestExample(ChangedMe{TimeZone: new("Europe/Berlin"), Mail: &MailGroups{Budgets: new(false)}}))
	rest.Handle(api, "evaluatePolicy", h.evaluate, rest.RequestExample(Question{
		Action: "keys.create", Circumstances: Circumstances{Address: "192.0.2.7"},
	}), rest.ResponseExample(Answer{
		Reason: "role", Scope: "keys:write", Reach: AnswerReach{Projects: []string{}}, GrantedBy: []string{"admin", "owner"},
		Explanation: `No: the role developer does not have "keys.create". Who is admin or owner can do it, or give a role that has it.`,
	}))
	rest.Handle(api, "listPermissions", h.permissions)
}

type policyHandlers struct {
	svc      *member.Explainer
	profiles *profile.Service
}

// Me is who a caller is.
type Me struct {
	Organization    MyOrganization `json:"organization"`
	Owner           MyOwner        `json:"owner" doc:"The member or service account that the credential acts for."`
	Role            MyRole         `json:"role"`
	Permissions     Widths         `json:"permissions" nullable:"false" doc:"What the role in the organisation permits, and how far: organization, projects or own. Roles in projects add to it there."`
	Scopes          []string       `json:"scopes" nullable:"false" doc:"What the credential grants at most."`
	EffectiveScopes []string       `json:"effective_scopes" nullable:"false" doc:"Those of the scopes that the role leaves something of."`
	Projects        []MyProject    `json:"projects" nullable:"false" doc:"That the owner has a role in."`
	ProjectID       *string        `json:"project_id" doc:"The project that the credential belongs to."`
	APIKeyID        *string        `json:"api_key_id" doc:"The key, where one was used."`
	Models          []string       `json:"models" doc:"The only models that the credential may use; null: all of the organisation's."`
	Restrictions    Restrictions   `json:"restrictions"`
	Person          *Person        `json:"person" doc:"Who is signed in; null for a key or a program."`
	MFA             *MyMFA         `json:"mfa" doc:"Of the person."`
	Profile         *MyProfile     `json:"profile" doc:"Of the person."`
	Organizations   []MyMembership `json:"organizations" nullable:"false" doc:"That the person may work in; none for a key or a program."`
}

// MyOrganization is the caller's organisation.
type MyOrganization struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Slug   string `json:"slug"`
	Kind   string `json:"kind" enum:"tenant,platform"`
	Status string `json:"status"`
}

// MyOwner is whom the credential acts for.
type MyOwner struct {
	ID    string  `json:"id"`
	Kind  string  `json:"kind" enum:"member,service_account"`
	Name  string  `json:"name"`
	Email *string `json:"email"`
}

// MyRole is the caller's role in the organisation.
type MyRole struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	BuiltIn bool   `json:"built_in"`
}

// MyProject is a project that the caller has a role in.
type MyProject struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Role   string `json:"role" enum:"manager,developer,viewer"`
	Status string `json:"status" enum:"active,archived"`
}

// Restrictions are the conditions under which the credential may be used.
type Restrictions struct {
	IPAllowList    []string     `json:"ip_allow_list" nullable:"false" doc:"Of the organisation; empty: from anywhere."`
	KeyIPAllowList []string     `json:"key_ip_allow_list" nullable:"false" doc:"Of the key."`
	AccessHours    *AccessHours `json:"access_hours" doc:"null: at any time."`
	MFARoles       []string     `json:"mfa_required_roles" nullable:"false" doc:"Besides those that always need a second factor."`
}

// AccessHours are when people may work, on the clock of the organisation.
type AccessHours struct {
	Days       []int `json:"days" nullable:"false" doc:"0 is Sunday."`
	FromMinute int   `json:"from_minute" doc:"Of the day."`
	ToMinute   int   `json:"to_minute" doc:"Of the day; not part of it."`
}

type meOutput struct{ Body Me }

func (h *policyHandlers) me(ctx context.Context, p authz.Principal, _ *struct{}) (*meOutput, error) {
	is, err := h.svc.Me(ctx, p)
	if err != nil {
		return nil, err
	}
	me := Me{
		Organization:    MyOrganization{ID: is.OrgID, Name: is.OrgName, Slug: is.Slug, Kind: "tenant", Status: is.Status},
		Owner:           MyOwner{ID: p.OwnerID, Kind: string(member.KindOf(p.OwnerID)), Name: is.Name, Email: orNull(is.Email)},
		Role:            MyRole{ID: is.RoleID, Name: is.RoleName, BuiltIn: p.Role != authz.Custom},
		Permissions:     showWidths(is.Permissions),
		Scopes:          words(p.Scopes),
		EffectiveScopes: words(is.Effective),
		Projects:        []MyProject{},
		ProjectID:       orNull(p.ProjectID),
		Models:          p.Models,
		Restrictions:    showRestrictions(is),
	}
	if is.Platform {
		me.Organization.Kind = "platform"
	}
	if p.Method == authz.ByKey {
		me.APIKeyID = orNull(p.KeyID)
	}
	for _, place := range is.Projects {
		status := "active"
		if place.Archived {
			status = "archived"
		}
		me.Projects = append(me.Projects, MyProject{ID: place.ID, Name: place.Name, Role: string(place.Role), Status: status})
	}
	if err := h.describe(ctx, p, &me); err != nil {
		return nil, err
	}
	return &meOutput{Body: me}, nil
}

func showRestrictions(p member.Profile) Restrictions {
	r := Restrictions{IPAllowList: networks(p.Restrictions.IPs), KeyIPAllowList: networks(p.KeyIPs), MFARoles: words(p.Restrictions.MFARoles)}
	if h := p.Restrictions.Hours; len(h.Days) > 0 {
		r.AccessHours = &AccessHours{Days: h.Days, FromMinute: h.From, ToMinute: h.To}
	}
	return r
}

func networks(list []netip.Prefix) []string {
	out := make([]string, len(list))
	for i, n := range list {
		out[i] = n.String()
	}
	return out
}

func words[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return out
}

// Question is the body that asks what somebody may do.
type Question struct {
	Subject       QuestionSubject   `json:"subject,omitzero" doc:"One of its members; left out, the caller."`
	Action        string            `json:"action" maxLength:"60" example:"keys.create"`
	Resource      *QuestionResource `json:"resource,omitempty" nullable:"false" doc:"What would be acted on; left out, the action as such."`
	Circumstances Circumstances     `json:"circumstances,omitzero"`
}

// QuestionSubject is who is asked about.
type QuestionSubject struct {
	MemberID         string `json:"member_id,omitempty" maxLength:"100"`
	ServiceAccountID string `json:"service_account_id,omitempty" maxLength:"100"`
	APIKeyID         string `json:"api_key_id,omitempty" maxLength:"100"`
}

// QuestionResource is what would be acted on.
type QuestionResource struct {
	ProjectID string `json:"project_id,omitempty" maxLength:"100"`
	OwnerID   string `json:"owner_id,omitempty" maxLength:"100" doc:"The member or service account whose it is."`
	MemberID  string `json:"member_id,omitempty" maxLength:"100" doc:"The member or service account that would be acted on."`
	Grants    string `json:"grants,omitempty" maxLength:"60" doc:"The role that would be given."`
}

// Circumstances are those of the imagined request.
type Circumstances struct {
	Address string     `json:"address,omitempty" maxLength:"60" doc:"Left out, that of the caller where he asks about himself, else none."`
	At      *time.Time `json:"at,omitempty" nullable:"false" doc:"Left out, now."`
	Method  string     `json:"method,omitempty" enum:"key,session,token,client" doc:"How the subject has signed in; left out, by a session, or by the key."`
	MFA     bool       `json:"mfa,omitempty" doc:"Whether the second factor was shown."`
}

// Answer is what somebody may do, and why.
type Answer struct {
	Allow       bool        `json:"allow"`
	Reason      string      `json:"reason" enum:"allowed,nobody,unknown_action,scope,role,address,hours,mfa,reach,rank,step_up,inactive,undefined"`
	Scope       string      `json:"scope" doc:"That the action needs."`
	Reach       AnswerReach `json:"reach" doc:"What the subject could do the action on, were nothing else in the way."`
	GrantedBy   []string    `json:"granted_by" nullable:"false" doc:"The roles that have the action everywhere: who has one can do it, or give it."`
	Explanation string      `json:"explanation" doc:"The same in plain words."`
}

// AnswerReach is what an action covers.
type AnswerReach struct {
	Organization bool     `json:"organization"`
	Projects     []string `json:"projects" nullable:"false"`
	Own          bool     `json:"own"`
}

type evaluateInput struct{ Body Question }

type evaluateOutput struct{ Body Answer }

func (q Question) parse() (member.Question, error) {
	out := member.Question{
		Subject: member.SubjectRef(q.Subject), Action: authz.Action(q.Action), Method: authz.Method(q.Circumstances.Method), MFA: q.Circumstances.MFA,
	}
	if q.Resource != nil {
		t := member.Target(*q.Resource)
		out.Resource = &t
	}
	if q.Circumstances.At != nil {
		out.At = *q.Circumstances.At
	}
	if text := q.Circumstances.Address; text != "" {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return out, fault.New(fault.Unprocessable, "that is no IP address").At("circumstances.address")
		}
		out.Address = &a
	}
	return out, nil
}

func (h *policyHandlers) evaluate(ctx context.Context, p authz.Principal, in *evaluateInput) (*evaluateOutput, error) {
	q, err := in.Body.parse()
	if err != nil {
		return nil, err
	}
	a, err := h.svc.Evaluate(ctx, p, q)
	if err != nil {
		return nil, err
	}
	return &evaluateOutput{Body: Answer{
		Allow: a.Allow, Reason: string(a.Reason), Scope: string(a.Scope), GrantedBy: words(a.GrantedBy), Explanation: a.Explanation,
		Reach: AnswerReach{Organization: a.Reach.All, Projects: words(a.Reach.Projects), Own: a.Reach.OwnerID != ""},
	}}, nil
}

// Permission is one action of the access policy.
type Permission struct {
	Action       string   `json:"action"`
	Scope        string   `json:"scope" doc:"That a credential must grant for it."`
	Roles        Widths   `json:"roles" nullable:"false" doc:"The built-in roles that have it, and how far."`
	ProjectRoles []string `json:"project_roles" nullable:"false" doc:"The roles in a project that have it there."`
	Customizable bool     `json:"customizable" doc:"Whether a role that an organisation makes can hold it."`
}

type permissionsOutput struct{ Body rest.List[Permission] }

func (h *policyHandlers) permissions(ctx context.Context, _ authz.Principal, _ *struct{}) (*permissionsOutput, error) {
	list, err := member.Permissions(ctx)
	if err != nil {
		return nil, err
	}
	out := &permissionsOutput{}
	for _, p := range list {
		out.Body.Data = append(out.Body.Data, Permission{
			Action: string(p.Action), Scope: string(p.Scope), Roles: showWidths(p.Roles), ProjectRoles: words(p.ProjectRoles), Customizable: p.Customizable,
		})
	}
	return out, nil
}
