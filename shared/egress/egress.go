// Package egress says which addresses the platform may connect to on somebody's
// word: those of webhooks, which any organisation names, and those of backends.
//
// The rule is made for the address that a connection is really opened to, after
// names were resolved ([Rules.Check]); whoever dials asks it then, each time. That
// is what holds against names that lead to private places, answers that change
// between two look-ups, and unusual ways to write an address. What [Rules.CheckHost]
// refuses early is a courtesy to who types a private address.
//
// Everything is refused that is not known to be on the public Internet, unless an
// operator has listed its network.
package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// ErrRefused is the refusal of an address.
var ErrRefused = errors.New("the address may not be connected to")

// Rules say which addresses may be connected to. The zero value allows the public
// Internet only.
type Rules struct {
	networks []netip.Prefix
}

// New makes rules with networks that may be connected to besides.
func New(networks ...netip.Prefix) Rules {
	list := make([]netip.Prefix, len(networks))
	for i, n := range networks {
		list[i] = unmapped(n)
	}
	return Rules{networks: list}
}

// unmapped is the network of IPv4 that one of IPv4-mapped addresses stands for.
func unmapped(n netip.Prefix) netip.Prefix {
	if n.Addr().Is4In6() && n.Bits() >= 96 {
		return netip.PrefixFrom(n.Addr().Unmap(), n.Bits()-96).Masked()
	}
	return n.Masked()
}

// ParseNetworks reads networks as "10.0.0.0/8, fd00::/8"; a single address is a
// network of itself.
func ParseNetworks(text string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for item := range strings.SplitSeq(text, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		if ip, err := netip.ParseAddr(item); err == nil && ip.Zone() == "" {
			list = append(list, netip.PrefixFrom(ip, ip.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(item)
		if err != nil {
			return nil, fmt.Errorf("%q is no network, as in 10.0.0.0/8", item)
		}
		list = append(list, p)
	}
	return list, nil
}

// Loopback is the network of the machine itself.
func Loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// Lists reports whether any network is listed.
func (r Rules) Lists() bool { return len(r.networks) > 0 }

// Listed reports whether an operator has listed the network of an address.
func (r Rules) Listed(ip netip.Addr) bool {
	ip = ip.WithZone("").Unmap()
	kept := netip.Prefix{}
	for _, k := range keptNetworks() {
		if k.Contains(ip) {
			kept = k
		}
	}
	return slices.ContainsFunc(r.networks, func(n netip.Prefix) bool {
		// A wide network does not name what is kept for special ends: it must lie
		// within that.
		named := !kept.IsValid() || (n.Bits() >= kept.Bits() && kept.Contains(n.Addr()))
		return named && n.Contains(ip)
	})
}

// Check is ErrRefused where the address may not be connected to. A zone names an
// interface of this machine, and only listed networks may have one.
func (r Rules) Check(ip netip.Addr) error {
	switch {
	case !ip.IsValid():
		return fmt.Errorf("no address: %w", ErrRefused)
	case r.Listed(ip):
		return nil
	case ip.Zone() != "":
		return fmt.Errorf("%s names an interface of this machine: %w", ip, ErrRefused)
	}
	if why := special(ip.Unmap()); why != "" {
		return fmt.Errorf("%s is %s: %w", ip, why, ErrRefused)
	}
	return nil
}

// CheckURL refuses an address at once that would be refused, or lead nowhere,
// whenever it is dialled.
func (r Rules) CheckURL(u *url.URL) error {
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("there is no port %s: %w", port, ErrRefused)
		}
	}
	return r.CheckHost(u.Hostname())
}

// CheckHost refuses a host that is written as an address which may not be connected
// to, in any of the ways in which C's inet_aton and its relatives read one, or that
// names this machine. Other names pass: what they lead to is seen when they are
// dialled.
func (r Rules) CheckHost(host string) error {
	name := strings.TrimSuffix(strings.ToLower(host), ".")
	if ip, ok := Literal(name); ok {
		return r.Check(ip)
	}
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return r.Check(netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	}
	if name == "" || strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' }) {
		// Digits of other scripts are digits to some resolvers.
		return fmt.Errorf("the host must be written in ASCII: %w", ErrRefused)
	}
	if strings.HasPrefix(name, ".") || strings.Contains(name, "..") {
		return fmt.Errorf("the host has an empty part: %w", ErrRefused)
	}
	return nil
}

// Literal is the address that a host is written as: also in decimal, octal or
// hexadecimal numbers, and with fewer than four of them. ok is false for names.
func Literal(host string) (ip netip.Addr, ok bool) {
	host = strings.TrimSuffix(host, ".")
	if inner, isV6 := strings.CutPrefix(host, "["); isV6 {
		host = strings.TrimSuffix(inner, "]")
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip, true
	}
	return numbers(host)
}

// numbers reads one to four numbers, of which the last fills what is left.
func numbers(host string) (netip.Addr, bool) {
	parts := strings.Split(host, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var sum uint64
	for i, p := range parts {
		v, ok := number(p)
		last := i == len(parts)-1
		switch {
		case !ok:
			return netip.Addr{}, false
		case last:
			if v >= 1<<(8*(4-i)) {
				return netip.Addr{}, false
			}
			sum |= v
		case v > 255:
			return netip.Addr{}, false
		default:
			sum |= v << (8 * (3 - i))
		}
	}
	return netip.AddrFrom4([4]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}), true
}

// number reads 10, 0x0a and 012.
func number(s string) (uint64, bool) {
	base := 10
	switch {
	case strings.HasPrefix(s, "0x"), strings.HasPrefix(s, "0X"):
		s, base = s[2:], 16
		if s == "" { // some read 0x as 0
			return 0, true
		}
	case len(s) > 1 && s[0] == '0':
		s, base = s[1:], 8
	}
	if s == "" || s[0] == '+' || s[0] == '-' {
		return 0, false
	}
	v, err := strconv.ParseUint(s, base, 33)
	return v, err == nil
}
