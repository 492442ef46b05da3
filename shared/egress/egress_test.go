package egress_test

import (
	"errors"
	"net/netip"
	"net/url"
	"testing"

	"pgregory.net/rapid"

	"github.com/aiaas/aiaas/shared/egress"
)

func TestWhichAddressesMayBeConnectedTo(t *testing.T) {
	for _, c := range []struct {
		ip      string
		allowed bool
	}{
		{"8.8.8.8", true},
		{"1.1.1.1", true},
		{"172.15.255.255", true}, // beside a private network
		{"172.32.0.0", true},
		{"100.63.255.255", true},
		{"100.128.0.0", true},
		{"192.0.1.0", true},
		{"2606:4700:4700::1111", true},
		{"2a00:1450:4001:80b::200e", true},
		{"::ffff:8.8.8.8", true},    // a public address in another form
		{"64:ff9b::8.8.8.8", true},  // reached by a translator
		{"0.0.0.0", false},          // this machine, to most systems
		{"0.1.2.3", false},          // this network
		{"127.0.0.1", false},        // this machine
		{"127.255.255.254", false},  //
		{"10.0.0.1", false},         // private
		{"172.16.0.1", false},       //
		{"172.31.255.255", false},   //
		{"192.168.1.1", false},      //
		{"100.64.0.1", false},       // a carrier's
		{"100.127.255.255", false},  //
		{"100.100.100.200", false},  // metadata of Alibaba
		{"169.254.169.254", false},  // metadata of most
		{"169.254.170.2", false},    // credentials of a container
		{"168.63.129.16", false},    // Azure's, in public space
		{"192.0.0.1", false},        // protocols
		{"192.0.2.1", false},        // documentation
		{"198.51.100.1", false},     //
		{"203.0.113.1", false},      //
		{"192.88.99.1", false},      // 6to4's relay
		{"198.18.0.1", false},       // benchmarks
		{"198.19.255.255", false},   //
		{"224.0.0.1", false},        // multicast
		{"239.255.255.255", false},  //
		{"240.0.0.1", false},        // reserved
		{"255.255.255.255", false},  // broadcast
		{"::", false},               // unspecified
		{"::1", false},              // this machine
		{"::127.0.0.1", false},      // compatible form
		{"::8.8.8.8", false},        // of nobody, whatever is in it
		{"::ffff:127.0.0.1", false}, // mapped
		{"::ffff:10.0.0.1", false},
		{"::ffff:a9fe:a9fe", false},
		{"::ffff:0:127.0.0.1", false}, // translated, RFC 2765
		{"64:ff9b::127.0.0.1", false}, // NAT64 of what is not public
		{"64:ff9b::10.0.0.1", false},
		{"64:ff9b::a9fe:a9fe", false},
		{"64:ff9b:1::8.8.8.8", false},   // a local translator's
		{"2002:7f00:1::", false},        // 6to4 of 127.0.0.1
		{"2002:0808:0808::1", false},    //
		{"2001:0:7f00:1::", false},      // Teredo
		{"2001:10::1", false},           // ORCHID
		{"2001:2::1", false},            // benchmarks
		{"2001:db8::1", false},          // documentation
		{"3fff::1", false},              //
		{"100::1", false},               // discarded
		{"5f00::1", false},              // segment routing
		{"fc00::1", false},              // private
		{"fd12:3456:789a::1", false},    //
		{"fd00:ec2::254", false},        // metadata of AWS
		{"fd20:ce::254", false},         // metadata of Google
		{"fe80::1", false},              // link-local
		{"fe80::1%eth0", false},         //
		{"febf::1", false},              //
		{"fec0::1", false},              // site-local
		{"ff02::1", false},              // multicast
		{"4000::1", false},              // never handed out
		{"2606:4700::1111%eth0", false}, // a zone names an interface
		{"::ffff:8.8.8.8%eth0", false},
	} {
		err := egress.Rules{}.Check(netip.MustParseAddr(c.ip))
		if (err == nil) != c.allowed {
			t.Errorf("%s: %v; want allowed: %t", c.ip, err, c.allowed)
		}
		if err != nil && !errors.Is(err, egress.ErrRefused) {
			t.Errorf("%s: %v is no refusal", c.ip, err)
		}
	}
	if err := (egress.Rules{}).Check(netip.Addr{}); !errors.Is(err, egress.ErrRefused) {
		t.Errorf("no address at all: %v", err)
	}
}

func TestListedNetworks(t *testing.T) {
	for _, c := range []struct {
		listed, ip string
		allowed    bool
	}{
		{"10.0.0.0/8", "10.1.2.3", true},
		{"10.0.0.0/8", "::ffff:10.1.2.3", true},
		{"::ffff:10.0.0.0/104", "10.1.2.3", true},
		{"10.0.0.0/8", "192.168.0.1", false},
		{"10.0.0.0/8", "64:ff9b::10.1.2.3", false}, // another way there was not listed
		{"10.0.0.7", "10.0.0.7", true},
		{"10.0.0.7", "10.0.0.8", false},
		{"127.0.0.0/8,::1", "::1", true},
		{"127.0.0.0/8", "::1", false},
		{"fd00::/8", "fd12::1", true},
		{"fe80::/10", "fe80::1%eth0", true},
		// What is kept for special ends must be named itself.
		{"0.0.0.0/0", "192.168.0.1", true},
		{"0.0.0.0/0", "127.0.0.1", true},
		{"0.0.0.0/0", "169.254.169.254", false},
		{"0.0.0.0/0", "0.0.0.0", false},
		{"0.0.0.0/0", "224.0.0.1", false},
		{"0.0.0.0/0", "255.255.255.255", false},
		{"100.64.0.0/10", "100.100.100.200", false},
		{"100.64.0.0/10", "100.100.100.201", true},
		{"fd00::/8", "fd00:ec2::254", false},
		{"::/0", "fe80::1", false},
		{"::/0", "::", false},
		{"169.254.169.254", "169.254.169.254", true},
		{"169.254.0.0/16", "169.254.169.254", true},
		{"169.254.169.0/24", "169.254.1.1", false},
	} {
		networks, err := egress.ParseNetworks(c.listed)
		if err != nil {
			t.Fatal(err)
		}
		if err := egress.New(networks...).Check(netip.MustParseAddr(c.ip)); (err == nil) != c.allowed {
			t.Errorf("with %s, %s: %v; want allowed: %t", c.listed, c.ip, err, c.allowed)
		}
	}
}

func TestNetworksThatCantBeRead(t *testing.T) {
	for _, text := range []string{"10.0.0.0/33", "10.0.0", "private", "10.0.0.0/8;192.168.0.0/16", "fe80::1%eth0"} {
		if got, err := egress.ParseNetworks(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
	if got, err := egress.ParseNetworks(" 10.0.0.0/8 , fd00::/8,"); err != nil || len(got) != 2 {
		t.Errorf("%v, %v; want two networks", got, err)
	}
}

// All of these lead to 127.0.0.1, 10.0.0.1, 169.254.169.254 or another private place
// in some resolver.
func TestNotationsOfPrivateAddressesAreRefusedEarly(t *testing.T) {
	for _, host := range []string{
		"127.0.0.1", "127.0.0.1.", "127.1", "127.0.1", "0x7f.1", "0x7f000001", "0X7F000001", "2130706433", "017700000001", "0177.0.0.1",
		"0177.0x0.0.1", "127.0.0.0x1", "00000177.0.0.1", "127.65535", "0", "0.0.0.0", "0x0", "00",
		"10.1", "012.0.0.1", "167772161", "192.168.257", "0xc0a80101", "169.254.43518", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376",
		"[::1]", "::1", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:a9fe:a9fe]", "[::127.0.0.1]", "[64:ff9b::7f00:1]",
		"[2002:7f00:1::]", "[fe80::1%25eth0]", "[fe80::1%eth0]", "[fd00:ec2::254]", "[fc00::1]",
		"localhost", "LOCALHOST", "localhost.", "a.localhost", "ⓛocalhost", "１２７.０.０.１", "127。0。0。1", "127.0.0.1\x00.example.com", "", ".", "..", "a..b", ".example.com",
	} {
		if err := (egress.Rules{}).CheckHost(host); !errors.Is(err, egress.ErrRefused) {
			t.Errorf("%q: %v; want it refused", host, err)
		}
	}
	for _, host := range []string{
		"example.com", "example.com.", "8.8.8.8", "134744072", "[2606:4700:4700::1111]", "10.example.com", "0x7f.example.com",
		"1.2.3.4.5", "127.0.0.1.example.com", "256.256.256.256", "xn--80ak6aa92e.com", "localhost.example.com", "-1", "08.0.0.1",
	} {
		if err := (egress.Rules{}).CheckHost(host); err != nil {
			t.Errorf("%q: %v; want it to pass", host, err)
		}
	}
	if err := egress.New(egress.Loopback()...).CheckHost("localhost"); err != nil {
		t.Errorf("localhost where loopback is listed: %v", err)
	}
}

func TestPortsThatThereAreNot(t *testing.T) {
	for text, ok := range map[string]bool{
		"https://example.com": true, "https://example.com:": true, "https://example.com:1": true, "https://[2606:4700:4700::1111]:65535": true,
		"https://example.com:0": false, "https://example.com:00": false, "https://example.com:65536": false, "https://example.com:99999999999999999999": false,
		"https://127.0.0.1:443": false,
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := (egress.Rules{}).CheckURL(u); (err == nil) != ok || err != nil && !errors.Is(err, egress.ErrRefused) {
			t.Errorf("%s: %v; want it to pass: %t", text, err, ok)
		}
	}
}

func TestEveryNotationOfAnAddressIsReadAlike(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Uint32().Draw(t, "address")
		want := netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
		for _, text := range notations(v) {
			if got, ok := egress.Literal(text); !ok || got != want {
				t.Fatalf("%q is %v, %t; want %v", text, got, ok, want)
			}
		}
	})
}
