package oauth

import (
	"context"
	"net/http"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/aiaas/aiaas/shared/oauth"
)

// server answers what the library has read.
type server struct {
	op.UnimplementedServer
	Config
}

var _ op.Server = (*server)(nil)

// Discovery implements [op.Server].
func (s *server) Discovery(context.Context, *op.Request[struct{}]) (*op.Response, error) {
	at := func(path string) string { return s.Service.Issuer + path }
	return op.NewResponse(&metadata{
		DiscoveryConfiguration: oidc.DiscoveryConfiguration{
			Issuer: s.Service.Issuer, AuthorizationEndpoint: at(PathAuthorize), TokenEndpoint: at(PathToken), IntrospectionEndpoint: at(PathInspect),
			RevocationEndpoint: at(PathRevoke), DeviceAuthorizationEndpoint: at(PathDevice), JwksURI: at(PathKeys),
			ScopesSupported:        oauth.Vocabulary(),
			ResponseTypesSupported: []string{string(oidc.ResponseTypeCode)}, ResponseModesSupported: []string{string(oidc.ResponseModeQuery)},
			GrantTypesSupported:                       []oidc.GrantType{oidc.GrantTypeCode, oidc.GrantTypeRefreshToken, oidc.GrantTypeClientCredentials, oidc.GrantTypeDeviceCode},
			SubjectTypesSupported:                     []string{"public"},
			IDTokenSigningAlgValuesSupported:          []string{"ES256"},
			TokenEndpointAuthMethodsSupported:         []oidc.AuthMethod{oidc.AuthMethodNone, oidc.AuthMethodBasic, oidc.AuthMethodPost},
			RevocationEndpointAuthMethodsSupported:    []oidc.AuthMethod{oidc.AuthMethodNone, oidc.AuthMethodBasic, oidc.AuthMethodPost},
			IntrospectionEndpointAuthMethodsSupported: []oidc.AuthMethod{oidc.AuthMethodBasic, oidc.AuthMethodPost},
			ClaimsSupported:                           []string{"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "at_hash", "azp", "sid"},
			CodeChallengeMethodsSupported:             []oidc.CodeChallengeMethod{oidc.CodeChallengeMethodS256},
		},
		IssuerInAnswers: true,
	}), nil
}

// metadata adds what the library does not know of.
type metadata struct {
	oidc.DiscoveryConfiguration

	IssuerInAnswers bool `json:"authorization_response_iss_parameter_supported"` // RFC 9207
}

// Keys implements [op.Server].
func (s *server) Keys(ctx context.Context, _ *op.Request[struct{}]) (*op.Response, error) {
	set, err := s.Config.Keys(ctx)
	if err != nil {
		return nil, s.broken(ctx, err)
	}
	return op.NewResponse(set), nil
}

// VerifyClient implements [op.Server].
func (s *server) VerifyClient(ctx context.Context, r *op.Request[op.ClientCredentials]) (op.Client, error) {
	d := r.Data
	if d.ClientAssertion != "" {
		return nil, op.NewStatusError(oidc.ErrInvalidClient().WithDescription("client assertions are not supported"), http.StatusUnauthorized) //nolint:wrapcheck // it is the library that reads it
	}
	if c, known := s.Service.Client(d.ClientID); known {
		if d.ClientSecret != "" {
			return nil, op.NewStatusError(oidc.ErrInvalidClient().WithDescription("the client has no secret"), http.StatusUnauthorized) //nolint:wrapcheck // it is the library that reads it
		}
		return &client{public: c}, nil
	}
	p, err := s.Service.Authenticate(ctx, d.ClientID, d.ClientSecret, callOf(ctx).from)
	if err != nil {
		return nil, s.refuse(ctx, err)
	}
	return &client{program: &p}, nil
}

// CodeExchange implements [op.Server].
func (s *server) CodeExchange(ctx context.Context, r *op.ClientRequest[oidc.AccessTokenRequest]) (*op.Response, error) {
	c, err := s.public(r.Client)
	if err != nil {
		return nil, err
	}
	issued, err := s.Service.ExchangeCode(ctx, c, oauth.Redemption{
		Code: r.Data.Code, Verifier: r.Data.CodeVerifier, RedirectURI: r.Data.RedirectURI,
	}, callOf(ctx).from)
	return s.issued(ctx, issued, err)
}

// RefreshToken implements [op.Server].
func (s *server) RefreshToken(ctx context.Context, r *op.ClientRequest[oidc.RefreshTokenRequest]) (*op.Response, error) {
	c, err := s.public(r.Client)
	if err != nil {
		return nil, err
	}
	issued, err := s.Service.Refresh(ctx, c, r.Data.RefreshToken, words(r.Data.Scopes), callOf(ctx).from)
	return s.issued(ctx, issued, err)
}

// DeviceToken implements [op.Server].
func (s *server) DeviceToken(ctx context.Context, r *op.ClientRequest[oidc.DeviceAccessTokenRequest]) (*op.Response, error) {
	c, err := s.public(r.Client)
	if err != nil {
		return nil, err
	}
	issued, err := s.Service.ExchangeDevice(ctx, c, r.Data.DeviceCode, callOf(ctx).from)
	return s.issued(ctx, issued, err)
}

// ClientCredentialsExchange implements [op.Server].
func (s *server) ClientCredentialsExchange(ctx context.Context, r *op.ClientRequest[oidc.ClientCredentialsRequest]) (*op.Response, error) {
	c, ok := r.Client.(*client)
	if !ok || c.program == nil {
		return nil, oidc.ErrUnauthorizedClient().WithDescription("the client has no secret") //nolint:wrapcheck // it is the library that reads it
	}
	issued, err := s.Service.IssueTo(ctx, *c.program, words(r.Data.Scope), callOf(ctx).from)
	return s.issued(ctx, issued, err)
}

// DeviceAuthorization implements [op.Server].
func (s *server) DeviceAuthorization(ctx context.Context, r *op.ClientRequest[oidc.DeviceAuthorizationRequest]) (*op.Response, error) {
	c, err := s.public(r.Client)
	if err != nil {
		return nil, err
	}
	w, err := s.Service.AskDevice(ctx, c, words(r.Data.Scopes), callOf(ctx).from)
	if err != nil {
		return nil, s.refuse(ctx, err)
	}
	page := s.Service.Issuer + pageDevice
	return op.NewResponse(&oidc.DeviceAuthorizationResponse{
		DeviceCode: w.DeviceCode, UserCode: w.UserCode, VerificationURI: page, VerificationURIComplete: page + "?user_code=" + w.UserCode,
		ExpiresIn: int(w.Lifetime.Seconds()), Interval: int(w.Interval.Seconds()),
	}), nil
}

// Revocation implements [op.Server].
func (s *server) Revocation(ctx context.Context, r *op.ClientRequest[oidc.RevocationRequest]) (*op.Response, error) {
	if err := s.Service.Revoke(ctx, r.Client.GetID(), r.Data.Token); err != nil {
		return nil, s.refuse(ctx, err)
	}
	return op.NewResponse(nil), nil
}

// Introspect implements [op.Server].
func (s *server) Introspect(ctx context.Context, r *op.Request[op.IntrospectionRequest]) (*op.Response, error) {
	p, err := s.Service.Authenticate(ctx, r.Data.ClientID, r.Data.ClientSecret, callOf(ctx).from)
	if err != nil {
		return nil, s.refuse(ctx, err)
	}
	i, err := s.Service.Introspect(ctx, p, r.Data.Token)
	if err != nil {
		return nil, s.refuse(ctx, err)
	}
	if !i.Active {
		return op.NewResponse(&oidc.IntrospectionResponse{}), nil
	}
	return op.NewResponse(&oidc.IntrospectionResponse{
		Active: true, Scope: i.Scopes, ClientID: i.ClientID, TokenType: oidc.BearerToken, Subject: i.Subject, Issuer: s.Service.Issuer,
		Audience: oidc.Audience{s.Service.Issuer}, Expiration: oidc.FromTime(i.Expires),
		Claims: map[string]any{"sid": i.SessionID, "organization_id": i.OrgID},
	}), nil
}

// public is the client that people let in.
func (s *server) public(c op.Client) (oauth.Client, error) {
	own, ok := c.(*client)
	if !ok || own.program != nil {
		return oauth.Client{}, oidc.ErrUnauthorizedClient().WithDescription("a service account uses client_credentials") //nolint:wrapcheck // it is the library that reads it
	}
	return own.public, nil
}

func (s *server) issued(ctx context.Context, i oauth.Issued, err error) (*op.Response, error) {
	if err != nil {
		return nil, s.refuse(ctx, err)
	}
	return op.NewResponse(&oidc.AccessTokenResponse{
		AccessToken: i.AccessToken, TokenType: oidc.BearerToken, RefreshToken: i.RefreshToken,
		ExpiresIn: uint64(max(0, i.Lifetime.Seconds())), IDToken: i.IDToken, Scope: i.Scopes,
	}), nil
}

// words leaves out the empty ones that double spaces make.
func words(list oidc.SpaceDelimitedArray) []string {
	var out []string
	for _, w := range list {
		if w != "" {
			out = append(out, w)
		}
	}
	return out
}
