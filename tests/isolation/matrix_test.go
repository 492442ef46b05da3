package isolation_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aiaas/aiaas/functions"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/function"
)

// Sets of roles, as the table names them.
const (
	everyone      = "owner admin finance manager analyst developer custom system_administrator security operations architect support"
	masters       = "owner admin system_administrator" // who manage an organisation, the platform's own included
	administrator = "system_administrator"
)

// right says what a route answers to whom. "<key>" in path or body stands for a new
// thing of that kind in the organisation that is asked about; it belongs to a
// project and to an owner that none of the callers has to do with.
type right struct {
	path   string
	body   string
	ok     int    // the answer to those who may
	house  int    // to those of the platform, in their own organisation, where it is another
	may    string // everything in their organisation: foreign things are not found
	narrow string // what is theirs only: a list is short, the thing is not found
}

// public are the routes that ask nobody who he is.
var public = []string{
	"signIn", "giveSecondFactor", "askPasskey", "signInByPasskey", "forgotPassword", "resetPassword", "askResetPasskey", "resetPasswordSecondFactor",
	"inspectInvitation", "acceptInvitation", "signInBySso", "returnFromSso",
	"getHealth", "getReadiness", "getOpenAPI", "getReference", "getApiKeyPattern", "revokeLeakedApiKey",
	"getOpenIDConfiguration", "getAuthorizationServer", "getJSONWebKeySet", "authorize", "getToken", "revokeToken", "introspectToken", "authorizeDevice",
	"getAsset", "getSignInPage", "getSecondFactorPage", "getForgotPasswordPage", "getResetPasswordPage", "getInvitationPage", "getAccountPage", "getConsentPage", "getDevicePage",
}

// rights is the whole table: a route that is not in it fails the test.
func rights() map[string]right {
	const chat = `{"model":"m","messages":[{"role":"user","content":"x"}]}`
	readers := "owner admin finance analyst system_administrator"
	own := "finance manager analyst developer custom operations architect support"
	return map[string]right{
		// The model is there and has no price: who may call is told so.
		"createChatCompletion": {path: "/v1/chat/completions", body: chat, ok: 422, may: "owner admin developer"},
		"createInference":      {path: "/v1/inference", body: chat, ok: 422, may: "owner admin developer"},
		"listModels":           {path: "/v1/models", ok: 200, may: everyone},
		"getModel":             {path: "/v1/models/m", ok: 200, may: everyone},

		"getUsage":     {path: "/v1/usage", ok: 200, may: readers, narrow: "developer manager"},
		"listRequests": {path: "/v1/requests", ok: 200, may: readers, narrow: "developer manager"},
		"getRequest":   {path: "/v1/requests/<request>", ok: 200, may: readers, narrow: "developer manager"},

		"listApiKeys":   {path: "/v1/api-keys", ok: 200, may: masters + " security", narrow: own},
		"getApiKey":     {path: "/v1/api-keys/<key>", ok: 200, may: masters + " security", narrow: own},
		"createApiKey":  {path: "/v1/api-keys", body: `{"name":"x","scopes":["models:read"]}`, ok: 201, may: masters},
		"updateApiKey":  {path: "/v1/api-keys/<key>", body: `{"name":"y"}`, ok: 200, may: masters},
		"suspendApiKey": {path: "/v1/api-keys/<key>/suspend", body: `{}`, ok: 200, may: masters},
		"resumeApiKey":  {path: "/v1/api-keys/<key>/resume", body: `{}`, ok: 200, may: masters},
		"rotateApiKey":  {path: "/v1/api-keys/<key>/rotate", body: `{}`, ok: 200, may: masters, narrow: own + " security"},
		"revokeApiKey":  {path: "/v1/api-keys/<key>", ok: 204, may: masters, narrow: own + " security"},

		"listBudgets":      {path: "/v1/budgets", ok: 200, may: masters + " finance", narrow: "manager"},
		"getBudget":        {path: "/v1/budgets/<budget>", ok: 200, may: masters + " finance", narrow: "manager"},
		"listBudgetAlerts": {path: "/v1/budgets/<budget>/alerts", ok: 200, may: masters + " finance", narrow: "manager"},
		"createBudget":     {path: "/v1/budgets", body: `{"scope":{"organization":true},"unit":"tokens","amount":"1","period":"day","action":"monitor"}`, ok: 201, may: masters},
		"changeBudget":     {path: "/v1/budgets/<budget>", body: `{"amount":"2"}`, ok: 200, may: masters},
		"deleteBudget":     {path: "/v1/budgets/<budget>", ok: 204, may: masters},

		"getBilling":     {path: "/v1/billing", ok: 200, may: masters + " finance"},
		"setBilling":     {path: "/v1/billing", body: `{"name":"x"}`, ok: 200, may: masters + " finance"},
		"listInvoices":   {path: "/v1/invoices", ok: 200, may: masters + " finance"},
		"previewInvoice": {path: "/v1/invoices/preview", ok: 200, may: masters + " finance"},
		"getInvoice":     {path: "/v1/invoices/<invoice>", ok: 200, may: masters + " finance"},
		"runInvoices":    {path: "/v1/invoices/runs", body: `{"period":"2020-01"}`, ok: 200, may: "owner finance system_administrator"},
		"getSeller":      {path: "/v1/sellers/default", ok: 200, may: administrator + " architect"},
		"setSeller":      {path: "/v1/sellers/default", body: `{"name":"x"}`, ok: 200, may: administrator},

		"createModel":        {path: "/v1/models", body: `{"id":"new-<number>"}`, ok: 201, may: administrator},
		"updateModel":        {path: "/v1/models/<model>", body: `{"disabled":true}`, ok: 200, may: administrator},
		"addBackend":         {path: "/v1/models/<model>/backends", body: `{"protocol":"openai","base_url":"https://b.example/v1"}`, ok: 201, may: administrator},
		"updateBackend":      {path: "/v1/backends/<backend>", body: `{"weight":2}`, ok: 200, may: administrator},
		"listPlatformModels": {path: "/v1/platform/models", ok: 200, may: administrator + " operations architect"},
		"getPlatformModel":   {path: "/v1/platform/models/m", ok: 200, may: administrator + " operations architect"},
		"listPriceBooks":     {path: "/v1/price-books", ok: 200, may: administrator + " operations architect"},
		"listPrices":         {path: "/v1/price-books/default/prices", ok: 200, may: administrator + " operations architect"},
		"publishPrice":       {path: "/v1/price-books/default/prices", body: `{"model":"<model>","input_usd_per_million":"1","output_usd_per_million":"1"}`, ok: 201, may: administrator},

		"listJobs":    {path: "/v1/jobs", ok: 200, may: administrator + " operations architect"},
		"getJob":      {path: "/v1/jobs/metering.fold", ok: 200, may: administrator + " operations architect"},
		"listJobRuns": {path: "/v1/jobs/metering.fold/runs", ok: 200, may: administrator + " operations architect"},
		"startJob":    {path: "/v1/jobs/metering.fold/runs", body: `{}`, ok: 202, may: administrator + " operations"},
		"getJobRun":   {path: "/v1/job-runs/run_01a20d00000070008000000000000000", ok: 404, may: administrator + " operations architect"},

		"listAuditRecords": {path: "/v1/audit", ok: 200, may: masters + " security"},
		"getAuditRecord":   {path: "/v1/audit/<audit>", ok: 200, may: masters + " security"},
		"verifyAudit":      {path: "/v1/audit/verify", ok: 200, may: masters + " security"},
		"exportAudit":      {path: "/v1/audit/export", ok: 200, may: masters + " security"},
		"listAuditKeys":    {path: "/v1/audit/keys", ok: 200, may: masters + " security"},

		"listEventTypes":        {path: "/v1/event-types", ok: 200, may: masters},
		"listEvents":            {path: "/v1/events", ok: 200, may: masters},
		"createWebhook":         {path: "/v1/webhooks", body: `{"url":"https://hook<number>.example/","events":["*"]}`, ok: 201, may: masters},
		"listWebhooks":          {path: "/v1/webhooks", ok: 200, may: masters},
		"getWebhook":            {path: "/v1/webhooks/<webhook>", ok: 200, may: masters},
		"changeWebhook":         {path: "/v1/webhooks/<webhook>", body: `{"enabled":false}`, ok: 200, may: masters},
		"deleteWebhook":         {path: "/v1/webhooks/<webhook>", ok: 204, may: masters},
		"rotateWebhookSecret":   {path: "/v1/webhooks/<webhook>/rotate-secret", body: `{"overlap_seconds":0}`, ok: 200, may: masters},
		"testWebhook":           {path: "/v1/webhooks/<webhook>/test", body: `{}`, ok: 202, may: masters},
		"listWebhookDeliveries": {path: "/v1/webhooks/<webhook>/deliveries", ok: 200, may: masters},
		"replayWebhook":         {path: "/v1/webhooks/<webhook>/replay", body: `{"since":"2026-01-01T00:00:00Z"}`, ok: 202, may: masters},
		"replayWebhookDelivery": {path: "/v1/webhook-deliveries/<delivery>/replay", body: `{}`, ok: 202, may: masters},
		"listMails":             {path: "/v1/mails", ok: 200, may: masters + " architect"},
		"getMail":               {path: "/v1/mails/<mail>", ok: 200, may: masters + " architect"},
		"sendTestMail":          {path: "/v1/mails/test", body: `{}`, ok: 202, may: masters},

		"listOrganizations":     {path: "/v1/organizations", ok: 200, may: administrator + " security operations architect support"},
		"createOrganization":    {path: "/v1/organizations", body: `{"name":"x","slug":"new-<number>","plan":"starter","owner":{"email":"n<number>@new.example","name":"n"}}`, ok: 201, may: administrator},
		"getOrganization":       {path: "/v1/organizations/<organization>", ok: 200, may: administrator + " security operations architect support"},
		"changeOrganization":    {path: "/v1/organizations/<organization>", body: `{"name":"y"}`, ok: 200, may: administrator},
		"suspendOrganization":   {path: "/v1/organizations/<organization>/suspend", body: `{"reason":"x"}`, ok: 200, may: administrator + " security"},
		"activateOrganization":  {path: "/v1/organizations/<organization>/activate", body: `{"reason":"x"}`, ok: 200, may: administrator + " security"},
		"closeOrganization":     {path: "/v1/organizations/<organization>/close", body: `{"reason":"x"}`, ok: 200, may: administrator},
		"getOrganizationModels": {path: "/v1/organizations/<organization>/models", ok: 200, may: administrator + " security operations architect support"},
		"putOrganizationModels": {path: "/v1/organizations/<organization>/models", body: `{"allowed":null,"granted":[]}`, ok: 200, may: administrator},
		"revokeOrganizationKey": {path: "/v1/organizations/<organization>/keys/key_01a20d00000070008000000000000000/revoke", body: `{"reason":"x"}`, ok: 404, may: administrator + " security"},
		"listPlans":             {path: "/v1/plans", ok: 200, may: administrator + " security architect"},
		"putPlan":               {path: "/v1/plans/plan-<number>", body: `{"name":"x","limits":{"requests_per_minute":0,"tokens_per_minute":0,"concurrent_requests":0,"key_requests_per_minute":0,"key_tokens_per_minute":0,"key_concurrent_requests":0},"max_members":0,"max_projects":0,"max_keys":0}`, ok: 200, may: administrator},
		"deletePlan":            {path: "/v1/plans/<plan>", ok: 204, may: administrator},

		"getOwnOrganization":    {path: "/v1/organization", ok: 200, may: masters + " architect"},
		"changeOwnOrganization": {path: "/v1/organization", body: `{"settings":{"key_max_days":0}}`, ok: 200, may: masters},
		// Without the word of confirmation nothing is deleted, and who may is told so.
		"deleteOwnOrganization": {path: "/v1/organization?confirm=nonsense", ok: 422, may: "owner"},

		"listMembers":      {path: "/v1/members", ok: 200, may: masters + " security", narrow: "manager"},
		"getMember":        {path: "/v1/members/<member>", ok: 200, may: masters + " security", narrow: "manager"},
		"addMember":        {path: "/v1/members", body: `{"email":"m<number>@new.example","role":"<lowest>"}`, ok: 201, may: masters},
		"changeMember":     {path: "/v1/members/<member>", body: `{"role":"<lowest>"}`, ok: 200, may: masters},
		"suspendMember":    {path: "/v1/members/<member>/suspend", body: `{"reason":"x"}`, ok: 200, may: masters},
		"reactivateMember": {path: "/v1/members/<member>/reactivate", body: `{}`, ok: 200, may: masters},
		"removeMember":     {path: "/v1/members/<member>", ok: 200, may: masters},

		"listMemberSessions": {path: "/v1/members/<member>/sessions", ok: 200, may: masters + " security"},
		"endMemberSessions":  {path: "/v1/members/<member>/sessions", ok: 200, may: masters},

		"listInvitations":    {path: "/v1/invitations", ok: 200, may: masters + " security"},
		"getInvitation":      {path: "/v1/invitations/<invitation>", ok: 200, may: masters + " security"},
		"inviteMember":       {path: "/v1/invitations", body: `{"email":"i<number>@new.example","role":"<lowest>"}`, ok: 201, may: masters},
		"resendInvitation":   {path: "/v1/invitations/<invitation>/resend", body: `{}`, ok: 200, may: masters},
		"withdrawInvitation": {path: "/v1/invitations/<invitation>", ok: 204, may: masters},

		"listSsoDomains":  {path: "/v1/sso/domains", ok: 200, may: masters + " architect"},
		"addSsoDomain":    {path: "/v1/sso/domains", body: `{"domain":"d<number>.example"}`, ok: 201, may: masters},
		"getSsoDomain":    {path: "/v1/sso/domains/<domain>", ok: 200, may: masters + " architect"},
		"verifySsoDomain": {path: "/v1/sso/domains/<domain>/verify", body: `{}`, ok: 200, may: masters},
		"removeSsoDomain": {path: "/v1/sso/domains/<domain>", ok: 204, may: masters},
		// Nothing listens to the issuer's name here: who may make a connection is told so.
		"listSsoConnections":  {path: "/v1/sso/connections", ok: 200, may: masters + " architect"},
		"createSsoConnection": {path: "/v1/sso/connections", body: `{"name":"x","issuer":"https://127.0.0.1","client_id":"x"}`, ok: 422, may: masters},
		"getSsoConnection":    {path: "/v1/sso/connections/<connection>", ok: 200, may: masters + " architect"},
		"changeSsoConnection": {path: "/v1/sso/connections/<connection>", body: `{"required":true,"trust_mfa":true}`, ok: 200, may: masters},
		"deleteSsoConnection": {path: "/v1/sso/connections/<connection>", ok: 204, may: masters},
		"listSsoIdentities":   {path: "/v1/sso/identities", ok: 200, may: masters + " security"},
		"unlinkSsoIdentity":   {path: "/v1/sso/identities/<identity>", ok: 204, may: masters},

		"listServiceAccounts":      {path: "/v1/service-accounts", ok: 200, may: masters + " security"},
		"getServiceAccount":        {path: "/v1/service-accounts/<account>", ok: 200, may: masters + " security"},
		"createServiceAccount":     {path: "/v1/service-accounts", body: `{"name":"new <number>","role":"<lowest>"}`, ok: 201, may: masters},
		"changeServiceAccount":     {path: "/v1/service-accounts/<account>", body: `{"description":"y"}`, ok: 200, may: masters},
		"suspendServiceAccount":    {path: "/v1/service-accounts/<account>/suspend", body: `{"reason":"x"}`, ok: 200, may: masters},
		"reactivateServiceAccount": {path: "/v1/service-accounts/<account>/reactivate", body: `{}`, ok: 200, may: masters},
		"deleteServiceAccount":     {path: "/v1/service-accounts/<account>", ok: 200, may: masters},

		"listClientSecrets":  {path: "/v1/service-accounts/<account>/client-secrets", ok: 200, may: masters + " security"},
		"createClientSecret": {path: "/v1/service-accounts/<account>/client-secrets", ok: 201, may: masters},
		"deleteClientSecret": {path: "/v1/service-accounts/<account>/client-secrets/<secret>", ok: 404, may: masters}, // it is another account's

		"listRoles":  {path: "/v1/roles", ok: 200, may: masters + " security"},
		"getRole":    {path: "/v1/roles/<role>", ok: 200, may: masters + " security"},
		"createRole": {path: "/v1/roles", body: `{"name":"new <number>","permissions":["models.read"],"reach":"own"}`, ok: 201, house: 422, may: masters},
		"changeRole": {path: "/v1/roles/<role>", body: `{"description":"y"}`, ok: 200, may: masters},
		"deleteRole": {path: "/v1/roles/<role>", ok: 204, may: masters},

		"listProjects":        {path: "/v1/projects", ok: 200, may: masters + " finance analyst", narrow: "manager developer"},
		"getProject":          {path: "/v1/projects/<project>", ok: 200, may: masters + " finance analyst", narrow: "manager developer"},
		"createProject":       {path: "/v1/projects", body: `{"name":"new <number>"}`, ok: 201, may: masters},
		"changeProject":       {path: "/v1/projects/<project>", body: `{"description":"y"}`, ok: 200, may: masters},
		"archiveProject":      {path: "/v1/projects/<project>/archive", body: `{}`, ok: 200, may: masters},
		"restoreProject":      {path: "/v1/projects/<project>/restore", body: `{}`, ok: 200, may: masters},
		"listProjectMembers":  {path: "/v1/projects/<project>/members", ok: 200, may: masters + " security", narrow: "manager"},
		"setProjectMember":    {path: "/v1/projects/<project>/members/<account>", body: `{"role":"viewer"}`, ok: 200, may: masters, narrow: "manager"},
		"removeProjectMember": {path: "/v1/projects/<project>/members/<account>", ok: 404, may: masters, narrow: "manager"},

		"getMe":                {path: "/v1/me", ok: 200, may: everyone},
		"signOut":              {path: "/v1/sign-out", ok: 204, may: ""}, // sessions are a person's own
		"listSessions":         {path: "/v1/sessions", ok: 200, may: ""},
		"endSession":           {path: "/v1/sessions/ses_x", ok: 204, may: ""},
		"endOtherSessions":     {path: "/v1/sessions", ok: 200, may: ""},
		"switchOrganization":   {path: "/v1/session/organization", body: `{"organization_id":"x"}`, ok: 200, may: ""},
		"getFactors":           {path: "/v1/me/factors", ok: 200, may: ""}, // second factors are a person's own too
		"startTotp":            {path: "/v1/me/totp", ok: 200, may: ""},
		"confirmTotp":          {path: "/v1/me/totp/confirm", body: `{"code":"000000"}`, ok: 200, may: ""},
		"deleteTotp":           {path: "/v1/me/totp", ok: 204, may: ""},
		"replaceRecoveryCodes": {path: "/v1/me/recovery-codes", ok: 200, may: ""},
		"startPasskey":         {path: "/v1/me/passkeys/options", ok: 200, may: ""},
		"addPasskey":           {path: "/v1/me/passkeys", body: `{"ceremony":"x","name":"x","credential":{}}`, ok: 201, may: ""},
		"listPasskeys":         {path: "/v1/me/passkeys", ok: 200, may: ""},
		"renamePasskey":        {path: "/v1/me/passkeys/pk_x", body: `{"name":"x"}`, ok: 200, may: ""},
		"deletePasskey":        {path: "/v1/me/passkeys/pk_x", ok: 204, may: ""},

		"changeMe":         {path: "/v1/me", body: `{"time_zone":"UTC"}`, ok: 200, may: ""}, // a person's own; these callers come by keys
		"changePassword":   {path: "/v1/me/password", body: `{"current_password":"x","new_password":"y"}`, ok: 200, may: ""},
		"stepUpBySso":      {path: "/v1/session/step-up/sso", body: `{}`, ok: 200, may: ""},
		"stepUp":           {path: "/v1/session/step-up", body: `{"password":"x"}`, ok: 200, may: ""},
		"askStepUpPasskey": {path: "/v1/session/step-up/options", body: `{}`, ok: 200, may: ""},
		// Programs are let in by people at their browsers.
		"getOAuthRequest":     {path: "/v1/oauth/requests/areq_x", ok: 200, may: ""},
		"approveOAuthRequest": {path: "/v1/oauth/requests/areq_x/approve", ok: 200, may: ""},
		"denyOAuthRequest":    {path: "/v1/oauth/requests/areq_x/deny", ok: 200, may: ""},
		"getOAuthDevice":      {path: "/v1/oauth/device/BCDFGHJK", ok: 200, may: ""},
		"approveOAuthDevice":  {path: "/v1/oauth/device/BCDFGHJK/approve", ok: 204, may: ""},
		"denyOAuthDevice":     {path: "/v1/oauth/device/BCDFGHJK/deny", ok: 204, may: ""},

		"evaluatePolicy":  {path: "/v1/policy/evaluate", body: `{"action":"keys.create"}`, ok: 200, may: everyone},
		"listPermissions": {path: "/v1/policy/permissions", ok: 200, may: everyone},
	}
}

// route is a route of the catalogue with its row in the table.
type route struct {
	function.Route
	right
}

// routes lists the routes that are not public, and holds the table to the catalogue.
func routes(t *testing.T) []route {
	t.Helper()
	table, known := rights(), map[string]bool{}
	var list []route
	for _, e := range functions.Catalogue() {
		for _, r := range e.Spec.Routes {
			known[r.OperationID] = true
			row, ok := table[r.OperationID]
			switch {
			case slices.Contains(public, r.OperationID):
				if r.Scope != "" || ok {
					t.Errorf("%s is listed as public", r.OperationID)
				}
			case r.Scope == "":
				t.Errorf("%s asks nobody who he is, and is not listed as public", r.OperationID)
			case !ok:
				t.Errorf("%s %s (%s) is not in the table: say who may do it", r.Method, r.Path, r.OperationID)
			default:
				list = append(list, route{r, row})
			}
		}
	}
	for op := range table {
		if !known[op] {
			t.Errorf("the table has %s, and the catalogue has not", op)
		}
	}
	return list
}

// about reports whether the route is about a thing of an organisation, rather than
// of the platform.
func (r route) about() bool {
	for _, kind := range []string{"<number>", "<model>", "<backend>", "<organization>", "<plan>"} {
		if strings.Contains(r.path, kind) {
			return false
		}
	}
	return strings.Contains(r.path, "<")
}

// want is what a caller of the role is answered, about his own organisation or
// about another.
func (r route) want(role authz.Role, foreign bool) int {
	has := func(set string) bool { return slices.Contains(strings.Fields(set), string(role)) }
	switch {
	case has(r.may) && role.OfPlatform() && r.house != 0:
		return r.house
	case has(r.may) && (!foreign || !r.about()):
		return r.ok
	case has(r.may), has(r.narrow) && r.about():
		return http.StatusNotFound
	case has(r.narrow):
		return r.ok
	}
	return http.StatusForbidden
}

// caller is somebody who asks.
type caller struct {
	org  *org
	role authz.Role
}

func (p *platform) callers() []caller {
	var list []caller
	for _, o := range []*org{p.one, p.house} {
		for _, role := range append(append(authz.OrganizationRoles(), authz.Custom), authz.PlatformRoles()...) {
			if o.keys[role] != "" {
				list = append(list, caller{o, role})
			}
		}
	}
	return list
}

// TestEveryRouteForEveryRole asks every route, as every role, about the first
// organisation, which is the callers' own or, for those of the platform, is not.
func TestEveryRouteForEveryRole(t *testing.T) {
	p := start(t)
	asked := 0
	for _, r := range routes(t) {
		for _, c := range p.callers() {
			asked++
			target, body := p.fill(r.path, p.one), p.fill(r.body, c.org)
			w := p.do(r.Method, target, c.org.keys[c.role], body)
			if want := r.want(c.role, c.org != p.one); w.Code != want {
				t.Errorf("%s %s as %s: %d; want %d: %.300s", r.Method, r.path, c.role, w.Code, want, w.Body)
			}
			p.leaksNothing(r, c, w.Body.String())
		}
	}
	t.Logf("%d questions", asked)
}

// TestEveryRouteAboutAForeignOrganisation asks every route about things of the second
// organisation: they are not there, whatever the role.
func TestEveryRouteAboutAForeignOrganisation(t *testing.T) {
	p := start(t)
	asked := 0
	for _, r := range routes(t) {
		if !r.about() {
			continue
		}
		target := p.fill(r.path, p.two)
		for _, c := range p.callers() {
			asked++
			w := p.do(r.Method, target, c.org.keys[c.role], p.fill(r.body, c.org))
			if want := r.want(c.role, true); w.Code != want {
				t.Errorf("%s %s of another as %s: %d; want %d: %.300s", r.Method, r.path, c.role, w.Code, want, w.Body)
			}
			p.leaksNothing(r, c, strings.ReplaceAll(w.Body.String(), target, ""))
		}
	}
	t.Logf("%d questions", asked)
}

// leaksNothing holds that an answer has nothing of the second organisation, neither
// in texts nor in figures. The platform's own people may see organisations.
func (p *platform) leaksNothing(r route, c caller, body string) {
	p.t.Helper()
	if c.org == p.house && r.Scope == string(authz.Platform) {
		return
	}
	for _, mark := range p.marks() {
		if strings.Contains(body, mark) {
			p.t.Errorf("%s %s as %s leaks %q: %.400s", r.Method, r.path, c.role, mark, body)
			return
		}
	}
}

// TestNobodyIsServedWithoutAKey asks every route as nobody, as somebody suspended and
// with the key of one who was removed.
func TestNobodyIsServedWithoutAKey(t *testing.T) {
	p := start(t)
	suspended := p.two.keys[authz.Admin]
	p.exec(`UPDATE accounts.members SET status = 'suspended' WHERE org_id = '%s' AND user_id = '%s'`, p.two.id, p.two.users[authz.Admin])
	removed := p.two.keys[authz.Developer]
	p.exec(`DELETE FROM accounts.members WHERE org_id = '%s' AND user_id = '%s'`, p.two.id, p.two.users[authz.Developer])
	for _, r := range routes(t) {
		target := p.fill(r.path, p.two)
		var answers []string
		for name, key := range map[string]string{"nobody": "", "a suspended member": suspended, "a removed member": removed} {
			w := p.do(r.Method, target, key, p.fill(r.body, p.two))
			if w.Code != http.StatusUnauthorized {
				t.Errorf("%s %s as %s: %d; want 401", r.Method, r.path, name, w.Code)
			}
			answers = append(answers, w.Header().Get("Www-Authenticate")+withoutID(w.Body.String(), w.Header().Get("X-Request-Id")))
		}
		if slices.Sort(answers); len(slices.Compact(answers)) != 1 {
			t.Errorf("%s %s tells apart who is refused: %v", r.Method, r.path, answers)
		}
	}
}

func withoutID(body, requestID string) string { return strings.ReplaceAll(body, requestID, "") }
