package audit_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
)

var errRead = errors.New("read")

// slow is a chain whose reading takes until it is told to go on.
type slow struct {
	audit.ChainReader

	begun   chan string
	goOn    chan struct{}
	reading atomic.Int64
	most    atomic.Int64
	reads   atomic.Int64
}

func (s *slow) State(ctx context.Context, org string) (audit.State, error) {
	s.reads.Add(1)
	n := s.reading.Add(1)
	defer s.reading.Add(-1)
	for m := s.most.Load(); n > m && !s.most.CompareAndSwap(m, n); m = s.most.Load() {
	}
	s.begun <- org
	select {
	case <-s.goOn:
		return audit.State{}, errRead
	case <-ctx.Done():
		return audit.State{}, ctx.Err()
	}
}

func newSlow() (*audit.Service, *slow) {
	s := &slow{begun: make(chan string, 100), goOn: make(chan struct{})}
	return &audit.Service{Verifier: &audit.Verifier{Chain: s, Now: time.Now}}, s
}

func of(org string) authz.Principal {
	return authz.Principal{OrgID: org, KeyID: "key_1", OwnerID: "user_1", Role: authz.Owner, Scopes: authz.Scopes(), Method: authz.ByKey}
}

func TestWhoAsksForTheSameVerificationSharesIt(t *testing.T) {
	t.Parallel()
	svc, chain := newSlow()
	var group sync.WaitGroup
	first := make(chan struct{})
	for n := range 40 {
		group.Go(func() {
			if n > 0 {
				<-first
			}
			if _, err := svc.Verify(t.Context(), of("org_1"), ""); !errors.Is(err, errRead) {
				t.Error(err)
			}
		})
	}
	<-chain.begun
	close(first)
	// One that gives up leaves it to the others.
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := svc.Verify(gone, of("org_1"), ""); !fault.Is(err, fault.Unavailable) {
		t.Errorf("one that gave up: %v", err)
	}
	for svc.Asking("org_1") < 40 {
		runtime.Gosched()
	}
	close(chain.goOn)
	group.Wait()
	if n := chain.reads.Load(); n != 1 {
		t.Errorf("the chain was read %d times", n)
	}
	if _, err := svc.Verify(t.Context(), of("org_1"), ""); !errors.Is(err, errRead) || chain.reads.Load() != 2 {
		t.Errorf("who asks later has an old answer: %v, %d", err, chain.reads.Load())
	}
}

func TestTwoOrganisationsAreVerifiedAtOnceAndNotEveryOneMayWait(t *testing.T) {
	t.Parallel()
	svc, chain := newSlow()
	var group sync.WaitGroup
	var refused atomic.Int64
	for n := range 40 {
		group.Go(func() {
			_, err := svc.Verify(t.Context(), of(fmt.Sprint("org_", n)), "")
			var f *fault.Error
			switch {
			case errors.Is(err, errRead):
			case errors.As(err, &f) && f.Code == fault.Unavailable && f.RetryAfter > 0:
				if refused.Add(1) == 40-18 {
					close(chain.goOn)
				}
			default:
				t.Error(err)
			}
		})
	}
	group.Wait()
	if most, n := chain.most.Load(), refused.Load(); most > 2 || n < 22 {
		t.Errorf("%d at once, %d were refused", most, n)
	}
}

func TestAVerificationForNobodyIsBrokenOff(t *testing.T) {
	t.Parallel()
	svc, chain := newSlow()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := svc.Verify(ctx, of("org_1"), "")
		ended <- err
	}()
	<-chain.begun
	cancel()
	if err := <-ended; !fault.Is(err, fault.Unavailable) {
		t.Error(err)
	}
	for chain.reading.Load() > 0 {
		runtime.Gosched()
	}
}
