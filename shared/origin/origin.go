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
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		f.trusted = append(f.trusted, prefix.Masked())
	}
	return f, nil
}

// Address is the client's address, without its port: the last one on the way that
// is not a trusted proxy's.
func (f *Finder) Address(r *http.Request) string {
	peer := r.RemoteAddr
	if i := strings.LastIndexByte(peer, ':'); i > 0 && (peer[0] == '[' || strings.Count(peer, ":") == 1) {
		peer = strings.Trim(peer[:i], "[]")
	}
	if len(f.trusted) == 0 || !f.trusts(peer) {
		return clean(peer, maxAgent)
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, text := range slices.Backward(hops) {
		hop, err := netip.ParseAddr(strings.TrimSpace(text))
		if err != nil {
			break // nobody trusted writes that
		}
		peer = hop.Unmap().String()
		if !f.trusts(peer) {
			break
		}
	}
	return peer
}

func (f *Finder) trusts(address string) bool {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return false
	}
	a = a.Unmap()
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
