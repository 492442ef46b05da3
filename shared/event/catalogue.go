package event

import (
	"slices"
	"strings"

	"github.com/aiaas/aiaas/shared/audit"
)

// Type is one line of the catalogue of events.
type Type struct {
	Name        string // "key.created"
	Object      string // the kind of what it happens to: "api_key"
	Description string
	Fields      []Field // what data.detail may have
}

// Field is a member of data.detail. It is left out where it does not apply.
type Field struct {
	Name        string
	Description string
}

// source is a type, and the action of the records that it is made from.
type source struct {
	Type
	action string
	// where, if set, must hold of the record's details: one action may be several
	// events.
	where func(detail map[string]any) bool
}

// Types lists the catalogue, by name.
func Types() []Type {
	var out []Type
	for _, s := range sources() {
		if !slices.ContainsFunc(out, func(t Type) bool { return t.Name == s.Name }) {
			out = append(out, s.Type)
		}
	}
	slices.SortFunc(out, func(a, b Type) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// typeOf is the type of event that a record is.
func typeOf(r audit.Record) (Type, bool) {
	for _, s := range sources() {
		if s.action == r.Action && (s.where == nil || s.where(r.Detail)) {
			return s.Type, true
		}
	}
	return Type{}, false
}

// Mapped reports whether records of the action can be events.
func Mapped(action string) bool {
	return slices.ContainsFunc(sources(), func(s source) bool { return s.action == action })
}

// Unannounced lists the audited actions that are no events: drafts and refusals,
// acts of the platform's operators that nobody integrates with, and what only the
// audit is asked about.
func Unannounced() []string {
	return []string{
		"access.deny", "auth.fail", // refusals
		"session.begin", "session.prove", "session.end", // too many, and of one person
		"totp.start", "totp.confirm", "totp.delete", "passkey.create", "passkey.update", "passkey.delete", "passkey.refuse", // of one person,
		"recovery_codes.replace", "recovery_code.use", "password.change", "password.reset", // who is told by mail
		"invoice.draft",                                            // not an invoice yet
		"job.start", "seller.update", "plan.change", "plan.delete", // the platform's own
		"mail.test",
		"invitation.resend",         // the same invitation once more
		"profile.update",            // a person's own
		"oauth.grant", "oauth.deny", // a person's own
		"sso.domain_add",                           // says nothing yet
		"sso.link", "sso.role_kept", "sso.refused", // of one person, each time that he signs in
	}
}

// Names of types that the platform itself makes.
const (
	TypeTest      = "webhook.test"
	TypeThreshold = "budget.threshold_reached"
)

// TypeSuspended and TypeClosed are told also to an organisation that hears of
// nothing else any more.
const (
	TypeSuspended = "organization.suspended"
	TypeClosed    = "organization.closed"
)

// ActionThreshold is the action of the record that a budget has reached a
// threshold.
const ActionThreshold = "budget.threshold"

// ActionDisable is the action of the record that a webhook was given up.
const ActionDisable = "webhook.disable"

func sources() []source {
	return slices.Concat(keyTypes(), memberTypes(), organizationTypes(), budgetTypes(), billingTypes(), modelTypes(), webhookTypes(), ssoTypes())
}

func of(action, name, object, description string, fields ...Field) source {
	return source{Type: Type{Name: name, Object: object, Description: description, Fields: fields}, action: action}
}

func (s source) when(member string, is any) source {
	s.where = func(detail map[string]any) bool { return detail[member] == is }
	return s
}

func (s source) having(member string) source {
	s.where = func(detail map[string]any) bool { _, ok := detail[member]; return ok }
	return s
}

func keyTypes() []source {
	name, project := Field{"name", "The key's name."}, Field{"project_id", "The project that it belongs to."}
	reason := Field{"reason", "Why, where a reason was given."}
	return []source{
		of("key.create", "key.created", "api_key", "An API key was created.",
			name, project, Field{"scopes", "What it grants."}, Field{"environment", "production or development."},
			Field{"expires_at", "When it expires."}, Field{"kind", "personal or service."}, Field{"owner_id", "Whose it is."}),
		of("key.update", "key.updated", "api_key", "The settings of an API key were changed.", name, project, Field{"changed", "What was changed."}),
		of("key.rotate", "key.rotated", "api_key", "An API key got a new secret; the old one goes on to work for the stated overlap.",
			name, project, Field{"overlap_until", "Until when the old secret works."}),
		of("key.revoke", "key.revoked", "api_key", "An API key was revoked, and works no more.", name, project, reason),
		of("key.revoke_leaked", "key.leaked", "api_key", "Somebody reported the secret of an API key, and proved to have it: the key was revoked at once.",
			name, project, reason, Field{"source", "Where it was found, as the report says."}, Field{"owner_id", "Whose it is."}),
		of("key.transfer", "key.transferred", "api_key", "An API key acts for another owner: the one before was removed.",
			name, project, Field{"owner_id", "Whose it is."}, Field{"before", "Whose it was."}),
		of("key.suspend", "key.suspended", "api_key", "An API key was suspended.", name, project, reason),
		of("key.resume", "key.resumed", "api_key", "A suspended API key works again.", name, project, reason),
		of("key.expiring", "key.expiring", "api_key", "An API key is to be rotated, or expires, soon.",
			name, project, Field{"rotate_by", "When it is due to be rotated."}, Field{"expires_at", "When it expires."}),
	}
}

func ssoTypes() []source {
	domain, issuer := Field{"domain", "The domain."}, Field{"issuer", "The issuer's address."}
	name, required := Field{"name", "The connection's name."}, Field{"required", "Whether its people sign in by it only."}
	enabled, trust := Field{"enabled", "Whether it is in use."}, Field{"trust_mfa", "Whether a second factor that was shown to it counts."}
	return []source{
		of("sso.domain_verify", "sso_domain.verified", "sso_domain", "The organisation has shown that a domain is its own.", domain),
		of("sso.domain_remove", "sso_domain.removed", "sso_domain", "A domain was given up.", domain),
		of("sso.domain_lost", "sso_domain.lost", "sso_domain", "The DNS does not show any more that a domain is the organisation's own, or another one has shown that it is its own.", domain,
			Field{"why", "What happened."}),
		of("sso.connection_create", "sso_connection.created", "sso_connection", "An issuer is trusted with the organisation's people.", name, issuer, required, enabled, trust),
		of("sso.connection_update", "sso_connection.updated", "sso_connection", "How far an issuer is trusted was changed.", name, issuer, required, enabled, trust),
		of("sso.connection_delete", "sso_connection.deleted", "sso_connection", "An issuer is not trusted any more.", name, issuer),
		of("sso.unlink", "sso_identity.unlinked", "member", "The issuer's name for a member was forgotten.", Field{"connection", "The connection."}),
	}
}

func memberTypes() []source {
	role, reason := Field{"role", "The role in the organisation."}, Field{"reason", "Why, where a reason was given."}
	project := Field{"project_id", "The project."}
	keys, count := Field{"keys", "What became of the keys: revoked or transferred."}, Field{"key_count", "How many those were."}
	heir := Field{"transferred_to", "The member or service account that has them now."}
	return []source{
		of("member.add", "member.added", "member", "Somebody became a member of the organisation.", role,
			Field{"invitation_id", "The invitation that was accepted, where there was one."}),
		of("invitation.create", "invitation.created", "invitation", "Somebody was invited to the organisation.", role, Field{"expires_at", "Until when it can be accepted."}),
		of("invitation.accept", "invitation.accepted", "invitation", "An invitation was accepted.", role, Field{"member_id", "Who became a member."}),
		of("invitation.withdraw", "invitation.withdrawn", "invitation", "An invitation was withdrawn: its link works no more.", role),
		of("invitation.expire", "invitation.expired", "invitation", "An invitation was not accepted in time.", role),
		of("member.role_change", "member.role_changed", "member", "A member got another role.", role, Field{"before", "The role before."}),
		of("member.suspend", "member.suspended", "member", "A member was suspended.", reason),
		of("member.reactivate", "member.reactivated", "member", "A suspended member is active again."),
		of("member.update", "member.updated", "member", "What the organisation calls a member was changed."),
		of("member.remove", "member.removed", "member", "A member left or was removed.", role, keys, count, heir),
		of("service_account.create", "service_account.created", "service_account", "A service account was created.", role, Field{"name", "Its name."}),
		of("service_account.update", "service_account.updated", "service_account", "A service account was changed.", role, Field{"name", "Its name."}),
		of("service_account.role_change", "service_account.role_changed", "service_account", "A service account got another role.", role, Field{"before", "The role before."}),
		of("service_account.suspend", "service_account.suspended", "service_account", "A service account was suspended.", reason),
		of("service_account.reactivate", "service_account.reactivated", "service_account", "A suspended service account is active again."),
		of("client_secret.create", "client_secret.created", "client_secret", "A service account got a client secret.", Field{"service_account_id", "Whose it is."}),
		of("client_secret.delete", "client_secret.deleted", "client_secret", "A client secret was deleted.", Field{"service_account_id", "Whose it was."}),
		of("oauth.refresh_reuse", "oauth.refresh_reused", "session", "A refresh token was shown twice, so its session was ended: somebody may have stolen it.", Field{"client", "The program that held it."}),
		of("oauth.code_reuse", "oauth.code_reused", "authorization", "An authorization code was shown twice, so what came of it was ended: somebody may have stolen it.", Field{"client", "The program that it was for."}, Field{"session_id", "The session that was ended, where one had begun."}),
		of("service_account.delete", "service_account.deleted", "service_account", "A service account was deleted.", role, keys, count, heir),
		of("role.create", "role.created", "role", "A role was created.", Field{"name", "Its name."}),
		of("role.update", "role.updated", "role", "A role was changed.", Field{"name", "Its name."}),
		of("role.delete", "role.deleted", "role", "A role was deleted.", Field{"name", "Its name."}),
		of("project_member.set", "project.member_set", "member", "A member got a role in a project.", project, role),
		of("project_member.remove", "project.member_removed", "member", "A member left a project.", project),
	}
}

func organizationTypes() []source {
	name, reason := Field{"name", "Its name."}, Field{"reason", "Why, where a reason was given."}
	return []source{
		of("organization.create", "organization.created", "organization", "The organisation was created.", name, Field{"plan", "Its plan."}),
		of("organization.change", "organization.plan_changed", "organization", "The organisation is on another plan.",
			Field{"plan", "The plan."}, Field{"plan_before", "The plan before."}, Field{"changed", "What was changed."}).having("plan"),
		of("organization.change", "organization.updated", "organization", "The organisation or its settings were changed.", Field{"changed", "What was changed."}),
		of("entitlement.change", "organization.models_changed", "organization", "Other models can be used than before.", Field{"changed", "Which of the lists."}),
		of("organization.suspend", TypeSuspended, "organization", "The organisation was suspended: its keys do not work.", reason),
		of("organization.activate", "organization.activated", "organization", "The organisation is active again.", reason),
		of("organization.close", TypeClosed, "organization", "The organisation was closed.", reason),
		of("organization.delete", TypeClosed, "organization", "The organisation was closed.", reason),
		of("project.create", "project.created", "project", "A project was created.", name),
		of("project.change", "project.updated", "project", "A project was changed.", name, Field{"changed", "What was changed."}),
		of("project.archive", "project.archived", "project", "A project was archived.", name),
		of("project.restore", "project.restored", "project", "An archived project was restored.", name),
	}
}

func budgetTypes() []source {
	settings := []Field{
		{"scope", "What the budget applies to."}, {"unit", "money, tokens or requests."}, {"amount", "A decimal, in the unit."},
		{"period", "The length of its window."}, {"action", "monitor, warn or block."}, {"thresholds", "In percent."},
		{"currency", "Of a budget of money."},
	}
	return []source{
		of("budget.create", "budget.created", "budget", "A budget was created.", settings...),
		of("budget.change", "budget.changed", "budget", "A budget was changed.",
			Field{"before", "Its settings before."}, Field{"after", "Its settings now."}),
		of("budget.delete", "budget.deleted", "budget", "A budget was deleted."),
		of(ActionThreshold, TypeThreshold, "budget",
			"A budget reached one of its thresholds: once for each threshold and window. A budget that blocks has also reached 100 when a request was denied because of it.",
			Field{"alert_id", "Of the alert, as in the budget's list of alerts."}, Field{"threshold", "The percentage that was reached."},
			Field{"unit", "money, tokens or requests."}, Field{"spent", "What was booked in the window, a decimal in the unit."},
			Field{"amount", "The budget's amount, a decimal in the unit."}, Field{"currency", "Of a budget of money."},
			Field{"action", "monitor, warn or block."}, Field{"window_start", "The window's first moment."}, Field{"window_end", "The window's end, not part of it."}),
	}
}

func billingTypes() []source {
	figures := []Field{
		{"number", "Its number."}, {"period", "The month that it bills."},
		{"currency", "Of its total."}, {"total", "A decimal of the currency."},
	}
	return []source{
		of("invoice.issue", "invoice.issued", "invoice", "An invoice was issued.", figures...),
		of("billing.update", "billing.updated", "organization", "The billing profile of the organisation was changed."),
	}
}

func modelTypes() []source {
	model := Field{"model", "The model."}
	return []source{
		of("model.create", "model.created", "model", "A model was added to the catalogue."),
		of("model.update", "model.disabled", "model", "A model was disabled.").when("disabled", true),
		of("model.update", "model.enabled", "model", "A disabled model can be called again.").when("disabled", false),
		of("model.update", "model.updated", "model", "A model was changed."),
		of("backend.create", "backend.created", "backend", "A backend was added to a model.", model),
		of("backend.update", "backend.updated", "backend", "A backend was changed.", Field{"disabled", "Whether it is drained."}, Field{"weight", "Its weight."}),
		of("price.publish", "price.published", "price", "A price was published.",
			model, Field{"price_book", "The price book."}, Field{"effective_from", "From when it counts."},
			Field{"input", "Per million tokens."}, Field{"cached_input", "Per million tokens."}, Field{"output", "Per million tokens."}),
	}
}

func webhookTypes() []source {
	address := Field{"url", "Where it posts to."}
	return []source{
		of("webhook.create", "webhook.created", "webhook", "A webhook was created.", address, Field{"events", "The types that it takes."}),
		of("webhook.update", "webhook.updated", "webhook", "A webhook was changed.", address, Field{"events", "The types that it takes."}, Field{"enabled", "Whether it is posted to."}),
		of("webhook.rotate_secret", "webhook.secret_rotated", "webhook", "A webhook got a new secret; the old one signs as well until the stated time.",
			Field{"overlap_until", "Until when the old secret signs."}),
		of("webhook.delete", "webhook.deleted", "webhook", "A webhook was deleted.", address),
		of(ActionDisable, "webhook.disabled", "webhook", "A webhook was given up: its receiver wants no more, or has failed for days.",
			address, Field{"reason", "Why."}),
		of("webhook.test", TypeTest, "webhook", "Asked for, to try a webhook. It goes to that webhook only, whatever types it takes."),
		of("webhook.replay", "webhook.replayed", "webhook", "Events were asked to be delivered again.", Field{"since", "From when on."}, Field{"deliveries", "How many."}),
	}
}
