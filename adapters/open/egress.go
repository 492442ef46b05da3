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
	return rules(e, s, s.BackendNetworks)
}

// WebhookRules say where webhooks may be.
func WebhookRules(ctx context.Context, e *function.Env) (egress.Rules, error) {
	s, err := Load(ctx, e)
	if err != nil {
		return egress.Rules{}, err
	}
	return rules(e, s, s.WebhookNetworks)
}

// rules are those of a setting. On a laptop what listens on loopback may be called
// there too: only who is on the machine gives it work. Elsewhere loopback is where
// sidecars are, and Lambda's run-time interface.
func rules(e *function.Env, s Settings, networks string) (egress.Rules, error) {
	list, err := egress.ParseNetworks(networks)
	if err != nil {
		return egress.Rules{}, fmt.Errorf("read networks: %w", err)
	}
	if e.LocalDisk && onLoopback(s.Addr) {
		list = append(list, egress.Loopback()...)
	}
	return egress.New(list...), nil
}

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
