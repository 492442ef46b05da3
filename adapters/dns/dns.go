// Package dns looks up what the DNS says of names that tenants say are theirs.
package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/aiaas/aiaas/shared/sso"
)

const (
	patience = 5 * time.Second
	// maxTexts is how many records of a name are looked at.
	maxTexts = 200
)

// Resolver asks name servers.
type Resolver struct{ resolver *net.Resolver }

var _ sso.Names = (*Resolver)(nil)

// New makes a resolver that asks one server, "192.0.2.53:53", or where that is "" the
// ones that the system asks.
func New(server string) *Resolver {
	r := &net.Resolver{PreferGo: true}
	if server != "" {
		r.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: patience}).DialContext(ctx, network, server)
		}
	}
	return &Resolver{resolver: r}
}

// Texts implements [sso.Names].
func (r *Resolver) Texts(ctx context.Context, name string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	texts, err := r.resolver.LookupTXT(ctx, name+".") // not within the system's own domain
	if notFound, ok := errors.AsType[*net.DNSError](err); ok && notFound.IsNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up TXT: %w", err)
	}
	return texts[:min(len(texts), maxTexts)], nil
}
