package audit_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/aiaas/aiaas/shared/audit"
)

// sink keeps what it is given, unless it is down.
type sink struct {
	mu      sync.Mutex
	records []audit.Record
	down    bool
}

var errDown = errors.New("the database is down")

func (s *sink) WriteDenials(_ context.Context, list []audit.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return errDown
	}
	s.records = append(s.records, list...)
	return nil
}

// take returns what came since it was last asked.
func (s *sink) take() []audit.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.records
	s.records = nil
	return list
}

type bench struct {
	*audit.Denials

	sink *sink
	log  *strings.Builder
	now  time.Time
	t    *testing.T
}

// start makes denials whose background is too late to play a part: the clock moves
// a minute at most within a test's second.
func start(t *testing.T) *bench {
	t.Helper()
	b := &bench{sink: &sink{}, log: &strings.Builder{}, now: time.Date(2026, 11, 24, 12, 0, 10, 0, time.UTC), t: t}
	b.Denials = audit.NewDenials(t.Context(), b.sink, func() time.Time { return b.now }, slog.New(slog.NewTextHandler(b.log, nil)))
	return b
}

func (b *bench) note(code, address string) {
	b.Note(audit.Denial{
		OrgID: "org_1", Actor: "key_1", Action: audit.ActionDeny, Code: code, Target: "op" + code, Address: address, RequestID: "req_1", At: b.now,
	})
}

func (b *bench) flush() []audit.Record {
	b.t.Helper()
	if err := b.Flush(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	return b.sink.take()
}

func (b *bench) end() {
	b.t.Helper()
	if err := b.Close(b.t.Context()); err != nil {
		b.t.Error(err)
	}
}

func TestAStormIsTwoRecordsAMinute(t *testing.T) {
	defer goleak.VerifyNone(t)
	b := start(t)
	defer b.end()
	b.note("a", "192.0.2.1")
	first := b.flush()
	if len(first) != 1 || first[0].Detail["count"] != int64(1) || first[0].Address != "192.0.2.1" || first[0].Outcome != audit.Denied ||
		first[0].Actor != "key_1" || first[0].Action != "access.deny" || first[0].Target != "opa" || first[0].RequestID != "req_1" || !first[0].At.Equal(b.now) {
		t.Fatalf("the first: %+v", first)
	}
	for i := range 1000 {
		b.now = b.now.Add(time.Millisecond)
		b.note("a", fmt.Sprintf("192.0.2.%d", i%20))
		if i%100 == 0 {
			if more := b.flush(); len(more) != 0 {
				t.Fatalf("within the minute: %+v", more)
			}
		}
	}
	b.now = b.now.Add(time.Minute)
	rest := b.flush()
	if len(rest) != 1 || rest[0].Detail["count"] != int64(1000) || rest[0].ID == first[0].ID || rest[0].Address != "" {
		t.Fatalf("the rest: %+v", rest)
	}
	if list, _ := rest[0].Detail["addresses"].([]string); len(list) != 10 {
		t.Errorf("addresses: %v", list)
	}
	if rest[0].Detail["last"] != "2026-11-24T12:00:11.000000Z" {
		t.Errorf("last: %v", rest[0].Detail["last"])
	}
	b.note("a", "")
	if again := b.flush(); len(again) != 1 {
		t.Errorf("the next minute: %+v", again)
	}
}

func TestKindsStandApart(t *testing.T) {
	b := start(t)
	defer b.end()
	b.note("a", "")
	b.note("b", "")
	b.Note(audit.Denial{OrgID: "org_2", Actor: "key_1", Action: audit.ActionDeny, Code: "a", At: b.now})
	b.Note(audit.Denial{OrgID: "org_1", Actor: "key_2", Action: audit.ActionDeny, Code: "a", At: b.now})
	b.Note(audit.Denial{OrgID: "org_1", Actor: "key_1", Action: audit.ActionAuthFail, Code: "a", At: b.now})
	if list := b.flush(); len(list) != 5 {
		t.Errorf("%+v", list)
	}
}

func TestWhatBelongsToNobodyIsNotNoted(t *testing.T) {
	b := start(t)
	defer b.end()
	b.Note(audit.Denial{Action: audit.ActionDeny, At: b.now})
	b.Note(audit.Denial{OrgID: "org_1", Action: audit.ActionDeny, At: b.now})
	if list := b.flush(); len(list) != 0 {
		t.Errorf("%+v", list)
	}
	var none *audit.Denials
	none.Note(audit.Denial{OrgID: "org_1", Actor: "key_1"})
}

func TestTextsAreMadeFitToBeKept(t *testing.T) {
	b := start(t)
	defer b.end()
	b.Note(audit.Denial{OrgID: "org_1", Actor: "key_1", Action: audit.ActionDeny, Target: "a\x00b\n\xff" + strings.Repeat("x", 5000), At: b.now})
	list := b.flush()
	if len(list) != 1 || len(list[0].Target) > 300 || !strings.HasPrefix(list[0].Target, "a b x") {
		t.Errorf("%+v", list)
	}
}

func TestWhatCantBeWrittenIsKeptAndWrittenOnce(t *testing.T) {
	b := start(t)
	b.sink.down = true
	b.note("a", "")
	if err := b.Flush(t.Context()); !errors.Is(err, errDown) {
		t.Errorf("%v", err)
	}
	b.note("a", "")
	b.note("b", "")
	if err := b.Flush(t.Context()); !errors.Is(err, errDown) {
		t.Errorf("%v", err)
	}
	b.sink.down = false
	if list := b.flush(); len(list) != 2 {
		t.Errorf("%+v", list)
	}
	b.end() // and what was summed up within the minute
	if list := b.sink.take(); len(list) != 1 || list[0].Detail["count"] != int64(1) {
		t.Errorf("%+v", list)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	b := start(t)
	for i := range 12_000 {
		b.Note(audit.Denial{OrgID: "org_1", Actor: fmt.Sprint("key_", i), Action: audit.ActionAuthFail, At: b.now})
	}
	if list := b.flush(); len(list) != 10_000 {
		t.Errorf("%d records", len(list))
	}
	if !strings.Contains(b.log.String(), "denials=2000") {
		t.Errorf("the log says: %s", b.log)
	}
	b.end()
}
