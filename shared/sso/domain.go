package sso

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/egress"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
)

// Admin is what an organisation's administrators do about single sign-on.
type Admin struct {
	Domains     Domains
	Connections Connections
	Identities  Identities
	Names       Names
	Issuers     Issuers
	Vault       Vault
	Places      egress.Rules // where issuers may be
	Now         func() time.Time
}

const (
	maxDomainName = 253
	maxLabel      = 63
)

// DomainOf is the domain of an e-mail address as domains are stored, "" where it has
// none.
func DomainOf(email string) string {
	at := strings.LastIndexByte(email, '@')
	if at < 1 {
		return ""
	}
	return strings.ToLower(email[at+1:])
}

// checkDomain refuses what is no domain of a company's own.
func checkDomain(name string) error {
	if !domainName(name) {
		return fault.New(fault.Unprocessable, "that is no domain; it is written as in \"example.com\", with other letters in Punycode").At("domain")
	}
	for _, public := range publicMail() {
		if name == public || strings.HasSuffix(name, "."+public) {
			return fault.New(fault.Unprocessable, "addresses at %s belong to people, not to an organization", public).At("domain")
		}
	}
	return nil
}

// domainName tells whether a text is a name of at least two labels, of which the last
// is no number.
func domainName(name string) bool {
	labels := strings.Split(name, ".")
	if len(name) > maxDomainName || len(labels) < 2 || strings.Trim(labels[len(labels)-1], "0123456789") == "" {
		return false
	}
	return !slices.ContainsFunc(labels, func(l string) bool {
		return l == "" || len(l) > maxLabel || l[0] == '-' || l[len(l)-1] == '-' ||
			strings.Trim(l, "abcdefghijklmnopqrstuvwxyz0123456789-") != ""
	})
}

// publicMail lists domains under which anybody may have an address: the large ones.
// It is a courtesy; what protects people there is that nobody else writes into the DNS
// of their provider.
func publicMail() []string {
	return strings.Fields(`
		gmail.com googlemail.com outlook.com hotmail.com live.com msn.com yahoo.com ymail.com aol.com icloud.com me.com mac.com
		proton.me protonmail.com pm.me gmx.com gmx.de gmx.net web.de t-online.de mail.com mail.ru yandex.com yandex.ru zoho.com
		fastmail.com hey.com tutanota.com qq.com 163.com 126.com naver.com orange.fr wanadoo.fr free.fr laposte.net libero.it
		comcast.net verizon.net att.net`)
}

// AddDomain notes a domain that the organisation is going to verify.
func (s *Admin) AddDomain(ctx context.Context, p authz.Principal, name string) (Domain, error) {
	if err := p.Require(ctx, authz.DoSettingsWrite); err != nil {
		return Domain{}, err
	}
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	if err := checkDomain(name); err != nil {
		return Domain{}, err
	}
	d := Domain{
		OrgID: p.OrgID, ID: id.New(id.Domain), Name: name, Token: rand.Text(), CreatedBy: p.Actor(), CreatedAt: s.Now(),
	}
	rec := audit.New(ctx, p, d.CreatedAt, "sso.domain_add", d.ID).With(map[string]any{"domain": name})
	return d, s.Domains.AddDomain(ctx, d, rec)
}

// ListDomains returns all domains of the organisation.
func (s *Admin) ListDomains(ctx context.Context, p authz.Principal) ([]Domain, error) {
	if err := p.Require(ctx, authz.DoSettingsRead); err != nil {
		return nil, err
	}
	return s.Domains.ListDomains(ctx, p.OrgID)
}

// GetDomain returns a domain.
func (s *Admin) GetDomain(ctx context.Context, p authz.Principal, domainID string) (Domain, error) {
	if err := p.Require(ctx, authz.DoSettingsRead); err != nil {
		return Domain{}, err
	}
	return s.Domains.GetDomain(ctx, p.OrgID, domainID)
}

// VerifyDomain looks for the record in the DNS. Conflict: it is not there, or another
// organisation has verified the domain, and the DNS shows that one's record as well.
// What the DNS does not show any more, or who closed held, is taken over.
func (s *Admin) VerifyDomain(ctx context.Context, p authz.Principal, domainID string) (Domain, error) {
	if err := p.Require(ctx, authz.DoSettingsWrite); err != nil {
		return Domain{}, err
	}
	d, err := s.Domains.GetDomain(ctx, p.OrgID, domainID)
	if err != nil || d.Verified() {
		return d, err
	}
	texts, err := s.Names.Texts(ctx, d.RecordName())
	if err != nil {
		return Domain{}, fault.Wrap(fault.Unavailable, "look up "+d.RecordName(), err).After(10 * time.Second)
	}
	if !slices.Contains(texts, d.RecordValue()) {
		return Domain{}, fault.New(fault.Conflict, "the DNS does not show the record yet; what was set a moment ago may take until its old answer expires").
			With("reason", "record_missing").With("name", d.RecordName()).With("value", d.RecordValue()).With("found", len(texts))
	}
	rec := audit.New(ctx, p, s.Now(), "sso.domain_verify", d.ID).With(map[string]any{"domain": d.Name})
	holder, err := s.Domains.Holder(ctx, d.Name)
	if err != nil {
		return Domain{}, err
	}
	if holder == nil || holder.Domain.OrgID == p.OrgID {
		return s.Domains.VerifyDomain(ctx, p.OrgID, d.ID, rec, nil)
	}
	why := "its organization is closed"
	if !holder.Closed {
		if slices.Contains(texts, holder.Domain.RecordValue()) {
			return Domain{}, ErrTaken()
		}
		why = "the DNS shows the record of another organization in its place"
	}
	from := Loss{Domain: holder.Domain, Record: lost(ctx, holder.Domain, rec.At, why)}
	return s.Domains.VerifyDomain(ctx, p.OrgID, d.ID, rec.With(map[string]any{"taken_over": true}), &from)
}

// ErrTaken is the answer to who wants a domain that another organisation has.
func ErrTaken() *fault.Error {
	return fault.New(fault.Conflict, "another organization has verified this domain, and the DNS still shows its record: take that one out").With("reason", "taken")
}

// RemoveDomain gives a domain up: nobody with an address of it signs in by the
// organisation's connections any more.
func (s *Admin) RemoveDomain(ctx context.Context, p authz.Principal, domainID string) error {
	if err := p.Require(ctx, authz.DoSettingsWrite); err != nil {
		return err
	}
	d, err := s.Domains.GetDomain(ctx, p.OrgID, domainID)
	if err != nil {
		return err
	}
	rec := audit.New(ctx, p, s.Now(), "sso.domain_remove", d.ID).With(map[string]any{"domain": d.Name, "verified": d.Verified()})
	return s.Domains.RemoveDomain(ctx, p.OrgID, d.ID, rec)
}

// ErrNoDomain is the answer to an id that is no domain's of the organisation.
func ErrNoDomain() *fault.Error { return fault.New(fault.NotFound, "there is no such domain") }
