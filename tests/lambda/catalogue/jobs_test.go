package catalogue_test

import (
	"fmt"
	"strings"

	"github.com/aiaas/aiaas/shared/invitation"
	"github.com/aiaas/aiaas/shared/mail"
	"github.com/aiaas/aiaas/shared/sso"
)

// peopleJobs has the effects of the jobs about people, their sessions and their grants.
func peopleJobs() map[string]effect {
	return map[string]effect{
		"identity/invitations": {
			(*platform).invitedLongAgo,
			`SELECT string_agg(invitation_id || ' ' || status, ', ' ORDER BY invitation_id) || ', ' ||
			        (SELECT count(*) FROM accounts.audit_records WHERE action = '` + invitation.ActionExpire + `' AND target = 'due') FROM accounts.invitations`,
			"days 89 accepted, days 91 withdrawn, due open, good open, 0", "days 89 accepted, due expired, good open, 1",
		},
		"identity/sso-domains": {
			(*platform).domainsToLookAt, // the DNS shows none of them
			`SELECT string_agg(name || CASE WHEN verified_at IS NULL THEN ' lost' ELSE ' missed ' || missed END, ', ' ORDER BY name) || ', ' ||
			        (SELECT count(*) FROM accounts.audit_records WHERE action = '` + sso.ActionDomainLost + `' AND target = 'dom_gone') FROM accounts.sso_domains`,
			"gone.example missed 2, late.example missed 2, once.example missed 0, 0", "gone.example lost, late.example missed 2, once.example missed 1, 1",
		},
		"signin/reset-mails": {
			(*platform).forgetful,
			`SELECT (SELECT count(*) FROM accounts.reset_requests) || ' asked, ' ||
			        (SELECT count(*) FROM accounts.reset_tokens t JOIN accounts.users u USING (user_id) WHERE u.email = 'plain@example.com') || ' links, ' ||
			        coalesce((SELECT string_agg(kind || ' to ' || recipient, ', ') FROM accounts.mails), 'no mail')`,
			"2 asked, 0 links, no mail", "0 asked, 1 links, " + string(mail.KindPasswordReset) + " to plain@example.com",
		},
		"signin/sign-in-prune": {(*platform).signedInLongAgo, leftOf(signInRows()), each(signInRows(), "live", "old"), each(signInRows(), "live")},
		"oauth/keys": {
			(*platform).signsForLong,
			`SELECT count(*) || ' keys, of which ' || count(*) FILTER (WHERE signs_at > now() + interval '23 hours') || ' sign tomorrow and ' ||
			        count(*) FILTER (WHERE ends_at > now() + interval '23 hours') || ' end after that' FROM accounts.oauth_keys`,
			"1 keys, of which 0 sign tomorrow and 0 end after that", "2 keys, of which 1 sign tomorrow and 1 end after that",
		},
		"oauth/prune": {(*platform).grantedLongAgo, leftOf(oauthRows()), each(oauthRows(), "live", "old"), each(oauthRows(), "live")},
	}
}

// row is a table with what says, of each of its rows, whether it is "old" or "live".
type row struct{ table, state string }

const byHash = `CASE %[1]s WHEN sha256('old') THEN 'old' WHEN sha256('live') THEN 'live' ELSE '' END`

func signInRows() []row {
	hashed := func(column string) string { return fmt.Sprintf(byHash, column) }
	return []row{
		{"ceremonies", "ceremony_id"}, {"known_devices", hashed("device")}, {"reset_requests", "request_id"}, {"reset_tokens", hashed("hash")},
		{"sessions", "session_id"}, {"sign_in_challenges", hashed("hash")}, {"throttles", hashed("bucket")}, {"totp", "totp_id"},
	}
}

func oauthRows() []row {
	return []row{
		{"oauth_attempts", "key"}, {"oauth_devices", "user_code"}, {"oauth_grants", "session_id"}, {"oauth_keys", "kid"},
		{"oauth_refresh_tokens", "session_id"}, {"oauth_requests", "request_id"},
	}
}

// leftOf asks which rows of some tables there are.
func leftOf(tables []row) string {
	var parts []string
	for _, r := range tables {
		parts = append(parts, fmt.Sprintf(`SELECT '%s' AS name, %s AS state FROM accounts.%[1]s`, r.table, r.state))
	}
	return `SELECT string_agg(name || ' ' || state, ', ' ORDER BY name, state) FROM (` + strings.Join(parts, " UNION ALL ") + `) rows WHERE state IN ('old', 'live')`
}

// each is what leftOf answers where each table has rows of some states.
func each(tables []row, states ...string) string {
	var parts []string
	for _, r := range tables {
		for _, s := range states {
			parts = append(parts, r.table+" "+s)
		}
	}
	return strings.Join(parts, ", ")
}

// invitedLongAgo leaves invitations at both sides of each bound.
func (p *platform) invitedLongAgo() {
	p.t.Helper()
	p.exec(fmt.Sprintf(`
		INSERT INTO accounts.invitations (org_id, invitation_id, email, role, token_hash, status, invited_by, inviter_id, sent_at, created_at, expires_at, ended_at, member_id)
		SELECT '%s', name, replace(name, ' ', '-') || '@example.com', 'developer', sha256(name::bytea), status, 'x', 'x', made, made, ends, ended, member FROM (VALUES
		  ('due', 'open', now() - interval '8 days', now() - interval '1 second', NULL::timestamptz, NULL),
		  ('good', 'open', now(), now() + interval '1 hour', NULL, NULL),
		  ('days 89', 'accepted', now() - interval '90 days', now(), now() - interval '89 days', 'x'),
		  ('days 91', 'withdrawn', now() - interval '92 days', now(), now() - interval '91 days', NULL)) v (name, status, made, ends, ended, member)`,
		p.keys.OrganizationID))
}

// domainsToLookAt leaves verified domains that were looked at longer ago than a day, and
// one that was not.
func (p *platform) domainsToLookAt() {
	p.t.Helper()
	p.exec(fmt.Sprintf(`
		INSERT INTO accounts.sso_domains (org_id, domain_id, name, token, created_by, created_at, verified_at, checked_at, missed)
		SELECT '%s', 'dom_' || name, name || '.example', 'token', 'x', now() - interval '9 days', now() - interval '9 days', now() - ago, missed FROM (VALUES
		  ('gone', interval '25 hours', 2), ('late', interval '23 hours', 2), ('once', interval '25 hours', 0)) v (name, ago, missed)`,
		p.keys.OrganizationID))
}

// forgetful asks for two links: for somebody, and for nobody.
func (p *platform) forgetful() {
	p.t.Helper()
	p.session(plain, "plain@example.com")
	p.exec(`INSERT INTO accounts.reset_requests (request_id, email, address, at) VALUES
		('rst_1', 'plain@example.com', '192.0.2.1', now()), ('rst_2', 'nobody@example.com', '192.0.2.1', now())`)
}

// signedInLongAgo leaves, of all that signing in keeps, something at both sides of its
// bound.
func (p *platform) signedInLongAgo() {
	p.t.Helper()
	old, live := p.session(stepper, "old@example.com"), p.session(plain, "live@example.com")
	for _, c := range []struct {
		state, user              string
		expiry, unseen           string
		asked, session, enrolled string
	}{
		{"old", old, "-1 second", "181 days", "61 minutes", "31 days", "16 minutes"},
		{"live", live, "1 hour", "179 days", "50 minutes", "29 days", "5 minutes"},
	} {
		p.exec(strings.NewReplacer("$org", p.keys.OrganizationID, "$state", c.state, "$user", c.user,
			"$expiry", c.expiry, "$unseen", c.unseen, "$asked", c.asked, "$session", c.session, "$enrolled", c.enrolled).Replace(`
			INSERT INTO accounts.ceremonies VALUES ('$state', '$user', 'prove', '{}', now(), now() + interval '$expiry');
			INSERT INTO accounts.known_devices VALUES (sha256('$user'), sha256('$state'), now(), now() - interval '$unseen');
			INSERT INTO accounts.reset_requests VALUES ('$state', '$state@example.com', '', now() - interval '$asked');
			INSERT INTO accounts.reset_tokens (hash, user_id, created_at, expires_at) VALUES (sha256('$state'), '$user', now(), now() + interval '$expiry');
			INSERT INTO accounts.sign_in_challenges (hash, user_id, purpose, detail, created_at, expires_at)
			VALUES (sha256('$state'), '$user', 'sign_in', '{}', now(), now() + interval '$expiry');
			INSERT INTO accounts.throttles VALUES (sha256('$state'), now() + interval '$expiry');
			INSERT INTO accounts.totp (user_id, totp_id, secret, created_at) VALUES ('$user', '$state', '', now() - interval '$enrolled');
			INSERT INTO accounts.sessions (org_id, session_id, holder_id, kind, means, mfa, proved_at, address, user_agent, created_at, seen_at, expires_at)
			VALUES ('$org', '$state', '$user', 'bearer', 'password', true, now(), '', '', now(), now(), now() - interval '$session')`))
	}
}

// signsForLong makes the first key, and lets it have signed until its successor is due.
func (p *platform) signsForLong() {
	p.t.Helper()
	p.job("oauth", "keys")
	p.exec(`UPDATE accounts.oauth_keys SET created_at = now() - interval '29 days 1 hour', signs_at = now() - interval '29 days 1 hour'`)
}

// grantedLongAgo leaves, of all that grants keep, something at both sides of its bound.
func (p *platform) grantedLongAgo() {
	p.t.Helper()
	p.job("oauth", "keys")
	user := p.session(plain, "plain@example.com")
	for _, c := range []struct{ state, day, hour, end string }{
		{"old", "25 hours", "61 minutes", "-1 minute"}, {"live", "23 hours", "50 minutes", "1 hour"},
	} {
		p.exec(strings.NewReplacer("$org", p.keys.OrganizationID, "$state", c.state, "$user", user, "$day", c.day, "$hour", c.hour, "$end", c.end).Replace(`
			INSERT INTO accounts.oauth_attempts (key, since, n) VALUES ('$state', now() - interval '$day', 1);
			INSERT INTO accounts.oauth_devices (device_hash, user_code, client_id, scopes, openid, offline, address, user_agent, created_at, expires_at, interval_s)
			VALUES (sha256('$state'), '$state', 'aiaas-cli', '{}', false, false, '', '', now(), now() - interval '$hour', 5);
			INSERT INTO accounts.oauth_grants (org_id, session_id, holder_id, client_id, scopes, openid, created_at, expires_at)
			VALUES ('$org', '$state', '$user', 'aiaas-cli', '{}', false, now(), now() - interval '$day');
			INSERT INTO accounts.oauth_refresh_tokens (org_id, token_hash, session_id, issued_at) VALUES ('$org', sha256('$state'), '$state', now());
			INSERT INTO accounts.oauth_keys (kid, public, sealed, created_at, signs_at, ends_at)
			SELECT '$state', public, sealed, created_at, signs_at - interval '30 days', now() + interval '$end' FROM accounts.oauth_keys WHERE ends_at IS NULL;
			INSERT INTO accounts.oauth_requests (org_id, request_id, user_id, client_id, redirect_uri, state, nonce, challenge, scopes, openid, offline, created_at, expires_at)
			VALUES ('$org', '$state', '$user', 'aiaas-cli', '', '', '', 'c', '{}', false, false, now() - interval '$day', now())`))
	}
}
