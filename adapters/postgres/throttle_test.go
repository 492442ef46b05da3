package postgres_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/throttle"
)

// throttled is a throttle with a clock that the test moves.
type throttled struct {
	*throttle.Throttle

	t   *testing.T
	now time.Time
}

func newThrottled(t *testing.T, f *fixture) *throttled {
	t.Helper()
	c := &throttled{t: t, now: noon()}
	c.Throttle = &throttle.Throttle{Store: postgres.NewThrottles(f.open(postgres.RoleIdentity)), Now: func() time.Time { return c.now }}
	return c
}

// tries is how many of many attempts are let through, and how long the next one waits.
func (c *throttled) tries(kind throttle.Kind, k throttle.Keys) (n int, wait time.Duration) {
	c.t.Helper()
	for ; n < 1000; n++ {
		err := c.Take(c.t.Context(), kind, k)
		if fault.Is(err, fault.RateLimited) {
			return n, fault.From(err).RetryAfter
		}
		if err != nil {
			c.t.Fatal(err)
		}
	}
	return n, 0
}

func keys(account, address, device string) throttle.Keys {
	return throttle.Keys{Account: account, Address: address, Device: device}
}

func TestAttemptsAtOneAccountFromOneNetworkRunOut(t *testing.T) {
	t.Parallel()
	c := newThrottled(t, newFixture(t))
	at := keys("ada@example.com", "192.0.2.1", "")
	if n, wait := c.tries(throttle.Password, at); n != 5 || wait != 2*time.Minute {
		t.Errorf("%d attempts, then one in %s", n, wait)
	}
	for _, same := range []throttle.Keys{
		keys(" ADA@example.com", "192.0.2.1", ""), keys("ada@example.com", "192.0.2.1", "invented"),
	} {
		if n, _ := c.tries(throttle.Password, same); n != 0 {
			t.Errorf("%d more as %+v", n, same)
		}
	}
	for _, other := range []throttle.Keys{keys("bob@example.com", "192.0.2.1", ""), keys("ada@example.com", "192.0.2.2", "")} {
		if err := c.Take(t.Context(), throttle.Password, other); err != nil {
			t.Errorf("%+v: %v", other, err)
		}
	}
	c.now = c.now.Add(2 * time.Minute)
	if n, _ := c.tries(throttle.Password, at); n != 1 {
		t.Errorf("%d after two minutes", n)
	}
	c.now = c.now.Add(24 * time.Hour)
	if n, _ := c.tries(throttle.Password, at); n != 5 {
		t.Errorf("%d after a day: more than at first is saved up for nobody", n)
	}
}

func TestOneNetworkRunsOutOverAllAccounts(t *testing.T) {
	t.Parallel()
	c := newThrottled(t, newFixture(t))
	through := 0
	for i := range 60 {
		// The addresses of one customer's network are his to choose.
		k := keys(fmt.Sprintf("a%d@example.com", i), fmt.Sprintf("2001:db8:1:2::%d", i+1), "")
		if c.Take(t.Context(), throttle.Password, k) == nil {
			through++
		}
	}
	if through != 30 {
		t.Errorf("%d were let through", through)
	}
	if err := c.Take(t.Context(), throttle.Password, keys("x@example.com", "2001:db8:1:3::1", "")); err != nil {
		t.Errorf("the network beside: %v", err)
	}
}

// TestStrangersCantLockTheOwnerOut guesses at an account from everywhere until every
// stranger waits: its owner, with a device of his, does not.
func TestStrangersCantLockTheOwnerOut(t *testing.T) {
	t.Parallel()
	c := newThrottled(t, newFixture(t))
	device, err := c.Remember(t.Context(), "", "ada@example.com", "user_1")
	if err != nil || !device.New || !device.First {
		t.Fatalf("%+v, %v", device, err)
	}
	through := 0
	for i := range 100 {
		if c.Take(t.Context(), throttle.Password, keys("ada@example.com", fmt.Sprintf("192.0.2.%d", i), "")) == nil {
			through++
		}
	}
	if through != 20 {
		t.Errorf("strangers had %d attempts", through)
	}
	for name, k := range map[string]throttle.Keys{
		"a stranger from elsewhere":       keys("ada@example.com", "198.51.100.1", ""),
		"who invents a device":            keys("ada@example.com", "198.51.100.2", device.Token+"x"),
		"the owner of another account":    keys("ada@example.com", "198.51.100.3", other(t, c)),
		"a device of none, at a new name": keys("ada@example.com", "198.51.100.4", "x"),
	} {
		if err := c.Take(t.Context(), throttle.Password, k); !fault.Is(err, fault.RateLimited) {
			t.Errorf("%s: %v", name, err)
		}
	}
	own := keys("ada@example.com", "192.0.2.1", device.Token)
	if n, wait := c.tries(throttle.Password, own); n != 10 || wait != time.Minute {
		t.Errorf("the owner had %d attempts, then one in %s", n, wait)
	}
	if n, _ := c.tries(throttle.Factor, keys("user_1", "192.0.2.1", device.Token)); n != 10 {
		t.Errorf("at the second factor, which goes by another name, he had %d", n)
	}
}

func other(t *testing.T, c *throttled) string {
	t.Helper()
	d, err := c.Remember(t.Context(), "", "mallory@example.com", "user_2")
	if err != nil {
		t.Fatal(err)
	}
	return d.Token
}

func TestADeviceIsKnownByItsTokenOnly(t *testing.T) {
	t.Parallel()
	c := newThrottled(t, newFixture(t))
	first, err := c.Remember(t.Context(), "planted", "ada@example.com")
	if err != nil || first.Token == "planted" || len(first.Token) < 43 || !first.New || !first.First {
		t.Fatalf("a token that somebody planted: %+v, %v", first, err)
	}
	again, err := c.Remember(t.Context(), first.Token, "ada@example.com")
	if err != nil || again != (throttle.Device{Token: first.Token}) {
		t.Errorf("the same device: %+v, %v", again, err)
	}
	second, err := c.Remember(t.Context(), "", "ada@example.com")
	if err != nil || !second.New || second.First || second.Token == first.Token {
		t.Errorf("another: %+v, %v", second, err)
	}
	foreign, err := c.Remember(t.Context(), first.Token, "bob@example.com")
	if err != nil || foreign.Token == first.Token || !foreign.New {
		t.Errorf("with another account: %+v, %v", foreign, err)
	}
}

func TestWhatSucceedsIsGivenBack(t *testing.T) {
	t.Parallel()
	c := newThrottled(t, newFixture(t))
	office := keys("ada@example.com", "192.0.2.1", "")
	for i := range 100 {
		if err := c.Take(t.Context(), throttle.Password, office); err != nil {
			t.Fatalf("attempt %d: %v", i, err)
		}
		if err := c.Succeeded(t.Context(), throttle.Password, office); err != nil {
			t.Fatal(err)
		}
	}
	if n, _ := c.tries(throttle.Password, office); n != 5 {
		t.Errorf("then %d: giving back makes no more of it", n)
	}
}

// TestADenialTakesNothing shows that who is denied by one bucket does not empty the
// others.
func TestADenialTakesNothing(t *testing.T) {
	t.Parallel()
	c := newThrottled(t, newFixture(t))
	for range 100 {
		_ = c.Take(t.Context(), throttle.Password, keys("ada@example.com", "192.0.2.1", ""))
	}
	if err := c.Take(t.Context(), throttle.Password, keys("bob@example.com", "192.0.2.1", "")); err != nil {
		t.Errorf("the network ran out by what was denied: %v", err)
	}
	if err := c.Take(t.Context(), throttle.Password, keys("ada@example.com", "192.0.2.2", "")); err != nil {
		t.Errorf("the account ran out by what was denied: %v", err)
	}
}

func TestKindsAreCountedApart(t *testing.T) {
	t.Parallel()
	c := newThrottled(t, newFixture(t))
	k := keys("ada@example.com", "192.0.2.1", "")
	for kind, want := range map[throttle.Kind]int{throttle.Password: 5, throttle.Factor: 5, throttle.Forgot: 3, throttle.Link: 30} {
		if n, _ := c.tries(kind, k); n != want {
			t.Errorf("%s: %d; want %d", kind, n, want)
		}
	}
}

// TestNobodyKeepsAnotherFromAskingForALink asks for one from many networks.
func TestNobodyKeepsAnotherFromAskingForALink(t *testing.T) {
	t.Parallel()
	c := newThrottled(t, newFixture(t))
	for i := range 200 {
		if err := c.Take(t.Context(), throttle.Forgot, keys("ada@example.com", fmt.Sprintf("10.0.%d.%d", i/200, i), "")); err != nil {
			t.Fatalf("network %d: %v", i, err)
		}
	}
}

func TestAttemptsAtOnceAreCountedOneByOne(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	here, there := newThrottled(t, f), newThrottled(t, f) // two processes
	var through atomic.Int32
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			c := here
			if i%2 == 0 {
				c = there
			}
			// Both orders of two accounts' buckets are asked for at once.
			k := keys("ada@example.com", fmt.Sprintf("192.0.2.%d", i%3), "")
			switch err := c.Take(context.WithoutCancel(t.Context()), throttle.Password, k); {
			case err == nil:
				through.Add(1)
			case !fault.Is(err, fault.RateLimited):
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := through.Load(); n != 15 {
		t.Errorf("%d were let through; three networks have five each", n)
	}
}

func TestFullBucketsAndForgottenDevicesArePruned(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := newThrottled(t, f)
	if err := c.Take(t.Context(), throttle.Password, keys("ada@example.com", "192.0.2.1", "")); err != nil {
		t.Fatal(err)
	}
	device, err := c.Remember(t.Context(), "", "ada@example.com")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := c.Prune(t.Context()); err != nil || n != nil {
		t.Errorf("at once: %v, %v", n, err)
	}
	c.now = c.now.Add(time.Hour)
	if n, err := c.Prune(t.Context()); err != nil || n["throttles"] != 3 {
		t.Errorf("when they are full: %v, %v", n, err)
	}
	c.now = c.now.Add(179 * 24 * time.Hour)
	if again, err := c.Remember(t.Context(), device.Token, "ada@example.com"); err != nil || again.New {
		t.Errorf("a device that was not seen for half a year: %+v, %v", again, err)
	}
	c.now = c.now.Add(181 * 24 * time.Hour)
	if n, err := c.Prune(t.Context()); err != nil || n["throttles"] != 1 {
		t.Errorf("after half a year: %v, %v", n, err)
	}
}

// TestWhatIsRefusedLeavesNothing tries accounts that nobody has, from a network that has
// run out.
func TestWhatIsRefusedLeavesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := newThrottled(t, f)
	through := 0
	for i := range 300 {
		if c.Take(t.Context(), throttle.Password, keys(fmt.Sprintf("a%d@example.com", i), "192.0.2.1", "")) == nil {
			through++
		}
	}
	if n := f.scalar(`SELECT count(*) FROM accounts.throttles`); through != 30 || n != "61" {
		t.Errorf("%d attempts of 300 were let through, and %s buckets are kept; want 30 and 61", through, n)
	}
}

// TestASiteOfManyNetworksRunsOut goes through the networks of one IPv6 site.
func TestASiteOfManyNetworksRunsOut(t *testing.T) {
	t.Parallel()
	c := newThrottled(t, newFixture(t))
	through := 0
	for i := range 400 {
		if c.Take(t.Context(), throttle.Password, keys(fmt.Sprintf("a%d@example.com", i), fmt.Sprintf("2001:db8:1:%x::1", i), "")) == nil {
			through++
		}
	}
	if through != 240 {
		t.Errorf("%d were let through; want eight times a network's 30", through)
	}
	if err := c.Take(t.Context(), throttle.Password, keys("x@example.com", "2001:db8:2:1::1", "")); err != nil {
		t.Errorf("the site beside: %v", err)
	}
}

func TestAdmittingTellsWhoIsKnown(t *testing.T) {
	t.Parallel()
	c := newThrottled(t, newFixture(t))
	device, err := c.Remember(t.Context(), "", "ada@example.com", "user_1")
	if err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]throttle.Keys{
		"ada's":           keys("ada@example.com", "192.0.2.1", device.Token),
		"by another name": keys("user_1", "192.0.2.1", device.Token),
		"no device":       keys("ada@example.com", "192.0.2.1", ""),
		"an invented one": keys("ada@example.com", "192.0.2.1", "x"),
		"at another":      keys("bob@example.com", "192.0.2.1", device.Token),
		"at nobody":       keys("nobody@example.com", "192.0.2.1", device.Token),
	} {
		known, err := c.Admit(t.Context(), throttle.Password, k)
		if want := name == "ada's" || name == "by another name"; err != nil || known != want {
			t.Errorf("%s: known %v, %v", name, known, err)
		}
	}
}

// TestAnAccountKnowsSoManyDevices signs in with one browser after the other: those that
// were not used for longest are strangers again.
func TestAnAccountKnowsSoManyDevices(t *testing.T) {
	t.Parallel()
	c := newThrottled(t, newFixture(t))
	var tokens []string
	for range 25 {
		c.now = c.now.Add(time.Minute)
		d, err := c.Remember(t.Context(), "", "ada@example.com", "user_1")
		if err != nil {
			t.Fatal(err)
		}
		if tokens = append(tokens, d.Token); len(tokens) > 1 { // the first is used again and again
			if again, err := c.Remember(t.Context(), tokens[0], "ada@example.com", "user_1"); err != nil || again.New {
				t.Fatalf("the first: %+v, %v", again, err)
			}
		}
	}
	for _, name := range []string{"ada@example.com", "user_1"} {
		var known []int
		for i, token := range tokens {
			yes, err := c.Admit(t.Context(), throttle.Password, keys(name, fmt.Sprintf("192.0.2.%d", i), token))
			if err != nil && !fault.Is(err, fault.RateLimited) {
				t.Fatal(err)
			}
			if yes {
				known = append(known, i)
			}
		}
		if len(known) != 20 || known[0] != 0 || known[1] != 6 {
			t.Errorf("%s knows %v; want the first, and the last nineteen", name, known)
		}
	}
}

func TestComingInRunsOut(t *testing.T) {
	t.Parallel()
	c := newThrottled(t, newFixture(t))
	for kind, want := range map[throttle.Kind]int{throttle.Entry: 60, throttle.Notice: 3} {
		if n, _ := c.tries(kind, throttle.Keys{Account: "user_1"}); n != want {
			t.Errorf("%s: %d; want %d", kind, n, want)
		}
		if err := c.Take(t.Context(), kind, throttle.Keys{Account: "user_2"}); err != nil {
			t.Errorf("%s of another: %v", kind, err)
		}
	}
}

// TestACrowdKeepsNobodyElseWaiting has a crowd wait that shows no device: others are
// counted meanwhile, on the few connections that there are.
func TestACrowdKeepsNobodyElseWaiting(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := newThrottled(t, f)
	hold, err := pgx.Connect(t.Context(), f.url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = hold.Close(context.WithoutCancel(t.Context())) }()
	tx, err := hold.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `LOCK TABLE accounts.throttles IN SHARE MODE`); err != nil { // writers wait
		t.Fatal(err)
	}
	var crowd sync.WaitGroup
	for i := range 40 {
		crowd.Go(func() {
			if err := c.Take(t.Context(), throttle.Password, keys(fmt.Sprintf("a%d@example.com", i), fmt.Sprintf("192.0.2.%d", i), "")); err != nil {
				t.Error(err)
			}
		})
	}
	done := make(chan error, 1)
	go func() {
		_, err := c.Remember(t.Context(), "", "ada@example.com") // needs a connection, and not that table
		done <- err
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	crowd.Wait()
}
