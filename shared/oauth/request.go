package oauth

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
)

// The bounds of what a client sends along.
const (
	maxState = 1000
	// A challenge of S256 is a SHA-256 in base 64.
	challengeLen = 43
	// requestsAsked is how many requests a person is asked in tryWindow.
	requestsAsked = 200
)

// Ask is a client's question to a person, as it came with his browser.
type Ask struct {
	ClientID    string
	RedirectURI string
	Scopes      []string
	State       string
	Nonce       string
	Challenge   string
	Method      string // of the challenge
	Prompt      []string
	MaxAge      *time.Duration
}

// Check returns what is wrong with a question whose client and redirect address are
// known to be good. It needs no person.
func (a Ask) Check() error {
	switch {
	case a.Challenge == "":
		return refuse(InvalidRequest, "PKCE is required: send code_challenge with code_challenge_method=S256")
	case a.Method != "S256":
		return refuse(InvalidRequest, "the only code_challenge_method is S256")
	case len(a.Challenge) != challengeLen || !base64URL(a.Challenge):
		return refuse(InvalidRequest, "the code_challenge is no SHA-256 in base64url")
	case len(a.State) > maxState || len(a.Nonce) > maxState:
		return refuse(InvalidRequest, "state and nonce have at most %d characters", maxState)
	}
	if _, err := ParseScopes(a.Scopes); err != nil {
		return err
	}
	return nil
}

func base64URL(s string) bool {
	return !slices.ContainsFunc([]byte(s), func(c byte) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_'
	})
}

// Begin stores a question to a person for the page that asks it, and returns its id.
// prompt=login and max_age are kept with it: whoever approves must have proved himself
// since.
func (s *Service) Begin(ctx context.Context, a Approver, ask Ask) (requestID string, err error) {
	if err := ask.Check(); err != nil {
		return "", err
	}
	if slices.Contains(ask.Prompt, "none") {
		return "", refuse(ConsentRequired, "a person is always asked")
	}
	asked, err := ParseScopes(ask.Scopes)
	if err != nil {
		return "", err
	}
	now := s.Now()
	if err := s.within(ctx, "request "+a.Principal.OwnerID, requestsAsked); err != nil { // any page can make a browser ask
		return "", refusedTries(err)
	}
	r := Request{
		Asked: asked, ID: id.New(id.Consent), OrgID: a.Principal.OrgID, UserID: a.Principal.OwnerID, ClientID: ask.ClientID,
		RedirectURI: ask.RedirectURI, State: ask.State, Nonce: ask.Nonce, Challenge: ask.Challenge,
		CreatedAt: now, ExpiresAt: now.Add(RequestLifetime),
	}
	if ask.MaxAge != nil {
		r.ProvedAfter = now.Add(-*ask.MaxAge)
	}
	if slices.Contains(ask.Prompt, "login") {
		r.ProvedAfter = now
	}
	return r.ID, s.Store.AddRequest(ctx, r)
}

// Question is what the page shows.
type Question struct {
	Client    Client
	Asked     Asked // what would be granted: no more than the person may do himself
	StepUp    bool  // he must prove himself again before he can approve
	ExpiresAt time.Time
}

// Show returns the question to a person.
func (s *Service) Show(ctx context.Context, a Approver, requestID string) (Question, error) {
	r, client, err := s.request(ctx, a, requestID)
	if err != nil {
		return Question{}, err
	}
	q := Question{Client: client, Asked: r.Asked, ExpiresAt: r.ExpiresAt, StepUp: s.mayLetIn(a, r.ProvedAfter) != nil}
	q.Asked.Scopes = a.grantable(r.Scopes)
	return q, nil
}

func (s *Service) request(ctx context.Context, a Approver, requestID string) (Request, Client, error) {
	r, err := s.Store.Request(ctx, a.who(), requestID, s.Now())
	if err != nil {
		return r, Client{}, err
	}
	client, known := s.Client(r.ClientID)
	if !known || !client.Takes(r.RedirectURI) {
		return r, client, errNoRequest()
	}
	return r, client, nil
}

func errNoRequest() error {
	return fault.New(fault.NotFound, "there is no such request: it was answered, or has waited for too long")
}

// Approve lets the client in, and returns the address to send the browser to.
func (s *Service) Approve(ctx context.Context, a Approver, requestID string) (redirectTo string, err error) {
	r, client, err := s.request(ctx, a, requestID)
	if err != nil {
		return "", err
	}
	if err := s.mayLetIn(a, r.ProvedAfter); err != nil {
		return "", err
	}
	code := newSecret(codePrefix)
	d := s.decision(ctx, a, client.ID, requestID, r.Scopes)
	d.CodeHash, d.CodeExpires = Hash(code), d.At.Add(CodeLifetime)
	if err := s.Store.Decide(ctx, a.who(), requestID, d); err != nil {
		return "", err
	}
	return s.back(r, url.Values{"code": {code}})
}

const codePrefix = "aiaas_code_"

// mayLetIn returns nil where the person has proved himself a moment ago, and since the
// client wants it: to let in a program is as much as to make a key. It also sees to it
// that a fresh login may do for a while what wants a fresh proof.
func (s *Service) mayLetIn(a Approver, since time.Time) error {
	if a.Proof.At.Before(since) || s.Now().Sub(a.Proof.At) > authz.RecentFor {
		return authz.ErrStepUp()
	}
	return nil
}

// Deny turns the client away, and returns the address to send the browser to.
func (s *Service) Deny(ctx context.Context, a Approver, requestID string) (redirectTo string, err error) {
	r, client, err := s.request(ctx, a, requestID)
	if err != nil {
		return "", err
	}
	if err := s.Store.Decide(ctx, a.who(), requestID, s.denial(ctx, a, client.ID, requestID)); err != nil {
		return "", err
	}
	return s.back(r, url.Values{"error": {string(AccessDenied)}, "error_description": {"The request was denied."}})
}

// back is the client's own address with the answer, its state, and who answers (RFC
// 9207): a client of several servers knows which of them it has talked to.
func (s *Service) back(r Request, answer url.Values) (string, error) {
	u, err := url.Parse(r.RedirectURI)
	if err != nil {
		return "", fault.Wrap(fault.Internal, "read redirect address", err)
	}
	q := u.Query()
	maps.Copy(q, answer)
	q.Set("iss", s.Issuer)
	if r.State != "" {
		q.Set("state", r.State)
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}
