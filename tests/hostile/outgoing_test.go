package hostile_test

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// private are addresses of private places, each with whose they are.
func private() map[string]string {
	return map[string]string{
		"127.0.0.2": "loopback, but not the one that is allowed here", "127.255.255.254": "its other end", "0.0.0.0": "this host",
		"10.0.0.1": "private", "172.16.0.1": "private", "172.31.255.254": "private", "192.168.1.1": "private", "100.64.0.1": "a carrier's",
		"169.254.169.254": "metadata of AWS, Azure, GCP, Linode", "169.254.170.2": "metadata of containers", "100.100.100.200": "metadata of Alibaba", "168.63.129.16": "Azure's host",
		"192.0.0.192": "metadata of Oracle", "198.18.0.1": "benchmarks", "224.0.0.1": "everybody", "240.0.0.1": "nobody", "255.255.255.255": "everybody here",
	}
}

// notations are ways to write an IPv4 address as the host of a URL that some
// resolver or library reads as that address.
func notations(t *testing.T, address string) []string {
	t.Helper()
	ip := netip.MustParseAddr(address)
	b := ip.As4()
	v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	wide := strings.Map(func(r rune) rune {
		if r == '.' {
			return '。'
		}
		return r - '0' + '０'
	}, address)
	h := func(i int) uint16 { return uint16(b[i])<<8 | uint16(b[i+1]) }
	return []string{
		address, address + ".", fmt.Sprint(v), fmt.Sprintf("0x%x", v), fmt.Sprintf("0X%08X", v), fmt.Sprintf("0%o", v),
		fmt.Sprintf("0%o.0%o.0%o.0%o", b[0], b[1], b[2], b[3]), fmt.Sprintf("0x%x.0x%x.0x%x.0x%x", b[0], b[1], b[2], b[3]), fmt.Sprintf("000%o.%d.0x%x.%d", b[0], b[1], b[2], b[3]),
		fmt.Sprintf("%d.%d", b[0], v&0xffffff), fmt.Sprintf("%d.%d.%d", b[0], b[1], v&0xffff), fmt.Sprintf("0x%x.0%o", b[0], v&0xffffff),
		wide, strings.Replace(address, ".", "%2e", 1), fmt.Sprintf("%%%02x%s", address[0], address[1:]),
		"[::ffff:" + address + "]", fmt.Sprintf("[::ffff:%x:%x]", h(0), h(2)), fmt.Sprintf("[0:0:0:0:0:FFFF:%X:%X]", h(0), h(2)), "[::" + address + "]",
		fmt.Sprintf("[64:ff9b::%x:%x]", h(0), h(2)), "[64:ff9b::" + address + "]", fmt.Sprintf("[64:ff9b:1::%x:%x]", h(0), h(2)), fmt.Sprintf("[2002:%x:%x::1]", h(0), h(2)),
	}
}

// places are hosts that nothing of ours may connect to, and URLs that name another
// host than they seem to.
func places(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, address := range slices.Sorted(maps.Keys(private())) {
		for _, host := range notations(t, address) {
			out = append(out, "https://"+host+"/v1", "https://"+host+":8443/v1")
		}
	}
	for _, host := range []string{
		"[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[fe80::1]", "[fe80::1%25eth0]", "[fd00:ec2::254]", "[fc00::1]", "[ff02::1]", "[fec0::1]",
		"[::1", "::1", "", ".", "a..b", "example.com@127.0.0.2", "user:password@example.com", "example.com:0", "example.com:99999", "example.com:x", "exa mple.com", "example.com\\@127.0.0.2",
		"example.com\u0000", "example.com%00.127.0.0.2", "127.0.0.2%09",
	} {
		out = append(out, "https://"+host+"/v1")
	}
	return append(out,
		"http:/127.0.0.2/", "http:127.0.0.2", "//127.0.0.2/", "/v1", "127.0.0.2", "file:///etc/passwd", "gopher://example.com/", "ftp://example.com/", "unix:///run/docker.sock",
		"jar:https://example.com!/", "data:text/plain,x", "javascript:alert(1)", "https://", "https:///v1", "https://example.com/#x", "https://example.com/\r\nX-Evil: 1", " https://example.com/", "",
	)
}

// TestNoAddressLeadsInside puts every notation of private places into every member
// of every body that is an address. One loopback address is allowed, as the tests'
// own backend is there: it opens no other. (localhost is one of its names.)
func TestNoAddressLeadsInside(t *testing.T) {
	p := start(t, "AIAAS_ADDR", "0.0.0.0:8080", "AIAAS_BACKEND_NETWORKS", "127.0.0.1/32", "AIAAS_WEBHOOK_NETWORKS", "127.0.0.1/32", "AIAAS_SSO_NETWORKS", "127.0.0.1/32")
	address := regexp.MustCompile(`(^|_)(url|uri|endpoint|callback|webhook|host|address|issuer)$`)
	var found []string
	p.harmless(func() {
		p.eachBody(func(t *testing.T, r route) {
			t.Helper()
			for name := range r.schema.Properties {
				if !address.MatchString(name) || left(r.OperationID, name, "") {
					continue
				}
				found = append(found, r.OperationID+"."+name)
				for _, place := range places(t) {
					a := p.do(r.Method, r.target, r.key, with(t, r.body, name, quote(place)))
					if refused(t, a, 400, 422); t.Failed() {
						t.Fatalf("%s = %q", name, place)
					}
				}
			}
		})
	})
	slices.Sort(found)
	for _, known := range []string{"addBackend.base_url", "changeWebhook.url", "createSsoConnection.issuer", "createWebhook.url"} {
		if !slices.Contains(found, known) {
			t.Errorf("%s was not found among %v", known, found)
		}
	}
}
