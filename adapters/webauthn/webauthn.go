// Package webauthn exchanges with passkeys, by the library go-webauthn. It owns what
// is asked of them: that the browser finds them by itself, that they verify their
// user, and that they are of this platform's domain; and the form in which their
// public keys are kept. It computes and reaches nothing.
package webauthn

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/aiaas/aiaas/shared/factor"
	"github.com/aiaas/aiaas/shared/fault"
)

// Party is the relying party: the platform at its public address.
type Party struct {
	lib  *webauthn.WebAuthn // nil where the address has no domain
	rpID string
}

var _ factor.WebAuthn = (*Party)(nil)

// New makes the relying party of a public address. On a loopback address it is that of
// "localhost", on the same port: no domain may be an address, and browsers take that
// name without TLS. At another address without a name there are no passkeys: what asks
// for one is told so.
func New(publicURL, displayName string) (*Party, error) {
	rpID, origin, err := place(publicURL)
	if err != nil {
		return nil, fmt.Errorf("read public address: %w", err)
	}
	if rpID == "" {
		return &Party{}, nil
	}
	lib, err := webauthn.New(&webauthn.Config{
		RPID: rpID, RPDisplayName: displayName, RPOrigins: []string{origin},
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, RequireResidentKey: protocol.ResidentKeyRequired(),
			UserVerification: protocol.VerificationRequired,
		},
		Timeouts: webauthn.TimeoutsConfig{ // told to browsers; the ceremony's own end is kept with it
			Login:        webauthn.TimeoutConfig{Timeout: factor.CeremonyFor},
			Registration: webauthn.TimeoutConfig{Timeout: factor.CeremonyFor},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make relying party of %s: %w", rpID, err)
	}
	return &Party{lib: lib, rpID: rpID}, nil
}

var errAddress = errors.New("it is no address of the form https://host")

// place is the domain and the origin of a public address; "" where it has no domain.
func place(publicURL string) (rpID, origin string, err error) {
	u, err := url.Parse(publicURL)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return "", "", errAddress
	}
	host := strings.ToLower(u.Hostname())
	ip := net.ParseIP(host)
	switch {
	case ip != nil && ip.IsLoopback():
		host = "localhost"
	case ip != nil:
		return "", "", nil
	}
	origin = u.Scheme + "://" + host
	usual := map[string]string{"https": "443", "http": "80"}[u.Scheme]
	if port := u.Port(); port != "" && port != usual { // browsers leave the usual one out
		origin += ":" + port
	}
	return host, origin, nil
}

// errNoDomain is why there are no passkeys.
func errNoDomain() error {
	return fault.New(fault.Conflict, "the platform is reached by an address without a domain name, so it can have no passkeys")
}

// RPID implements [factor.WebAuthn].
func (p *Party) RPID() string { return p.rpID }

// Register implements [factor.WebAuthn].
func (p *Party) Register(of factor.State) (factor.Begun, error) {
	if p.lib == nil {
		return factor.Begun{}, errNoDomain()
	}
	u, err := userOf(of)
	if err != nil {
		return factor.Begun{}, err
	}
	exclude := make([]protocol.CredentialDescriptor, len(u.credentials))
	for i := range u.credentials {
		exclude[i] = u.credentials[i].Descriptor()
	}
	creation, session, err := p.lib.BeginRegistration(u, webauthn.WithExclusions(exclude))
	if err != nil {
		return factor.Begun{}, fmt.Errorf("ask for a passkey: %w", err)
	}
	return begun(creation.Response, session)
}

// Ask implements [factor.WebAuthn].
func (p *Party) Ask(of *factor.State) (factor.Begun, error) {
	if p.lib == nil {
		return factor.Begun{}, errNoDomain()
	}
	required := webauthn.WithUserVerification(protocol.VerificationRequired)
	if of == nil {
		assertion, session, err := p.lib.BeginDiscoverableLogin(required)
		if err != nil {
			return factor.Begun{}, fmt.Errorf("ask any passkey: %w", err)
		}
		return begun(assertion.Response, session)
	}
	u, err := userOf(*of)
	if err != nil {
		return factor.Begun{}, err
	}
	assertion, session, err := p.lib.BeginLogin(u, required)
	if err != nil {
		return factor.Begun{}, fmt.Errorf("ask a passkey: %w", err)
	}
	return begun(assertion.Response, session)
}

func begun(options any, session *webauthn.SessionData) (b factor.Begun, err error) {
	if b.Options, err = json.Marshal(options); err != nil {
		return b, fmt.Errorf("encode options: %w", err)
	}
	if b.State, err = json.Marshal(session); err != nil {
		return b, fmt.Errorf("encode ceremony: %w", err)
	}
	return b, nil
}

// session reads what [begun] has kept.
func session(state json.RawMessage) (s webauthn.SessionData, err error) {
	if err := json.Unmarshal(state, &s); err != nil {
		return s, fmt.Errorf("read ceremony: %w", err)
	}
	return s, nil
}

// Registered implements [factor.WebAuthn].
func (p *Party) Registered(of factor.State, a factor.Answer) (factor.Passkey, error) {
	if p.lib == nil {
		return factor.Passkey{}, errNoDomain()
	}
	u, err := userOf(of)
	if err != nil {
		return factor.Passkey{}, err
	}
	s, err := session(a.State)
	if err != nil {
		return factor.Passkey{}, err
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(a.Credential)
	if err != nil {
		return factor.Passkey{}, refused("read new passkey", err)
	}
	credential, err := p.lib.CreateCredential(u, s, parsed)
	if err != nil {
		return factor.Passkey{}, refused("check new passkey", err)
	}
	record, err := json.Marshal(credential)
	if err != nil {
		return factor.Passkey{}, fmt.Errorf("encode passkey: %w", err)
	}
	return factor.Passkey{
		RPID: p.rpID, CredentialID: credential.ID, Record: record, SignCount: credential.Authenticator.SignCount,
	}, nil
}

// Owner implements [factor.WebAuthn].
func (p *Party) Owner(credential json.RawMessage) (userID string, err error) {
	parsed, err := protocol.ParseCredentialRequestResponseBytes(credential)
	if err != nil {
		return "", refused("read passkey", err)
	}
	return string(parsed.Response.UserHandle), nil
}

// Verify implements [factor.WebAuthn].
func (p *Party) Verify(of factor.State, a factor.Answer) (factor.Used, error) {
	if p.lib == nil {
		return factor.Used{}, errNoDomain()
	}
	u, err := userOf(of)
	if err != nil {
		return factor.Used{}, err
	}
	s, err := session(a.State)
	if err != nil {
		return factor.Used{}, err
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(a.Credential)
	if err != nil {
		return factor.Used{}, refused("read passkey", err)
	}
	credential, err := p.validate(u, s, parsed)
	if err != nil {
		return factor.Used{}, refused("check passkey", err)
	}
	used := factor.Used{PasskeyID: u.ids[string(credential.ID)], SignCount: credential.Authenticator.SignCount}
	if credential.Authenticator.CloneWarning {
		used.SignCount = parsed.Response.AuthenticatorData.Counter
		return used, factor.ErrCopied
	}
	if used.Record, err = json.Marshal(credential); err != nil {
		return factor.Used{}, fmt.Errorf("encode passkey: %w", err)
	}
	return used, nil
}

func (p *Party) validate(u *user, s webauthn.SessionData, parsed *protocol.ParsedCredentialAssertionData) (*webauthn.Credential, error) {
	if len(s.UserID) > 0 {
		return p.lib.ValidateLogin(u, s, parsed) //nolint:wrapcheck // wrapped by the caller
	}
	_, credential, err := p.lib.ValidatePasskeyLogin(func([]byte, []byte) (webauthn.User, error) { return u, nil }, s, parsed)
	return credential, err //nolint:wrapcheck // wrapped by the caller
}

// refused is an answer that is not believed, with the library's reason for the
// operator.
func refused(attempted string, err error) error {
	var why *protocol.Error
	if errors.As(err, &why) && why.DevInfo != "" {
		err = fmt.Errorf("%w: %s", err, why.DevInfo)
	}
	return fault.Wrap(fault.Unauthenticated, attempted, err)
}

// user is a person as the library wants one. Its handle is the person's id, which is
// random and tells nothing.
type user struct {
	id, name    string
	credentials []webauthn.Credential
	ids         map[string]string // ids of passkeys by those of their credentials
}

var _ webauthn.User = (*user)(nil)

func userOf(st factor.State) (*user, error) {
	u := &user{id: st.UserID, name: st.Email, ids: map[string]string{}}
	for _, k := range st.Passkeys {
		var c webauthn.Credential
		if err := json.Unmarshal(k.Record, &c); err != nil {
			return nil, fmt.Errorf("read passkey %s: %w", k.ID, err)
		}
		c.Authenticator.SignCount = k.SignCount
		u.credentials = append(u.credentials, c)
		u.ids[string(c.ID)] = k.ID
	}
	return u, nil
}

// WebAuthnID implements [webauthn.User].
func (u *user) WebAuthnID() []byte { return []byte(u.id) }

// WebAuthnName implements [webauthn.User].
func (u *user) WebAuthnName() string { return u.name }

// WebAuthnDisplayName implements [webauthn.User].
func (u *user) WebAuthnDisplayName() string { return u.name }

// WebAuthnCredentials implements [webauthn.User].
func (u *user) WebAuthnCredentials() []webauthn.Credential { return u.credentials }
