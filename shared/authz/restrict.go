package authz

import "net/netip"

// contains reports whether an address lies in one of the networks. One that is not
// known lies nowhere.
func contains(networks []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, n := range networks {
		if n.Contains(a) {
			return true
		}
	}
	return false
}
