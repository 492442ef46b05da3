package apikey_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/tenant"
)

// database is a key's record that changes while it is being read: a read takes what
// is there when it begins, and may be held up with it.
type database struct {
	mu       sync.Mutex
	record   apikey.Record
	latest   uint64
	reads    chan chan struct{} // of a read that has begun: closed, it returns; nil: reads return at once
	versions map[string]uint64
}

func (d *database) FindKey(context.Context, apikey.Hash) (*apikey.Record, error) {
	d.mu.Lock()
	r, reads := d.record, d.reads
	d.mu.Unlock()
	if reads != nil {
		goOn := make(chan struct{})
		reads <- goOn
		<-goOn
	}
	return &r, nil
}

func (d *database) Latest() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.latest
}

func (d *database) Version(org string) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.versions[org]
}

// hold makes the reads that begin from now on wait; release ends that.
func (d *database) hold() chan chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reads = make(chan chan struct{})
	return d.reads
}

func (d *database) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reads = nil
}

// change commits a change of the record, and bumps the version of its organisation.
func (d *database) change(f func(*apikey.Record)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(&d.record)
	d.latest++
	d.versions["org_1"] = d.latest
}

// A read that began before a key was revoked ends after it, with the old record: who
// waits for it gets that, as if they had come before; nobody who comes later does.
func TestAFillThatRacesARevocationResurrectsNothing(t *testing.T) {
	for name, end := range map[string]func(*apikey.Record){
		"revoked":    func(r *apikey.Record) { r.Revoked = true },
		"suspended":  func(r *apikey.Record) { r.Suspended = true },
		"rotated":    func(r *apikey.Record) { r.SecretUntil = noon() },
		"ownerless":  func(r *apikey.Record) { r.OwnerActive = false },
		"of nobody":  func(r *apikey.Record) { r.OrgStatus = tenant.Suspended },
		"restricted": func(r *apikey.Record) { r.ProjectArchived = true },
	} {
		t.Run(name, func(t *testing.T) {
			d := &database{
				record:   apikey.Record{KeyID: "key_1", OrgID: "org_1", OrgStatus: tenant.Active, OwnerActive: true},
				versions: map[string]uint64{},
			}
			r := apikey.NewResolver(d, d, noon)
			key := apikey.NewSecret(apikey.Production).Reveal()
			reads := d.hold()
			first := make(chan error)
			go func() { _, err := r.Resolve(t.Context(), key); first <- err }()
			goOn := <-reads // it has the old record
			d.change(end)
			d.release()
			close(goOn)
			if err := <-first; !fault.Is(err, fault.Unauthenticated) { // it found that there is a newer version
				t.Errorf("who asked before, and is answered after: %v", err)
			}
			if _, err := r.Resolve(t.Context(), key); !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("after the answer to the change: %v", err)
			}
		})
	}
}

// The same for the reads in the background, which nobody waits for.
func TestARefreshThatRacesARevocationResurrectsNothing(t *testing.T) {
	d := &database{
		record:   apikey.Record{KeyID: "key_1", OrgID: "org_1", OrgStatus: tenant.Active, OwnerActive: true},
		versions: map[string]uint64{},
	}
	var mu sync.Mutex
	clock := noon()
	now := func() time.Time { mu.Lock(); defer mu.Unlock(); return clock }
	r := apikey.NewResolver(d, d, now)
	key := apikey.NewSecret(apikey.Production).Reveal()
	if _, err := r.Resolve(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	clock = clock.Add(700 * time.Millisecond) // in use, and old enough to be read anew
	mu.Unlock()
	reads := d.hold()
	if _, err := r.Resolve(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	goOn := <-reads
	d.change(func(r *apikey.Record) { r.Revoked = true })
	d.release()
	again := make(chan error)
	go func() { _, err := r.Resolve(t.Context(), key); again <- err }() // it waits its turn behind the refresh
	close(goOn)
	if err := <-again; !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("while the refresh ends: %v", err)
	}
	if _, err := r.Resolve(t.Context(), key); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("after it: %v", err)
	}
}
