// Package idempotencytest is the conformance suite of [idempotency.Store], and a
// store in memory that passes it, so that tests may trust that one and production
// any.
//
// The suite owns what the port promises: that of many callers one gets a name, that
// only its holder ends it, and how long what is done stands.
package idempotencytest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aiaas/aiaas/shared/idempotency"
)

// Bench is a store under test.
type Bench struct {
	Store idempotency.Store
	Later func(d time.Duration) // lets time pass for what is stored
}

// crowd is how many callers want the same thing at once.
const crowd = 50

// Run runs the suite. newBench is called once for each part of it.
func Run(t *testing.T, newBench func(t *testing.T) Bench) {
	t.Helper()
	for _, part := range []struct {
		name string
		run  func(s *suite)
	}{
		{"a free name is claimed, a taken one shows who has it", testClaim},
		{"names differ by each of their members", testNames},
		{"of many callers one gets the name", testManyClaim},
		{"an answer is kept as it was given", testFinish},
		{"an answer need not be kept", testFinishWithout},
		{"only the holder finishes, and once", testFinishOnce},
		{"only the holder releases, and nothing that is done", testRelease},
		{"a running claim is taken over by one of many", testManyRetake},
		{"what is done or gone is not taken over", testRetakeNothing},
		{"who was taken over has no say any more", testRetaken},
		{"what is done stands for a day", testExpiry},
		{"what runs does not expire", testNoExpiry},
		{"of many who claim and release, one holds it at a time", testTurns},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(&suite{T: t, Bench: newBench(t)}) })
	}
}

type suite struct {
	*testing.T
	Bench
}

func name(key string) idempotency.Name {
	return idempotency.Name{OrgID: "org_1", APIKeyID: "key_1", Key: sha256.Sum256([]byte(key))}
}

func record(request string) idempotency.Record {
	mac := sha256.Sum256([]byte(request))
	return idempotency.Record{RequestID: request, MAC: mac[:], Epoch: 7}
}

// done is the record of a finished request.
func done(request string, answer []byte) idempotency.Record {
	r := record(request)
	r.Done, r.Cost, r.Currency, r.Answer, r.Stream = true, 1<<60+1, "USD", answer, answer != nil
	return r
}

// claim returns what stands under the name; nil where the request has it now.
func (s *suite) claim(n idempotency.Name, request string) *idempotency.Record {
	s.Helper()
	have, err := s.Store.Claim(s.Context(), n, record(request))
	if err != nil {
		s.Fatalf("claim: %v", err)
	}
	return have
}

// take claims a name that must be free.
func (s *suite) take(n idempotency.Name, request string) {
	s.Helper()
	if have := s.claim(n, request); have != nil {
		s.Fatalf("the name is %s's; want it free", have.RequestID)
	}
}

// stands holds that a record stands under the name.
func (s *suite) stands(n idempotency.Name, want idempotency.Record) {
	s.Helper()
	have := s.claim(n, "req_other")
	if have == nil {
		s.Fatalf("the name was free; want %s's", want.RequestID)
	}
	same := cmp.Comparer(func(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) })
	if diff := cmp.Diff(want, *have, same); diff != "" {
		s.Errorf("what stands (-want +got):\n%s", diff)
	}
}

func (s *suite) finish(n idempotency.Name, r idempotency.Record) {
	s.Helper()
	if err := s.Store.Finish(s.Context(), n, r); err != nil {
		s.Fatalf("finish: %v", err)
	}
}

func (s *suite) release(n idempotency.Name, request string) {
	s.Helper()
	if err := s.Store.Release(s.Context(), n, request); err != nil {
		s.Fatalf("release: %v", err)
	}
}

func (s *suite) retake(n idempotency.Name, from, to string) bool {
	s.Helper()
	ok, err := s.Store.Retake(s.Context(), n, from, record(to))
	if err != nil {
		s.Fatalf("retake: %v", err)
	}
	return ok
}

func testClaim(s *suite) {
	s.take(name("k"), "req_1")
	s.stands(name("k"), record("req_1"))
	s.stands(name("k"), record("req_1")) // asking changes nothing
}

func testNames(s *suite) {
	n := name("k")
	s.take(n, "req_1")
	other := n
	other.OrgID = "org_2"
	s.take(other, "req_2")
	other = n
	other.APIKeyID = "key_2"
	s.take(other, "req_3")
	s.take(name("K"), "req_4")
	s.stands(n, record("req_1"))
}

func testManyClaim(s *suite) {
	var won atomic.Int64
	got := make([]*idempotency.Record, crowd)
	s.all(func(i int) {
		have, err := s.Store.Claim(s.Context(), name("k"), record(fmt.Sprint("req_", i)))
		if err != nil {
			s.Error(err)
		}
		if got[i] = have; have == nil {
			won.Add(1)
		}
	})
	if won.Load() != 1 {
		s.Fatalf("%d of %d got the name; want one", won.Load(), crowd)
	}
	have := s.claim(name("k"), "req_late")
	for i, r := range got {
		if r == nil {
			if have.RequestID != fmt.Sprint("req_", i) {
				s.Errorf("req_%d got the name, and it is %s's", i, have.RequestID)
			}
			continue
		}
		if r.RequestID != have.RequestID {
			s.Errorf("one was shown %s, another %s", r.RequestID, have.RequestID)
		}
	}
}

// all runs f for the whole crowd at once.
func (s *suite) all(f func(i int)) {
	var wg sync.WaitGroup
	gate := make(chan struct{})
	for i := range crowd {
		wg.Go(func() { <-gate; f(i) })
	}
	close(gate)
	wg.Wait()
}

func testFinish(s *suite) {
	s.take(name("k"), "req_1")
	answer := bytes.Repeat([]byte{0, 0xff, '"', '\n'}, (idempotency.MaxAnswer+64)/4)
	s.finish(name("k"), done("req_1", answer))
	s.stands(name("k"), done("req_1", answer))
}

func testFinishWithout(s *suite) {
	s.take(name("k"), "req_1")
	s.finish(name("k"), done("req_1", nil))
	s.stands(name("k"), done("req_1", nil))
}

func testFinishOnce(s *suite) {
	s.finish(name("k"), done("req_1", []byte("of nobody")))
	s.take(name("k"), "req_1")
	s.finish(name("k"), done("req_2", []byte("another's")))
	s.stands(name("k"), record("req_1"))
	s.finish(name("k"), done("req_1", []byte("first")))
	s.finish(name("k"), done("req_1", []byte("second")))
	s.stands(name("k"), done("req_1", []byte("first")))
}

func testRelease(s *suite) {
	s.release(name("k"), "req_1") // there is nothing
	s.take(name("k"), "req_1")
	s.release(name("k"), "req_2")
	s.stands(name("k"), record("req_1"))
	s.release(name("k"), "req_1")
	s.take(name("k"), "req_3")
	s.finish(name("k"), done("req_3", []byte("a")))
	s.release(name("k"), "req_3")
	s.stands(name("k"), done("req_3", []byte("a")))
}

func testManyRetake(s *suite) {
	s.take(name("k"), "req_dead")
	var won atomic.Int64
	s.all(func(i int) {
		ok, err := s.Store.Retake(s.Context(), name("k"), "req_dead", record(fmt.Sprint("req_", i)))
		if err != nil {
			s.Error(err)
		}
		if ok {
			won.Add(1)
		}
	})
	if won.Load() != 1 {
		s.Errorf("%d of %d took it over; want one", won.Load(), crowd)
	}
	if have := s.claim(name("k"), "req_late"); have == nil || have.RequestID == "req_dead" {
		s.Errorf("after that it is %+v's", have)
	}
}

func testRetakeNothing(s *suite) {
	if s.retake(name("k"), "req_1", "req_2") {
		s.Error("a free name was taken over")
	}
	s.take(name("k"), "req_1")
	if s.retake(name("k"), "req_2", "req_3") {
		s.Error("another's claim was taken over")
	}
	s.finish(name("k"), done("req_1", nil))
	if s.retake(name("k"), "req_1", "req_2") {
		s.Error("what is done was taken over")
	}
	s.stands(name("k"), done("req_1", nil))
}

func testRetaken(s *suite) {
	s.take(name("k"), "req_1")
	if !s.retake(name("k"), "req_1", "req_2") {
		s.Fatal("a running claim was not taken over")
	}
	s.stands(name("k"), record("req_2"))
	s.finish(name("k"), done("req_1", []byte("late")))
	s.release(name("k"), "req_1")
	s.stands(name("k"), record("req_2"))
}

func testExpiry(s *suite) {
	s.take(name("k"), "req_1")
	s.Later(idempotency.TTL) // the day begins when it is done
	s.finish(name("k"), done("req_1", []byte("a")))
	s.Later(idempotency.TTL - time.Minute)
	s.stands(name("k"), done("req_1", []byte("a")))
	s.Later(2 * time.Minute)
	var won atomic.Int64
	s.all(func(i int) {
		have, err := s.Store.Claim(s.Context(), name("k"), record(fmt.Sprint("req_", i)))
		switch {
		case err != nil:
			s.Error(err)
		case have == nil:
			won.Add(1)
		case have.Done:
			s.Error("what is no more was shown")
		}
	})
	if won.Load() != 1 {
		s.Errorf("%d of %d got the expired name; want one", won.Load(), crowd)
	}
}

func testNoExpiry(s *suite) {
	s.take(name("k"), "req_1")
	s.Later(30 * 24 * time.Hour)
	s.stands(name("k"), record("req_1"))
}

// testTurns: while some claim and release without a pause, a claim between another's
// two steps must neither be lost nor given twice.
func testTurns(s *suite) {
	var holding, turns atomic.Int64
	s.all(func(i int) {
		for n := range 20 {
			id := fmt.Sprintf("req_%d_%d", i, n)
			have, err := s.Store.Claim(s.Context(), name("k"), record(id))
			if err != nil {
				s.Error(err)
				return
			}
			if have != nil {
				continue
			}
			if holding.Add(1) != 1 {
				s.Error("two hold it at once")
			}
			turns.Add(1)
			holding.Add(-1)
			if err := s.Store.Release(s.Context(), name("k"), id); err != nil {
				s.Error(err)
				return
			}
		}
	})
	if turns.Load() == 0 {
		s.Error("nobody ever held it")
	}
	s.take(name("k"), "req_last")
}
