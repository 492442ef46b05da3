package throttle

import (
	"crypto/sha256"
	"net/netip"
	"strings"
	"time"
)

// rate is how often something may be tried.
type rate struct {
	burst int
	every time.Duration
}

// rates are those of the buckets that a kind takes from. One without a burst is none.
type rates struct {
	device  rate // of a device that the account knows
	pair    rate // of the account from one network
	network rate // of one network, for all accounts; a site of IPv6 networks has a multiple
	account rate // of the account from everywhere, for strangers
}

// ratesOf says how often. A password withstands a hundred million guesses by rule, so
// the some 1,500 a day that all strangers together have come to nothing; a code of six
// digits is one of a million, of which three are good at a time, and has a fifth of
// that. Asking for a link has no bucket for the account: who asks for somebody else
// does not keep him from asking.
func ratesOf(k Kind) rates {
	switch k {
	case Factor:
		return rates{
			device: rate{10, 2 * time.Minute}, pair: rate{5, 5 * time.Minute},
			network: rate{30, 10 * time.Second}, account: rate{10, 5 * time.Minute},
		}
	case Forgot:
		return rates{device: rate{5, 5 * time.Minute}, pair: rate{3, 10 * time.Minute}, network: rate{20, time.Minute}}
	case Link:
		return rates{network: rate{30, 10 * time.Second}}
	case SignOn: // nothing is guessed; it costs a row, and at times a look at the issuer
		return rates{network: rate{60, 2 * time.Second}}
	case Waiting: // nor here: codes of devices are 40 bits, and this costs a row
		return rates{network: rate{30, 20 * time.Second}}
	case Passkey: // nor here; every look at the page to sign in asks
		return rates{network: rate{120, time.Second}}
	case Entry: // no person comes in as often; a script that does would fill the database
		return rates{account: rate{60, 30 * time.Second}}
	case Notice: // more would bury what else is in the mailbox
		return rates{account: rate{3, time.Hour}}
	case Password:
	}
	return rates{
		device: rate{10, time.Minute}, pair: rate{5, 2 * time.Minute},
		network: rate{30, 10 * time.Second}, account: rate{20, time.Minute},
	}
}

// attempt is what an attempt takes from. A device that is known has a bucket for each
// account, also where nobody's is.
func attempt(kind Kind, k Keys) Attempt {
	r, net, site, who := ratesOf(kind), network(k.Address, homeBits), network(k.Address, siteBits), account(k.Account)
	a := Attempt{Account: hash("account", who), Device: hash("device", k.Device)}
	switch {
	case kind == Entry || kind == Notice:
		a.Crowd = Proved
	case k.Device != "":
		a.Crowd = Showing
	}
	if r.device.burst > 0 {
		a.Own = r.device.bucket(kind, "device", who, k.Device)
	}
	wide := rate{}
	if site != net {
		wide = rate{r.network.burst * homesOfSite, r.network.every / homesOfSite}
	}
	for _, s := range []struct {
		rate  rate
		parts []string
	}{{wide, []string{"network", site}}, {r.pair, []string{"pair", who, net}}, {r.network, []string{"network", net}}, {r.account, []string{"account", who}}} {
		if s.rate.burst > 0 {
			a.Strangers = append(a.Strangers, s.rate.bucket(kind, s.parts...))
		}
	}
	return a
}

func (r rate) bucket(kind Kind, parts ...string) Bucket {
	return Bucket{ID: hash(append([]string{string(kind)}, parts...)...), Burst: r.burst, Every: r.every}
}

// hash makes a key of parts; no two lists of parts make the same.
func hash(parts ...string) [sha256.Size]byte {
	return sha256.Sum256([]byte(strings.Join(parts, "\x00")))
}

// account is the form in which two spellings of an address are one.
func account(email string) string { return strings.ToLower(strings.TrimSpace(email)) }

// homeBits is how much of an IPv6 address is one customer's: the rest he chooses.
const homeBits = 64

const (
	// siteBits is how much of an IPv6 address is one site's, who may have 65,536 networks.
	siteBits = 48
	// homesOfSite is how many networks' attempts a site has; a provider may have put many
	// customers into one.
	homesOfSite = 8
)

// network is what one customer has: an IPv4 address, or so many bits of an IPv6 one.
func network(address string, bits int) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a.String()
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return address
	}
	return p.String()
}
