package sso

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/factor"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/naming"
	"github.com/aiaas/aiaas/shared/origin"
	"github.com/aiaas/aiaas/shared/session"
	"github.com/aiaas/aiaas/shared/signin"
	"github.com/aiaas/aiaas/shared/throttle"
)

// Patience is how long a sign-in at an issuer may take.
const Patience = 10 * time.Minute

// skew is how far the clocks of an issuer and of the platform may be apart.
const skew = time.Minute

// Entries lets people in, and asks those who have one for their second factor:
// [signin.Service].
type Entries interface {
	EntryOf(ctx context.Context, userID string, e signin.Entry) (signin.Entry, error)
	Proceed(ctx context.Context, e signin.Entry) (signin.Outcome, error)
}

// Sessions proves sessions anew: [session.Manager].
type Sessions interface {
	Prove(ctx context.Context, org, sessionID string, means session.Means, mfa bool) (session.Opened, error)
}

// Factors tells how a person can prove himself to the platform besides: [factor.Service].
type Factors interface {
	Methods(ctx context.Context, userID string) ([]factor.Method, error)
}

// Starts bounds how many sign-ins are begun from one place: [throttle.Throttle].
type Starts interface {
	Take(ctx context.Context, kind throttle.Kind, k throttle.Keys) error
	Succeeded(ctx context.Context, kind throttle.Kind, k throttle.Keys) error
}

// Denials hears of refusals that anybody can cause: [audit.Denials].
type Denials interface{ Note(n audit.Denial) }

// Bumper moves an organisation's configuration version on.
type Bumper interface {
	Bump(ctx context.Context, org string) error
}

// SignIn leads people to their issuer and takes them when they come back.
type SignIn struct {
	Flows      Flows
	Admissions Admissions
	Issuers    Issuers
	Vault      Vault
	Entries    Entries
	Sessions   Sessions
	Factors    Factors
	Starts     Starts
	Denials    Denials
	Bump       Bumper
	PublicURL  string // where browsers reach the platform
	Now        func() time.Time
}

// CallbackPath is where browsers come back to from the issuer of a connection. Each
// connection has a place of its own: a code that was got by one can't be brought to
// another.
func CallbackPath(connectionID string) string { return "/v1/sign-in/sso/callback/" + connectionID }

// RedirectURL is [CallbackPath] as issuers have to know it.
func RedirectURL(publicURL, connectionID string) string {
	return strings.TrimSuffix(publicURL, "/") + CallbackPath(connectionID)
}

// Begun is a sign-in that is under way.
type Begun struct {
	RedirectURL string // where the browser is to go
	Browser     string // what it is known by when it comes back
	Expires     time.Time
}

// Begin begins a sign-in of whoever has an address. Whether there is such a person
// plays no part in it. NotFound where nobody with addresses of that domain signs in so.
func (s *SignIn) Begin(ctx context.Context, email, returnTo, address string) (Begun, error) {
	back, err := local(returnTo)
	if err != nil {
		return Begun{}, err
	}
	if err := s.Starts.Take(ctx, throttle.SignOn, throttle.Keys{Address: address}); err != nil {
		return Begun{}, err
	}
	if naming.Line("email", email, 254) != nil || !domainName(DomainOf(email)) {
		return Begun{}, fault.New(fault.Unprocessable, "that is no e-mail address").At("email")
	}
	org, connectionID, err := s.Flows.Find(ctx, DomainOf(email))
	if err != nil {
		return Begun{}, err
	}
	return s.begin(ctx, State{OrgID: org, ConnectionID: connectionID, ReturnTo: back}, Attempt{Hint: email})
}

// BeginStepUp lets a person who has signed in by a connection prove himself there
// again.
func (s *SignIn) BeginStepUp(ctx context.Context, p authz.Principal, returnTo string) (Begun, error) {
	userID, err := p.Person()
	if err != nil {
		return Begun{}, err
	}
	back, err := local(returnTo)
	if err != nil {
		return Begun{}, err
	}
	connectionID, holder, err := s.Flows.SessionOf(ctx, p.OrgID, p.KeyID)
	switch {
	case err != nil:
		return Begun{}, err
	case p.Method != authz.BySession || p.Means != string(session.SSO) || holder != userID:
		return Begun{}, fault.New(fault.Conflict, "this session was not begun by single sign-on; prove yourself by POST /v1/session/step-up")
	}
	if err := s.mayProve(ctx, p.OrgID, connectionID, userID); err != nil {
		return Begun{}, err
	}
	return s.begin(ctx, State{OrgID: p.OrgID, ConnectionID: connectionID, SessionID: p.KeyID, ReturnTo: back}, Attempt{Anew: true})
}

// mayProve refuses who has a second factor of the platform's own, where the issuer is
// not trusted to ask for one: he shows that.
func (s *SignIn) mayProve(ctx context.Context, org, connectionID, userID string) error {
	c, _, err := s.Flows.Connection(ctx, org, connectionID)
	if err != nil || c.TrustMFA {
		return err
	}
	methods, err := s.Factors.Methods(ctx, userID)
	if err != nil || len(methods) == 0 {
		return err
	}
	return fault.New(fault.Conflict, "you have a second factor; prove yourself with it by POST /v1/session/step-up").With("reason", "second_factor")
}

func local(returnTo string) (string, error) {
	if returnTo == "" {
		return "", nil
	}
	path, ok := origin.LocalPath(returnTo)
	if !ok {
		return "", fault.New(fault.Unprocessable, "return_to is a path on this server").At("return_to")
	}
	return path, nil
}

func (s *SignIn) begin(ctx context.Context, st State, a Attempt) (Begun, error) {
	c, _, err := s.Flows.Connection(ctx, st.OrgID, st.ConnectionID)
	if err != nil {
		return Begun{}, err
	}
	client, err := s.client(c)
	if err != nil {
		return Begun{}, err
	}
	a.State, st.CreatedAt = rand.Text(), s.Now()
	browser := rand.Text() + rand.Text()
	a.Nonce, a.Verifier = secrets(browser)
	st.StateHash, st.BrowserHash, st.ExpiresAt = digest(a.State), digest(browser), st.CreatedAt.Add(Patience)
	address, err := s.Issuers.Begin(ctx, client, a)
	if err != nil {
		return Begun{}, fault.Wrap(fault.Unavailable, "begin at the issuer of "+c.ID, err).After(10*time.Second).With("reason", string(refusalOf(err).Reason))
	}
	return Begun{RedirectURL: address, Browser: browser, Expires: st.ExpiresAt}, s.Flows.Put(ctx, st)
}

func (s *SignIn) client(c Connection) (Client, error) {
	client := Client{Issuer: c.Issuer, ID: c.ClientID, RedirectURL: RedirectURL(s.PublicURL, c.ID), GroupsClaim: c.GroupsClaim}
	if c.Secret == "" {
		return client, nil
	}
	var err error
	if client.Secret, err = s.Vault.Open(c.Secret, c.ID); err != nil {
		return client, fmt.Errorf("open client secret of %s: %w", c.ID, err)
	}
	return client, nil
}

// secrets are the nonce and the PKCE verifier of an attempt. Both follow from what the
// browser holds, so nobody who reads the database can go on with it.
func secrets(browser string) (nonce, verifier string) {
	derive := func(use string) string {
		mac := hmac.New(sha256.New, []byte(browser))
		mac.Write([]byte(use))
		return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	return derive("nonce"), derive("verifier")
}

func digest(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

// Comeback is what a browser brings from an issuer.
type Comeback struct {
	ConnectionID string // whose place it came back to
	Browser      string
	State        string
	Code         string
	Issuer       string // the parameter iss
	Error        string // the parameter error: the issuer says no
	From         signin.From
}

// Done is a sign-in, or a step-up, that has come back from the issuer.
type Done struct {
	Outcome  signin.Outcome  // of a sign-in: a session, or a challenge
	Proved   *session.Opened // of a step-up: the session, under a new token
	ReturnTo string          // a local path; "" where none was asked for
}

// Complete takes a browser that comes back. Its error is a [*RefusedError], but where the
// platform itself can't go on.
func (s *SignIn) Complete(ctx context.Context, b Comeback) (Done, error) {
	st, err := s.take(ctx, b)
	if err != nil {
		return Done{}, err
	}
	done, vouched, err := s.complete(ctx, st, b)
	if err == nil {
		done.ReturnTo = st.ReturnTo
		return done, nil
	}
	r, ok := errors.AsType[*RefusedError](err)
	if !ok {
		return Done{}, err
	}
	r.ReturnTo = st.ReturnTo
	if !vouched {
		s.deny(ctx, st, b, r)
		return Done{}, r
	}
	return Done{}, errors.Join(r, s.Flows.Refused(ctx, s.refused(ctx, st, b, r)))
}

// deny tells of a refusal of somebody whom no issuer has vouched for. Anybody can have
// that as often as he likes, so alike ones are summed up.
func (s *SignIn) deny(ctx context.Context, st State, b Comeback, r *RefusedError) {
	s.Denials.Note(audit.Denial{
		OrgID: st.OrgID, Actor: st.ConnectionID, Action: audit.ActionAuthFail, Code: string(r.Reason) + ": " + r.Text, Target: "returnFromSso",
		Address: b.From.Address, RequestID: audit.RequestID(ctx), At: s.Now(),
	})
}

// take finds the sign-in that the browser comes back from. Nobody else can end it.
func (s *SignIn) take(ctx context.Context, b Comeback) (State, error) {
	const most = 200
	if b.State == "" || b.Browser == "" || len(b.State) > most || len(b.Browser) > most {
		return State{}, refuse(Expired, "there is no sign-in under way")
	}
	st, err := s.Flows.Take(ctx, digest(b.State), digest(b.Browser))
	switch {
	case fault.Is(err, fault.NotFound):
		return State{}, refuse(Expired, "there is no sign-in under way")
	case err != nil:
		return State{}, err
	case !s.Now().Before(st.ExpiresAt):
		return State{}, refuse(Expired, "the sign-in took too long")
	case st.ConnectionID != b.ConnectionID:
		return State{}, refuse(Failed, "the browser came back to the place of another connection")
	}
	return st, nil
}

func (s *SignIn) refused(ctx context.Context, st State, b Comeback, r *RefusedError) audit.Record {
	p := authz.Principal{OrgID: st.OrgID, KeyID: st.ConnectionID, Address: b.From.Address}
	rec := audit.New(ctx, p, s.Now(), "sso.refused", st.ConnectionID).With(map[string]any{"reason": string(r.Reason), "why": r.Text})
	rec.Outcome = audit.Denied
	return rec
}

// complete ends a sign-in. Vouched tells whether the issuer has said who it is.
func (s *SignIn) complete(ctx context.Context, st State, b Comeback) (done Done, vouched bool, err error) {
	c, _, err := s.Flows.Connection(ctx, st.OrgID, st.ConnectionID)
	switch {
	case fault.Is(err, fault.NotFound):
		return Done{}, false, refuse(Off, "the connection is gone")
	case err != nil:
		return Done{}, false, err
	case !c.Enabled:
		return Done{}, false, refuse(Off, "the connection is disabled")
	}
	claims, err := s.redeem(ctx, c, st, b)
	if err != nil {
		return Done{}, false, err
	}
	if st.SessionID != "" {
		done, err = s.prove(ctx, c, st, claims)
	} else {
		done, err = s.enter(ctx, c, b, claims)
	}
	return done, true, err
}

// redeem gets what the issuer says of who has come back.
func (s *SignIn) redeem(ctx context.Context, c Connection, st State, b Comeback) (Claims, error) {
	if b.Error != "" {
		trouble := Failing
		if b.Error == string(Declined) {
			trouble = Declined
		}
		return Claims{}, refusalOf(&IssuerError{Trouble: trouble, Text: "the issuer answered with an error"})
	}
	client, err := s.client(c)
	if err != nil {
		return Claims{}, err
	}
	a := Attempt{State: b.State}
	a.Nonce, a.Verifier = secrets(b.Browser)
	claims, err := s.Issuers.Redeem(ctx, client, a, Return{Code: b.Code, Issuer: b.Issuer})
	switch {
	case err != nil:
		return Claims{}, refusalOf(err)
	case st.SessionID != "" && claims.AuthTime.Before(st.CreatedAt.Add(-skew)):
		return Claims{}, refusalOf(&IssuerError{Trouble: Stale, Text: "the issuer has not asked the person to prove himself again"})
	}
	return claims, nil
}

// enter lets somebody in whom the issuer has vouched for.
func (s *SignIn) enter(ctx context.Context, c Connection, b Comeback, claims Claims) (Done, error) {
	if !plainAddress(claims.Email) {
		return Done{}, refuse(Foreign, "the issuer gives no e-mail address, or one that can't be read")
	}
	a := Arrival{OrgID: c.OrgID, ConnectionID: c.ID, Claims: claims, Address: b.From.Address, At: s.Now()}
	adm, err := s.admit(ctx, a)
	if err != nil {
		return Done{}, err
	}
	e, err := s.Entries.EntryOf(ctx, adm.Member.ID, signin.Entry{
		OrgID: c.OrgID, Means: session.SSO, Connection: c.ID, MFA: c.TrustMFA && claims.strong(), ProvedAt: claims.provedAt(a.At), From: b.From,
	})
	var out signin.Outcome
	if err == nil {
		out, err = s.Entries.Proceed(ctx, e)
	}
	if fault.Is(err, fault.Unauthenticated) {
		return Done{}, &RefusedError{Reason: Off, Text: "the organization is not in use", Err: err}
	}
	if err != nil {
		return Done{}, err
	}
	return Done{Outcome: out}, s.Starts.Succeeded(ctx, throttle.SignOn, throttle.Keys{Address: b.From.Address})
}

func (s *SignIn) admit(ctx context.Context, a Arrival) (Admission, error) {
	adm, err := s.Admissions.Admit(ctx, a, func(now Before) (Admission, error) { return decide(ctx, a, now) })
	if _, refused := errors.AsType[*RefusedError](err); refused {
		return Admission{}, err
	}
	switch {
	case fault.Is(err, fault.Conflict):
		return Admission{}, &RefusedError{Reason: NoRoom, Text: "the plan of the organization allows no more members", Err: err}
	case fault.Is(err, fault.NotFound):
		return Admission{}, &RefusedError{Reason: Off, Text: "the connection is gone", Err: err}
	case err != nil || len(adm.Records) == 0:
		return adm, err
	}
	return adm, s.Bump.Bump(context.WithoutCancel(ctx), a.OrgID)
}

// prove proves a session anew, where the one who came back is its holder. Who has a
// second factor of the platform's own shows it, unless the issuer has asked for one.
func (s *SignIn) prove(ctx context.Context, c Connection, st State, claims Claims) (Done, error) {
	userID, err := s.Admissions.Linked(ctx, c.OrgID, c.ID, claims.Subject)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return Done{}, err
	}
	_, holder, err2 := s.Flows.SessionOf(ctx, c.OrgID, st.SessionID)
	switch {
	case fault.Is(err2, fault.NotFound):
		return Done{}, refuse(Expired, "the session has ended")
	case err2 != nil:
		return Done{}, err2
	case err != nil || userID != holder:
		return Done{}, refuse(Mismatched, "another person came back than the one who was to prove himself")
	}
	strong := c.TrustMFA && claims.strong()
	if !strong {
		methods, err := s.Factors.Methods(ctx, userID)
		if err != nil {
			return Done{}, err
		}
		if len(methods) > 0 {
			return Done{}, refuse(NeedsFactor, "the person has a second factor of the platform's own, which proves him")
		}
	}
	opened, err := s.Sessions.Prove(ctx, c.OrgID, st.SessionID, session.SSO, strong)
	switch {
	case fault.Is(err, fault.Unauthenticated), fault.Is(err, fault.NotFound):
		return Done{}, &RefusedError{Reason: Expired, Text: "the session has ended", Err: err}
	case err != nil:
		return Done{}, err
	}
	return Done{Proved: &opened}, nil
}

// Gate keeps people out of organisations that demand their own single sign-on of them,
// whatever else they proved themselves by. Owners may enter: they mend it when it fails.
type Gate struct{ Admissions Admissions }

// Required reports whether the organisation demands its single sign-on of a member.
func (g *Gate) Required(ctx context.Context, org, userID string) (bool, error) {
	return g.Admissions.Serves(ctx, org, userID)
}

// LetsIn reports whether a connection that has let a member in would do so now: there
// may be time between what his issuer said and what he does then.
func (g *Gate) LetsIn(ctx context.Context, org, connectionID, userID string) (bool, error) {
	now, err := g.Admissions.Vouched(ctx, org, connectionID, userID)
	switch {
	case fault.Is(err, fault.NotFound):
		return false, nil
	case err != nil:
		return false, err
	}
	c := now.Connection
	d := &arriving{ctx: ctx, b: now, actor: vouching(c, "")}
	return c.Enabled && now.Identity != nil && slices.Contains(c.serves(now.Verified), DomainOf(now.Standing.Member.Email)) && d.mayEnter() == nil, nil
}

// MayEnter returns nil where it does not.
func (g *Gate) MayEnter(ctx context.Context, org, userID string) error {
	required, err := g.Required(ctx, org, userID)
	switch {
	case err != nil:
		return err
	case required:
		return fault.New(fault.Forbidden, "the organization demands that you sign in by its single sign-on").With("reason", "sso_required")
	}
	return nil
}
