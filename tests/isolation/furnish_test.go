package isolation_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/id"
)

// furnish gives each organisation what routes list, with names that tell whose it is.
func (p *platform) furnish() {
	p.t.Helper()
	p.exec(`INSERT INTO router.models (model_id, owned_by, max_output_tokens, created_at) VALUES ('m', 'aiaas', 100, now())`)
	for i, o := range []*org{p.one, p.two} {
		p.exec(`INSERT INTO accounts.audit_records (org_id, audit_id, at, actor, action, target, detail) VALUES ('%s', '%s', now(), 'actor of %s', 'key.create', 'key of %[3]s', '{}')`,
			o.id, id.New(id.Audit), o.name)
		n := []int{3, 771771771}[i] // what the second has is found in no figure of the first
		p.exec(`INSERT INTO analytics.usage_minutes VALUES ('%[1]s', date_trunc('minute', now() - interval '1 hour'), date_trunc('month', now() - interval '1 hour')::date,
				'%[2]s', 'key_of_%[3]s', 'model-of-%[3]s', 'USD', %[4]d, %[4]d, 0, %[4]d, %[4]d)`, o.id, o.other, o.name, n)
		p.exec(`INSERT INTO router.access_log VALUES ('%[1]s', '%[5]s', now(), now(), 1, 'key_of_%[3]s', '%[2]s', 'model-of-%[3]s', '/v1/inference', 429, 'c', 'detail of %[3]s', '192.0.2.%[4]d', 'agent of %[3]s')`,
			o.id, o.other, o.name, i+1, id.New(id.Request))
		p.fixture("invitation", o)
	}
}

// marks are texts that only the second organisation has.
func (p *platform) marks() []string {
	marks := []string{p.two.id, p.two.home, p.two.other, "of two", "of-two", "of_two", "slug-two", "named two", "@two.example", "771771771"}
	for _, user := range p.two.users {
		marks = append(marks, user)
	}
	return marks
}

// create makes something through the API and returns its id.
func (p *platform) create(key, path, body string) string {
	p.t.Helper()
	w := p.do("POST", path, key, body)
	var out struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code/100 != 2 || out.ID == "" {
		p.t.Fatalf("POST %s %s: %d %s", path, body, w.Code, w.Body)
	}
	return out.ID
}

// fixture makes a new thing of a kind in an organisation, and returns its id. It
// belongs to nobody who asks, and to no project of theirs.
func (p *platform) fixture(kind string, o *org) string {
	p.t.Helper()
	n, owner := p.fresh(), o.keys[authz.Owner]
	switch kind {
	case "plan":
		p.exec(`INSERT INTO accounts.plans (plan_id, name) VALUES ('plan-%d', 'x')`, n)
		return fmt.Sprintf("plan-%d", n)
	case "number":
		return strconv.Itoa(n)
	case "key":
		keyID, _ := postgrestest.KeyOf(p.t, p.url, postgrestest.Ownership{Org: o.id, Project: o.other, Owner: postgrestest.ServiceAccount(p.t, p.url, o.id, authz.Developer)}, authz.Inference)
		return keyID
	case "budget":
		return p.create(owner, "/v1/budgets", `{"scope":{"project_id":"`+o.other+`"},"unit":"money","amount":"1","period":"month","action":"monitor"}`)
	case "project":
		return p.create(owner, "/v1/projects", fmt.Sprintf(`{"name":"project %d of %s"}`, n, o.name))
	case "member":
		return p.create(owner, "/v1/members", fmt.Sprintf(`{"email":"new%d@%s.example","name":"new of %s","role":"developer"}`, n, o.name, o.name))
	case "account":
		return p.create(owner, "/v1/service-accounts", fmt.Sprintf(`{"name":"account %d of %s","role":"developer"}`, n, o.name))
	case "role":
		return p.create(owner, "/v1/roles", fmt.Sprintf(`{"name":"role %d of %s","permissions":["keys.read"],"reach":"own"}`, n, o.name))
	case "webhook":
		p.exec(`TRUNCATE accounts.webhooks CASCADE`) // there is a most of them
		hook := p.create(owner, "/v1/webhooks", fmt.Sprintf(`{"url":"https://hook%d.%s.example/","description":"hook of %s","events":["*"]}`, n, o.name, o.name))
		return hook
	case "organization":
		return p.create(p.house.keys[authz.SystemAdministrator], "/v1/organizations",
			fmt.Sprintf(`{"name":"tenant %d","slug":"tenant-%d","plan":"starter","owner":{"email":"o%d@tenant.example","name":"o"}}`, n, n, n))
	case "model":
		return p.create(p.house.keys[authz.SystemAdministrator], "/v1/models", fmt.Sprintf(`{"id":"model-%d"}`, n))
	}
	return p.row(kind, o)
}

// row is a fixture that no route makes.
func (p *platform) row(kind string, o *org) string {
	p.t.Helper()
	one := func(sql string, args ...any) string {
		return postgrestest.Scalar(p.t, p.url, fmt.Sprintf(sql, args...))
	}
	switch kind {
	case "request":
		return one(`SELECT request_id FROM router.access_log WHERE org_id = '%s' LIMIT 1`, o.id)
	case "audit":
		return one(`SELECT audit_id FROM accounts.audit_records WHERE org_id = '%s' LIMIT 1`, o.id)
	case "invoice":
		inv := id.New(id.Invoice)
		period := fmt.Sprintf("%04d-01-01", 1900+p.fresh())
		p.exec(`INSERT INTO analytics.invoices VALUES ('%s', '%s', '%s', 'USD', 'UTC', 1, 1, 0, 1, 1, 0, 'draft', now())`, o.id, inv, period)
		return inv
	case "mail":
		mail := id.New("mail")
		p.exec(`INSERT INTO accounts.mails (org_id, mail_id, kind, recipient, data, created_at, next_attempt_at, dedupe_key)
			VALUES ('%s', '%s', 'key.created', 'tech@%s.example', '{}', now(), now(), '%s')`, o.id, mail, o.name, mail)
		return mail
	case "invitation":
		invitation := id.New(id.Invitation)
		p.exec(`INSERT INTO accounts.invitations (org_id, invitation_id, email, name, role, token_hash, invited_by, inviter_id, sent_at, created_at, expires_at)
			VALUES ('%s', '%s', '%[2]s@new.example', 'guest of %s', '%s', sha256('%[2]s'), 'key_x', 'user_x', now() - interval '2 hours', now(), now() + interval '1 day')`,
			o.id, invitation, o.name, p.fill("<lowest>", o))
		return invitation
	case "domain":
		p.exec(`DELETE FROM accounts.sso_domains`) // there is a most of them
		domain := id.New(id.Domain)
		p.exec(`INSERT INTO accounts.sso_domains VALUES ('%s', '%s', 'd%d.%s.example', 'token of %[4]s', 'x', now(), now())`, o.id, domain, p.fresh(), o.name)
		return domain
	case "connection":
		connection := id.New(id.Connection)
		p.exec(`INSERT INTO accounts.sso_connections (org_id, connection_id, name, issuer, client_id, secret, required, trust_mfa, enabled, authority, created_by, created_at, updated_at)
			VALUES ('%s', '%s', 'connection of %s', 'https://login.%[3]s.example', 'c', '', false, false, true, 'owner', 'x', now(), now())`, o.id, connection, o.name)
		return connection
	case "identity":
		connection, identity, user := p.row("connection", o), id.New(id.Identity), id.New(id.User)
		p.exec(`INSERT INTO accounts.users (user_id, email, created_at) VALUES ('%[3]s', '%[3]s@%[5]s.example', now());
			INSERT INTO accounts.sso_identities (org_id, identity_id, connection_id, subject, user_id, created_at, seen_at)
			VALUES ('%[1]s', '%[2]s', '%[4]s', 'subject of %[5]s', '%[3]s', now(), now())`, o.id, identity, user, connection, o.name)
		return identity
	case "secret":
		account, secret := p.fixture("account", o), id.New(id.ClientSecret)
		p.exec(`INSERT INTO accounts.client_secrets (org_id, secret_id, account_id, hash, hint, created_by, seen_by, created_at)
			VALUES ('%s', '%s', '%s', sha256('%[2]s'), 'of %s', 'x', '{x}', now())`, o.id, secret, account, o.name)
		return secret
	case "delivery":
		hook, event, delivery := p.fixture("webhook", o), id.New(id.Event), id.New(id.Delivery)
		p.exec(`INSERT INTO accounts.events VALUES ('%[1]s', '%[2]s', 'key.created', now(), 'key of %[5]s', '{}');
			INSERT INTO accounts.webhook_deliveries (org_id, delivery_id, webhook_id, event_id, next_at, created_at) VALUES ('%[1]s', '%[3]s', '%[4]s', '%[2]s', now(), now())`,
			o.id, event, delivery, hook, o.name)
		return delivery
	case "backend":
		model := p.fixture("model", o)
		backend := id.New(id.Backend)
		p.exec(`INSERT INTO router.backends (backend_id, model_id, protocol, base_url, upstream_model, created_at) VALUES ('%s', '%s', 'openai', 'https://b.example/v1', 'u', now())`, backend, model)
		return backend
	}
	p.t.Fatalf("there is no fixture %q", kind)
	return ""
}

// fill puts fixtures of an organisation into a path or body: "<key>" is a new key,
// "<lowest>" a role that whoever gives roles there may give.
func (p *platform) fill(template string, o *org) string {
	p.t.Helper()
	for {
		a := strings.Index(template, "<")
		if a < 0 {
			return template
		}
		b := a + strings.Index(template[a:], ">")
		kind := template[a+1 : b]
		var what string
		switch {
		case kind != "lowest":
			what = p.fixture(kind, o)
		case o == p.house:
			what = string(authz.Support)
		default:
			what = string(authz.Developer)
		}
		template = template[:a] + what + template[b+1:]
	}
}
