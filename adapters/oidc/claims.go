package oidc

import (
	"bytes"
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/aiaas/aiaas/shared/sso"
)

// person is who has signed in, as the tokens say.
type person struct {
	client sso.Client
	id     *oidc.IDToken
	token  *oauth2.Token
}

// said is what an ID token, or the issuer's answer about a person, says of him.
type said struct {
	Email         string  `json:"email"`
	EmailVerified truth   `json:"email_verified"`
	Name          string  `json:"name"`
	AuthTime      seconds `json:"auth_time"`
	Methods       texts   `json:"amr"`
	Class         string  `json:"acr"`
}

// claims is what the issuer says of a person: by the token, and where that lacks the
// address or the groups by what it answers when it is asked.
func (s *Issuers) claims(ctx context.Context, provider *oidc.Provider, meta metadata, p person) (sso.Claims, error) {
	var told said
	if err := p.id.Claims(&told); err != nil {
		return sso.Claims{}, trouble(sso.Untrusted, "the ID token can't be read", err)
	}
	groups, grouped, err := groupsOf(p.id, p.client.GroupsClaim)
	if err != nil {
		return sso.Claims{}, err
	}
	out := sso.Claims{
		Subject: p.id.Subject, Email: told.Email, EmailVerified: bool(told.EmailVerified), Name: told.Name, Groups: groups,
		AuthTime: told.AuthTime.time(), Methods: told.Methods, Class: told.Class,
	}
	if (out.Email != "" && grouped) || meta.UserInfo == "" {
		return out, nil
	}
	info, err := ask(ctx, provider, p)
	if err != nil {
		return sso.Claims{}, err
	}
	if !grouped {
		if out.Groups, _, err = groupsOf(info, p.client.GroupsClaim); err != nil {
			return sso.Claims{}, err
		}
	}
	err = complete(info, &out)
	return out, err
}

// ask asks the issuer for what its token lacks.
func ask(ctx context.Context, provider *oidc.Provider, p person) (*oidc.UserInfo, error) {
	info, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(p.token))
	switch {
	case err != nil && unreached(err):
		return nil, trouble(sso.Unreachable, "its userinfo endpoint can't be reached", err)
	case err != nil:
		return nil, trouble(sso.Rejected, "its userinfo endpoint does not answer", err)
	case info.Subject != p.id.Subject: // or tokens could be swapped
		return nil, trouble(sso.Untrusted, "its userinfo endpoint speaks of another person", nil)
	}
	return info, nil
}

// complete adds what the token lacks. An address and whether it is verified are of one
// source.
func complete(info *oidc.UserInfo, out *sso.Claims) error {
	var told said
	if err := info.Claims(&told); err != nil {
		return trouble(sso.Untrusted, "the answer of its userinfo endpoint can't be read", err)
	}
	if out.Email == "" {
		out.Email, out.EmailVerified = told.Email, bool(told.EmailVerified)
	}
	if out.Name == "" {
		out.Name = told.Name
	}
	return nil
}

// claimant is what has claims.
type claimant interface{ Claims(v any) error }

// groupsOf reads the claim that lists groups. ok is true where it is there, or nobody
// asks for it.
func groupsOf(c claimant, claim string) (groups []string, ok bool, err error) {
	if claim == "" {
		return nil, true, nil
	}
	var all map[string]json.RawMessage
	if err := c.Claims(&all); err != nil {
		return nil, false, trouble(sso.Untrusted, "the claims can't be read", err)
	}
	raw, ok := all[claim]
	if !ok {
		return nil, false, nil
	}
	var list texts
	if err := json.Unmarshal(raw, &list); err != nil || len(list) > maxGroups {
		return nil, false, trouble(sso.Untrusted, "the claim of groups is no list of texts, or too long", err)
	}
	return list, true, nil
}

// texts is a list of texts, or one.
type texts []string

// UnmarshalJSON implements [json.Unmarshaler].
func (t *texts) UnmarshalJSON(b []byte) error {
	var list []string
	if json.Unmarshal(b, &list) == nil {
		*t = list
		return nil
	}
	var one string
	if err := json.Unmarshal(b, &one); err != nil {
		return err //nolint:wrapcheck // the decoder's own, which wraps it
	}
	*t = texts{one}
	return nil
}

// truth is true, or "true" as some issuers write it; all else is false.
type truth bool

// UnmarshalJSON implements [json.Unmarshaler].
func (t *truth) UnmarshalJSON(b []byte) error {
	*t = truth(strings.Trim(string(bytes.TrimSpace(b)), `"`) == "true")
	return nil
}

// seconds is a moment in seconds of Unix time; 0 is none.
type seconds int64

// UnmarshalJSON implements [json.Unmarshaler].
func (n *seconds) UnmarshalJSON(b []byte) error {
	// What can't be read was not said.
	if f, err := strconv.ParseFloat(string(bytes.TrimSpace(b)), 64); err == nil && f > 0 && f < 1<<40 {
		*n = seconds(f)
	}
	return nil
}

func (n seconds) time() time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(int64(n), 0).UTC()
}
