package egress

import "net/netip"

// network is a part of the address space and what it is for.
type network struct {
	prefix netip.Prefix
	what   string
}

func list(pairs ...string) []network {
	out := make([]network, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, network{netip.MustParsePrefix(pairs[i]), pairs[i+1]})
	}
	return out
}

// keptNetworks are those that a wider network in the settings does not open: they
// must be listed themselves.
func keptNetworks() []netip.Prefix {
	var out []netip.Prefix
	for _, n := range list(
		"0.0.0.0/8", "", "169.254.0.0/16", "", "224.0.0.0/4", "", "255.255.255.255/32", "",
		"100.100.100.200/32", "", "168.63.129.16/32", "", // metadata of Alibaba and Azure
		"::/128", "", "fe80::/10", "", "fec0::/10", "", "ff00::/8", "",
		"fd00:ec2::254/128", "", "fd20:ce::254/128", "", // metadata of AWS and Google
	) {
		out = append(out, n.prefix)
	}
	return out
}

// special says what is special about an address, "" for those of the public
// Internet. The networks are those of IANA's registries of special-purpose
// addresses (RFC 6890), and what clouds put into public space.
func special(ip netip.Addr) string {
	if ip.Is4() {
		return in(ip, v4())
	}
	if why := in(ip, v6()); why != "" {
		return why
	}
	if nat64 := netip.MustParsePrefix("64:ff9b::/96"); nat64.Contains(ip) {
		// How hosts that have IPv6 only reach the rest: it is what is in it.
		b := ip.As16()
		if why := in(netip.AddrFrom4([4]byte(b[12:])), v4()); why != "" {
			return "translated to " + why
		}
		return ""
	}
	// All that was ever handed out to be reached by everybody.
	if !netip.MustParsePrefix("2000::/3").Contains(ip) {
		return "not of the public Internet"
	}
	return ""
}

func in(ip netip.Addr, networks []network) string {
	for _, n := range networks {
		if n.prefix.Contains(ip) {
			return n.what
		}
	}
	return ""
}

func v4() []network {
	return list(
		"0.0.0.0/8", "of this network",
		"10.0.0.0/8", "private",
		"100.64.0.0/10", "of a carrier's network",
		"127.0.0.0/8", "this machine",
		"168.63.129.16/32", "a cloud's metadata service",
		"169.254.0.0/16", "link-local",
		"172.16.0.0/12", "private",
		"192.0.0.0/24", "reserved for protocols",
		"192.0.2.0/24", "for documentation",
		"192.88.99.0/24", "a relay of 6to4",
		"192.168.0.0/16", "private",
		"198.18.0.0/15", "for benchmarks",
		"198.51.100.0/24", "for documentation",
		"203.0.113.0/24", "for documentation",
		"224.0.0.0/4", "multicast",
		"240.0.0.0/4", "reserved",
	)
}

func v6() []network {
	return list(
		"::/128", "unspecified",
		"::1/128", "this machine",
		"::/96", "a compatible form of IPv4",
		"::ffff:0:0:0/96", "a translated form of IPv4",
		"64:ff9b:1::/48", "a local translation",
		"100::/64", "for discarding",
		"2001::/23", "reserved for protocols", // Teredo, benchmarks and ORCHID among them
		"2001:db8::/32", "for documentation",
		"2002::/16", "a tunnel of 6to4",
		"3fff::/20", "for documentation",
		"5f00::/16", "for segment routing",
		"fc00::/7", "private",
		"fe80::/10", "link-local",
		"fec0::/10", "site-local",
		"ff00::/8", "multicast",
	)
}
