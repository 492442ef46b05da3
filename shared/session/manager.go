package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
)

// The audited acts.
const (
	ActionBegin = "session.begin"
	ActionProve = "session.prove"
	ActionEnd   = "session.end"
)

const (
	// maxClients is how many live tokens a service account has; the oldest end.
	maxClients = 200
	// maxAgent is how much of a user agent is kept, in bytes.
	maxAgent = 200
	// keptFor is how long it can be seen that there was a session.
	keptFor    = 30 * 24 * time.Hour
	pruneBatch = 1000
)

// Bumper moves an organisation's configuration version on, after a change and before
// its answer, so that no process serves the old state.
type Bumper interface {
	Bump(ctx context.Context, org string) error
}

// Manager begins and ends sessions.
type Manager struct {
	store  Store
	bump   Bumper
	now    func() time.Time
	tokens *scs.SessionManager
}

// NewManager makes a manager. publicURL is where browsers reach the platform: its
// scheme says whether the cookie travels over TLS only.
func NewManager(store Store, bump Bumper, publicURL string, now func() time.Time) *Manager {
	// As scs.New makes it, but for the store in memory: that one starts a goroutine,
	// which nothing ends.
	return &Manager{store: store, bump: bump, now: now, tokens: &scs.SessionManager{
		Lifetime: 24 * time.Hour, Store: bridge{store}, Codec: codec{}, HashTokenInStore: true,
		Cookie: scs.SessionCookie{
			Name: CookieName(publicURL), Secure: Secure(publicURL), HttpOnly: true, Path: "/", SameSite: http.SameSiteLaxMode, Persist: true,
		},
	}}
}

// Secure reports whether an address is reached over TLS.
func Secure(publicURL string) bool {
	u, err := url.Parse(publicURL)
	return err == nil && u.Scheme == "https"
}

// CookieName is the name of the session's cookie. The prefix makes browsers refuse
// one that was set for other hosts, or in the clear.
func CookieName(publicURL string) string {
	if Secure(publicURL) {
		return "__Host-aiaas_session"
	}
	return "aiaas_session"
}

// Begin begins a session for a holder who has proved himself. NotFound where he is no
// active member of the organisation, or it does not serve.
func (m *Manager) Begin(ctx context.Context, s Start) (Opened, error) {
	st, err := m.store.Standing(ctx, s.OrgID, s.HolderID)
	if err != nil {
		return Opened{}, err
	}
	if !st.Active || !st.Serves {
		return Opened{}, fault.New(fault.NotFound, "there is no such membership")
	}
	now := m.now()
	next := Session{
		ID: id.New(id.Session), OrgID: s.OrgID, HolderID: s.HolderID, Kind: s.Kind, Means: s.Means, Connection: s.Connection, Client: s.Client,
		Scopes: s.Scopes, MFA: s.MFA, ProvedAt: s.ProvedAt, Address: s.Address, UserAgent: ClipAgent(s.UserAgent),
		CreatedAt: now, SeenAt: now, ExpiresAt: now.Add(st.Settings.SessionLength()),
	}
	if next.ProvedAt.IsZero() {
		next.ProvedAt = now
	}
	if !s.Expires.IsZero() && s.Expires.Before(next.ExpiresAt) {
		next.ExpiresAt = s.Expires
	}
	kept := Saved{Session: next, Record: m.record(ctx, next, ActionBegin), Ends: s.Replaces, From: s.From, SeenBy: s.SeenBy, Most: st.Settings.SessionCount()}
	if s.Kind == Client {
		kept.Most = maxClients
	}
	opened, err := m.save(ctx, kept)
	if err != nil || s.Replaces.ID == "" {
		return opened, err
	}
	return opened, m.moved(ctx, s.Replaces.OrgID)
}

// Prove notes that the holder of a session has proved himself again, and gives the
// session another token. A second factor that was shown once is not taken back.
func (m *Manager) Prove(ctx context.Context, org, sessionID string, means Means, mfa bool) (Opened, error) {
	now := m.now()
	list, err := m.store.List(ctx, Filter{OrgID: org, ID: sessionID}, now)
	switch {
	case err != nil:
		return Opened{}, err
	case len(list) == 0:
		return Opened{}, ErrUnauthenticated()
	}
	next := list[0]
	next.ProvedAt, next.MFA = now, next.MFA || mfa
	if next.Means != SSO { // where it may be used does not widen
		next.Means = means
	}
	opened, err := m.save(ctx, Saved{Session: next, Record: m.record(ctx, next, ActionProve)})
	if err != nil {
		return Opened{}, err
	}
	return opened, m.moved(ctx, org)
}

func (m *Manager) save(ctx context.Context, kept Saved) (Opened, error) {
	opened := Opened{Session: kept.Session}
	if !kept.Session.Kind.ByToken() {
		return opened, m.store.Save(ctx, kept)
	}
	ctx, err := m.tokens.Load(ctx, "")
	if err != nil {
		return Opened{}, fmt.Errorf("begin session: %w", err)
	}
	m.tokens.Put(ctx, keptKey, kept)
	m.tokens.SetDeadline(ctx, kept.Session.ExpiresAt)
	raw, _, err := m.tokens.Commit(ctx)
	if err != nil {
		return Opened{}, fmt.Errorf("begin session: %w", err)
	}
	opened.Token = TokenPrefix + raw
	return opened, nil
}

func (m *Manager) record(ctx context.Context, s Session, action string) audit.Record {
	p := authz.Principal{OrgID: s.OrgID, OwnerID: s.HolderID, KeyID: s.ID, Method: authz.BySession, Address: s.Address}
	return audit.New(ctx, p, m.now(), action, s.ID).With(map[string]any{
		"kind": string(s.Kind), "means": string(s.Means), "mfa": s.MFA, "client": s.Client, "connection": s.Connection,
	})
}

func (m *Manager) moved(ctx context.Context, org string) error {
	return m.bump.Bump(context.WithoutCancel(ctx), org) // it is done: who asked for it may have left
}

// End ends a session of an organisation. One that has ended already is fine.
func (m *Manager) End(ctx context.Context, org, sessionID, reason string) error {
	_, err := m.end(ctx, Filter{OrgID: org, ID: sessionID}, reason, authz.Principal{})
	return err
}

// EndAll ends all sessions of a person, in every organisation, but for one.
func (m *Manager) EndAll(ctx context.Context, userID, exceptID, reason string) (int, error) {
	return m.end(ctx, Filter{HolderID: userID, Except: exceptID}, reason, authz.Principal{})
}

// EndWeak ends a person's sessions in which no second factor was shown, but for one: he
// has one now.
func (m *Manager) EndWeak(ctx context.Context, userID, exceptID, reason string) error {
	_, err := m.end(ctx, Filter{HolderID: userID, Except: exceptID, Weak: true}, reason, authz.Principal{})
	return err
}

// Weaken takes back from a person's sessions that a second factor was shown: he has
// none any more.
func (m *Manager) Weaken(ctx context.Context, userID string) error {
	orgs, err := m.store.Weaken(ctx, userID)
	for _, org := range orgs {
		err = errors.Join(err, m.moved(ctx, org))
	}
	return err
}

// end ends sessions by a principal; by their holders where it is nobody.
func (m *Manager) end(ctx context.Context, f Filter, reason string, p authz.Principal) (int, error) {
	now := m.now()
	ended, err := m.store.End(ctx, f, now, reason, func(s Session) audit.Record {
		by := p
		if !p.Somebody() {
			by = authz.Principal{OrgID: s.OrgID, OwnerID: s.HolderID, KeyID: s.ID, Method: authz.BySession}
		}
		rec := audit.New(ctx, by, now, ActionEnd, s.ID).With(map[string]any{"holder_id": s.HolderID, "kind": string(s.Kind), "reason": reason})
		rec.OrgID = s.OrgID // a person's other organisations learn of it too
		return rec
	})
	seen := map[string]bool{}
	for _, s := range ended {
		if seen[s.OrgID] {
			continue
		}
		seen[s.OrgID] = true
		if bumped := m.moved(ctx, s.OrgID); bumped != nil {
			err = errors.Join(err, bumped)
		}
	}
	return len(ended), err
}

// Prune is the job that forgets old sessions.
func (m *Manager) Prune(ctx context.Context) (function.Counts, error) {
	before := m.now().Add(-keptFor)
	for total := int64(0); ; {
		n, err := m.store.Prune(ctx, before, pruneBatch)
		total += int64(n)
		switch {
		case err == nil && n >= pruneBatch: // there may be more
		case total == 0:
			return nil, err
		default:
			return function.Counts{"sessions": total}, err
		}
	}
}

// Cookie carries a session to a browser: for as long as it lasts, not to scripts, not
// with what other sites send, save that one follows a link.
func (m *Manager) Cookie(o Opened) http.Cookie {
	c := m.NoCookie() //nolint:gosec // its attributes are those of NoCookie
	c.Value, c.Expires, c.MaxAge = o.Token, o.ExpiresAt, max(1, int(o.ExpiresAt.Sub(m.now()).Seconds()))
	return c
}

// NoCookie takes the session from a browser.
func (m *Manager) NoCookie() http.Cookie {
	k := m.tokens.Cookie
	return http.Cookie{ //nolint:gosec // secure wherever the platform is reached over TLS: NewManager
		Name: k.Name, Path: k.Path, Secure: k.Secure, HttpOnly: k.HttpOnly, SameSite: k.SameSite,
		Expires: time.Unix(1, 0).UTC(), MaxAge: -1,
	}
}

// ClipAgent is as much of a user agent as is kept.
func ClipAgent(agent string) string {
	if len(agent) > maxAgent {
		agent = agent[:maxAgent]
	}
	return strings.ToValidUTF8(agent, "")
}

// keptKey is under what scs holds the session that is to be saved.
const keptKey = "session"

// codec hands the session through scs to the store: as itself, in JSON.
type codec struct{}

func (codec) Encode(_ time.Time, values map[string]any) ([]byte, error) {
	b, err := json.Marshal(values[keptKey])
	if err != nil {
		return nil, fmt.Errorf("encode session: %w", err)
	}
	return b, nil
}

func (codec) Decode(b []byte) (time.Time, map[string]any, error) {
	var kept Saved
	if err := json.Unmarshal(b, &kept); err != nil {
		return time.Time{}, nil, fmt.Errorf("decode session: %w", err)
	}
	return kept.Session.ExpiresAt, map[string]any{keptKey: kept}, nil
}

// bridge is a [Store] as scs wants it. Sessions are found by a [Resolver], which reads
// what their holders may do with them, and ended by id: scs only commits.
type bridge struct{ store Store }

var errUnused = errors.New("sessions are found and ended by their own store")

func (b bridge) CommitCtx(ctx context.Context, hash string, value []byte, _ time.Time) error {
	_, values, err := codec{}.Decode(value)
	if err != nil {
		return err
	}
	kept, ok := values[keptKey].(Saved)
	if !ok {
		return errUnused
	}
	kept.Hash = hash
	return b.store.Save(ctx, kept)
}

func (bridge) FindCtx(context.Context, string) ([]byte, bool, error) { return nil, false, errUnused }
func (bridge) DeleteCtx(context.Context, string) error               { return errUnused }
func (bridge) Commit(string, []byte, time.Time) error                { return errUnused }
func (bridge) Find(string) ([]byte, bool, error)                     { return nil, false, errUnused }
func (bridge) Delete(string) error                                   { return errUnused }
