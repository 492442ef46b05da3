package authz

import "net/netip"

// Plain is a network as addresses are compared with it: one of IPv4 that is written as
// a part of IPv6 is the one of IPv4.
func Plain(n netip.Prefix) netip.Prefix {
	const mapped = 96 // bits before the IPv4 address
	if n.Addr().Is4In6() && n.Bits() >= mapped {
		return netip.PrefixFrom(n.Addr().Unmap(), n.Bits()-mapped).Masked()
	}
	return n.Masked()
}

// contains reports whether an address lies in one of the networks. One that is not
// known lies nowhere.
func contains(networks []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, n := range networks {
		if Plain(n).Contains(a) {
			return true
		}
	}
	return false
}
