package egress

import "net/netip"

// network is a part of the address space and what it is for.
type network struct {
	prefix netip.Prefix
	what   string
}

// n is a network of a table.
func n(prefix, what string) network { return network{netip.MustParsePrefix(prefix), what} }

// keptNetworks are those that a wider network in the settings does not open: they
// must be listed themselves.
func keptNetworks() []netip.Prefix {
	texts := []string{
		"0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32", "::/128", "fe80::/10", "fec0::/10", "ff00::/8",
		"100.100.100.200/32", "168.63.129.16/32", "fd00:ec2::254/128", "fd20:ce::254/128", // metadata of Alibaba, Azure, AWS and Google
	}
	out := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		out[i] = netip.MustParsePrefix(text)
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
	for _, x := range networks {
		if x.prefix.Contains(ip) {
			return x.what
		}
	}
	return ""
}

func v4() []network {
	return []network{
		n("0.0.0.0/8", "of this network"),
		n("10.0.0.0/8", "private"),
		n("100.64.0.0/10", "of a carrier's network"),
		n("127.0.0.0/8", "this machine"),
		n("168.63.129.16/32", "a cloud's metadata service"),
		n("169.254.0.0/16", "link-local"),
		n("172.16.0.0/12", "private"),
		n("192.0.0.0/24", "reserved for protocols"),
		n("192.0.2.0/24", "for documentation"),
		n("192.88.99.0/24", "a relay of 6to4"),
		n("192.168.0.0/16", "private"),
		n("198.18.0.0/15", "for benchmarks"),
		n("198.51.100.0/24", "for documentation"),
		n("203.0.113.0/24", "for documentation"),
		n("224.0.0.0/4", "multicast"),
		n("240.0.0.0/4", "reserved"),
	}
}

func v6() []network {
	return []network{
		n("::/128", "unspecified"),
		n("::1/128", "this machine"),
		n("::/96", "a compatible form of IPv4"),
		n("::ffff:0:0:0/96", "a translated form of IPv4"),
		n("64:ff9b:1::/48", "a local translation"),
		n("100::/64", "for discarding"),
		n("2001::/23", "reserved for protocols"), // Teredo, benchmarks and ORCHID among them
		n("2001:db8::/32", "for documentation"),
		n("2002::/16", "a tunnel of 6to4"),
		n("3fff::/20", "for documentation"),
		n("5f00::/16", "for segment routing"),
		n("fc00::/7", "private"),
		n("fe80::/10", "link-local"),
		n("fec0::/10", "site-local"),
		n("ff00::/8", "multicast"),
	}
}
