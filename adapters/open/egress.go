package open

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/aiaas/aiaas/shared/egress"
	"github.com/aiaas/aiaas/shared/function"
)

// BackendRules say where backends may be.
func BackendRules(ctx context.Context, e *function.Env) (egress.Rules, error) {
	s, err := Load(ctx, e)
	if err != nil {
		return egress.Rules{}, err
	}
	list, err := egress.ParseNetworks(s.BackendNetworks)
	if err != nil {
		return egress.Rules{}, fmt.Errorf("read networks: %w", err)
	}
	if laptop(e, s) {
		list = append(list, egress.Loopback()...)
	}
	return egress.New(list...), nil
}

// WebhookRules say where webhooks may be.
func WebhookRules(ctx context.Context, e *function.Env) (egress.Rules, error) {
	s, err := Load(ctx, e)
	if err != nil {
		return egress.Rules{}, err
	}
	list, err := egress.ParseNetworks(s.WebhookNetworks)
	if err != nil {
		return egress.Rules{}, fmt.Errorf("read networks: %w", err)
	}
	return egress.New(list...), nil
}

// SSORules say where issuers of single sign-on may be.
func SSORules(ctx context.Context, e *function.Env) (egress.Rules, error) {
	s, err := Load(ctx, e)
	if err != nil {
		return egress.Rules{}, err
	}
	list, err := egress.ParseNetworks(s.SSONetworks)
	if err != nil {
		return egress.Rules{}, fmt.Errorf("read networks: %w", err)
	}
	return egress.New(list...), nil
}

// laptop reports whether the process listens on loopback. Its backends may be there,
// too: the platform's administrator names them. Webhooks are named by tenants, for whom
// a proxy may open the way, and may only where they are listed. Elsewhere loopback is
// where sidecars are, and Lambda's run-time interface.
func laptop(e *function.Env, s Settings) bool { return e.LocalDisk && onLoopback(s.Addr) }

func onLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
