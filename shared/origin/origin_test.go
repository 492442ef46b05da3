package origin_test

import (
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/aiaas/aiaas/shared/origin"
)

func request(peer string, forwarded ...string) *http.Request {
	r := &http.Request{RemoteAddr: peer, Header: http.Header{}}
	for _, f := range forwarded {
		r.Header.Add("X-Forwarded-For", f)
	}
	return r
}

func TestTheAddressIsTheLastOneThatNobodyTrusts(t *testing.T) {
	const proxies = "10.0.0.0/8, 192.0.2.7 ,2001:db8:1::/48, ::ffff:198.18.0.1"
	for _, c := range []struct {
		name, trusted, peer string
		forwarded           []string
		want                string
	}{
		{"a peer with its port", "", "203.0.113.5:4711", nil, "203.0.113.5"},
		{"a peer without", "", "203.0.113.5", nil, "203.0.113.5"},
		{"IPv6 with a port", "", "[2001:db8::1]:443", nil, "2001:db8::1"},
		{"IPv6 in brackets", "", "[2001:db8::1]", nil, "2001:db8::1"},
		{"IPv6 without a port", "", "2001:db8::1", nil, "2001:db8::1"},
		{"a loopback", "", "[::1]:80", nil, "::1"},
		{"IPv4 through an IPv6 socket", "", "[::ffff:203.0.113.5]:80", nil, "203.0.113.5"},
		{"mapped, in hexadecimal", "", "[::ffff:cb00:7105]:80", nil, "::ffff:cb00:7105"},
		{"no peer", "", "", nil, ""},
		{"a peer that is no address", "", "@\x00socket", nil, "@socket"},
		{"forged, nobody trusted", "", "203.0.113.5:1", []string{"1.2.3.4"}, "203.0.113.5"},
		{"forged, the peer not trusted", proxies, "203.0.113.5:1", []string{"1.2.3.4"}, "203.0.113.5"},
		{"forged in front of the proxy's", proxies, "10.1.1.1:1", []string{"1.2.3.4, 203.0.113.5"}, "203.0.113.5"},
		{"forged as a proxy", proxies, "10.1.1.1:1", []string{"1.2.3.4, 10.9.9.9, 203.0.113.5"}, "203.0.113.5"},
		{"forged in a line of its own", proxies, "10.1.1.1:1", []string{"1.2.3.4", "203.0.113.5"}, "203.0.113.5"},
		{"through one proxy", proxies, "10.1.1.1:1", []string{"203.0.113.5"}, "203.0.113.5"},
		{"through three", proxies, "10.1.1.1:1", []string{"203.0.113.5, 192.0.2.7", "10.2.2.2"}, "203.0.113.5"},
		{"through IPv6 proxies", proxies, "[2001:db8:1::9]:1", []string{"2001:db8:ffff::5, 2001:db8:1:2::1"}, "2001:db8:ffff::5"},
		{"through a link-local proxy", "fe80::/10", "[fe80::1%eth0]:1", []string{"203.0.113.5"}, "203.0.113.5"},
		{"a proxy on a mapped address", proxies, "[::ffff:10.1.1.1]:1", []string{"::ffff:203.0.113.5"}, "203.0.113.5"},
		{"a proxy that was named mapped", proxies, "198.18.0.1:1", []string{"203.0.113.5"}, "203.0.113.5"},
		{"hops with ports", proxies, "10.1.1.1:1", []string{"[2001:db8::5]:123, 10.3.3.3:99"}, "2001:db8::5"},
		{"spaces", proxies, "10.1.1.1:1", []string{" 203.0.113.5 ,\t10.2.2.2 "}, "203.0.113.5"},
		{"only proxies", proxies, "10.1.1.1:1", []string{"10.2.2.2, 10.3.3.3"}, "10.2.2.2"},
		{"a proxy that writes nothing", proxies, "10.1.1.1:1", nil, "10.1.1.1"},
		{"an empty list", proxies, "10.1.1.1:1", []string{""}, "10.1.1.1"},
		{"garbage", proxies, "10.1.1.1:1", []string{"203.0.113.5, unknown"}, "10.1.1.1"},
		{"garbage behind a proxy", proxies, "10.1.1.1:1", []string{"<script>, 10.2.2.2"}, "10.2.2.2"},
		{"an address with a zone that is text", proxies, "10.1.1.1:1", []string{"fe80::5%\x01\xff<b>"}, "fe80::5"},
		{"outside of the network by one", "203.0.113.0/30", "203.0.113.4:1", []string{"1.2.3.4"}, "203.0.113.4"},
		{"a network with host bits", "203.0.113.9/24", "203.0.113.4:1", []string{"1.2.3.4"}, "1.2.3.4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := origin.NewFinder(c.trusted)
			if err != nil {
				t.Fatal(err)
			}
			if got := f.Address(request(c.peer, c.forwarded...)); got != c.want {
				t.Errorf("%q; want %q", got, c.want)
			}
		})
	}
}

func TestProxiesThatCanBeNamed(t *testing.T) {
	for _, bad := range []string{"proxy.example", "10.0.0.0/33", "10.0.0.0/", "300.1.1.1", "10.0.0.1:80", "10.0.0.0/8 10.0.0.1"} {
		if _, err := origin.NewFinder(bad); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v; want an error that quotes it", bad, err)
		}
	}
	for _, good := range []string{"", " , ,", "::/0", "10.0.0.1,", "0.0.0.0/0"} {
		if _, err := origin.NewFinder(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
}

func TestUserAgentsAreCleaned(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []string
		want string
	}{
		{"none", nil, ""},
		{"plain", []string{"OpenAI/Python 2.1.0"}, "OpenAI/Python 2.1.0"},
		{"other letters", []string{"ключ/1 ü 漢"}, "ключ/1 ü 漢"},
		{"control bytes", []string{"a\x00b\r\nc\x1b[31m\x7f\u0085"}, "abc[31m"},
		{"invalid UTF-8", []string{"a\xff\xc3b"}, "a�b"},
		{"several", []string{"first", "second"}, "first"},
		{"long", []string{strings.Repeat("x", 10<<10)}, strings.Repeat("x", 200)},
		{"long, cut within a letter", []string{"a" + strings.Repeat("ü", 10<<10)}, "a" + strings.Repeat("ü", 99)},
		{"long, of control bytes", []string{strings.Repeat("\x01", 10<<10)}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := request("")
			if c.in != nil {
				r.Header["User-Agent"] = c.in
			}
			got := origin.UserAgent(r)
			if got != c.want || !utf8.ValidString(got) {
				t.Errorf("%q; want %q", got, c.want)
			}
		})
	}
}

func TestAPlainRequestCostsNothing(t *testing.T) {
	f, err := origin.NewFinder("")
	if err != nil {
		t.Fatal(err)
	}
	r := request("203.0.113.5:4711")
	r.Header.Set("User-Agent", "OpenAI/Python 2.1.0")
	if n := testing.AllocsPerRun(100, func() { _, _ = f.Address(r), origin.UserAgent(r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
