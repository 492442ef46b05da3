package apikey

import (
	"net/netip"
	"slices"

	"github.com/aiaas/aiaas/shared/fault"
)

const (
	maxNetworks = 100
	mappedBits  = 96 // of an IPv6 address, before the IPv4 address that it holds
)

// ParseNetworks reads an IP allow-list: networks in CIDR notation, and single
// addresses. One that names a host and means its network is refused, for it might
// have meant the host.
func ParseNetworks(texts []string) ([]netip.Prefix, error) {
	out := make([]netip.Prefix, 0, len(texts))
	for _, t := range texts {
		n, ok := parseNetwork(t)
		if !ok {
			return nil, fault.New(fault.Unprocessable, "%q is no address and no network like 192.0.2.0/24", clip(t)).At("ip_allow_list")
		}
		if n != n.Masked() {
			return nil, fault.New(fault.Unprocessable, "%s names a host; its network is %s, its address alone %s", n, n.Masked(), n.Addr()).At("ip_allow_list")
		}
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out, checkNetworks(out)
}

// parseNetwork takes IPv4 in IPv6's clothes as what it is: that is how callers'
// addresses are compared.
func parseNetwork(text string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(text); err == nil {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), a.Zone() == ""
	}
	n, err := netip.ParsePrefix(text)
	if err != nil {
		return n, false
	}
	if n.Addr().Is4In6() {
		if n.Bits() < mappedBits {
			return n, false
		}
		n = netip.PrefixFrom(n.Addr().Unmap(), n.Bits()-mappedBits)
	}
	return n, true
}

func checkNetworks(list []netip.Prefix) error {
	if len(list) > maxNetworks {
		return fault.New(fault.Unprocessable, "an IP allow-list has at most %d networks", maxNetworks).At("ip_allow_list")
	}
	return nil
}

// within reports whether every address of some networks lies in others, where no
// networks are all addresses.
func within(inner, outer []netip.Prefix) bool {
	if len(outer) == 0 {
		return true
	}
	for _, n := range inner {
		if !slices.ContainsFunc(outer, func(o netip.Prefix) bool { return o.Bits() <= n.Bits() && o.Contains(n.Addr()) }) {
			return false
		}
	}
	return len(inner) > 0
}
