// Package origin tells where a request came from: the client's address, and what
// it calls itself. Both end up in logs and are therefore cleaned here.
//
// Whoever connects can send X-Forwarded-For; it is believed only as far as the
// proxies that are named as trusted have written it.
package origin

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// maxAgent is the longest User-Agent that is kept, in bytes.
const maxAgent = 200

// Finder finds origins.
type Finder struct{ trusted []netip.Prefix }

// NewFinder makes a finder that believes proxies in the given networks: a list of
// prefixes or addresses, separated by commas.
func NewFinder(trusted string) (*Finder, error) {
	f := &Finder{}
	for part := range strings.SplitSeq(trusted, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		prefix, err := netip.ParsePrefix(part)
		if err != nil {
			addr, addrErr := netip.ParseAddr(part)
			if addrErr != nil {
				return nil, fmt.Errorf("read trusted proxies: %q is no address and no network", part)
			}
			addr = addr.Unmap()
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		f.trusted = append(f.trusted, prefix.Masked())
	}
	return f, nil
}

// Address is the client's address, without its port: the last one on the way that
// is not a trusted proxy's.
func (f *Finder) Address(r *http.Request) string {
	peer := host(r.RemoteAddr)
	if len(f.trusted) == 0 || !f.trusts(peer) {
		return clean(peer, maxAgent)
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, text := range slices.Backward(hops) {
		hop, err := parse(strings.TrimSpace(text))
		if err != nil {
			break // nobody trusted writes that
		}
		if peer = hop.String(); !f.trusts(peer) {
			break
		}
	}
	return peer
}

// host is an address without a port that may follow it. An IPv4 address that came
// through an IPv6 socket is the IPv4 address.
func host(peer string) string {
	switch {
	case strings.HasPrefix(peer, "["):
		peer, _, _ = strings.Cut(peer[1:], "]")
	case strings.Count(peer, ":") == 1:
		peer, _, _ = strings.Cut(peer, ":")
	}
	if v4, mapped := strings.CutPrefix(peer, "::ffff:"); mapped && !strings.Contains(v4, ":") {
		return v4
	}
	return peer
}

// parse reads a hop of X-Forwarded-For. Some proxies write the port, too.
func parse(hop string) (netip.Addr, error) {
	a, err := netip.ParseAddr(hop)
	if err != nil {
		a, err = netip.ParseAddr(host(hop))
	}
	return a.Unmap().WithZone(""), err
}

func (f *Finder) trusts(address string) bool {
	a, err := parse(address)
	if err != nil {
		return false
	}
	for _, p := range f.trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// UserAgent is what the client calls itself: valid UTF-8 without control
// characters, at most 200 bytes.
func UserAgent(r *http.Request) string {
	v := r.Header["User-Agent"]
	if len(v) == 0 {
		return ""
	}
	return clean(v[0], maxAgent)
}

func clean(s string, most int) string {
	plain := len(s) <= most
	for i := 0; plain && i < len(s); i++ {
		plain = s[i] >= ' ' && s[i] < 0x7f
	}
	if plain {
		return s
	}
	if len(s) > 2*most {
		s = s[:2*most] // no need to read on, whatever is dropped
	}
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "�"))
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return s
}
