package accesslog_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/aiaas/aiaas/shared/accesslog"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/usage"
)

// sink keeps what it is given, as a table does.
type sink struct {
	t     *testing.T
	mu    sync.Mutex
	lines map[string]accesslog.Line
	order []string
	calls int
	most  int // lines of one call
	err   error
}

func (s *sink) LogRequests(_ context.Context, lines []accesslog.Line) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	s.most = max(s.most, len(lines))
	if s.err != nil {
		return s.err
	}
	if s.lines == nil {
		s.lines = map[string]accesslog.Line{}
	}
	seen := map[string]bool{}
	for _, l := range lines {
		if seen[l.RequestID] {
			s.t.Errorf("%s stands twice in one call", l.RequestID)
		}
		seen[l.RequestID] = true
		if have, ok := s.lines[l.RequestID]; ok {
			have.Count, have.Last = have.Count+l.Count, l.Last
			l = have
		} else {
			s.order = append(s.order, l.RequestID)
		}
		s.lines[l.RequestID] = l
	}
	return nil
}

func (s *sink) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// sum is how many requests stand in how many lines.
func (s *sink) sum() (requests int64, lines int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lines {
		requests += l.Count
	}
	return requests, len(s.lines)
}

// bench is a writer whose time is the test's.
type bench struct {
	*accesslog.Writer
	*sink
	log *strings.Builder
	n   int
}

// run runs f with a writer, in a bubble whose clock stands until all sleep.
func run(t *testing.T, f func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{sink: &sink{t: t}, log: &strings.Builder{}}
		b.Writer = accesslog.NewWriter(t.Context(), b.sink, slog.New(slog.NewTextHandler(b.log, nil)))
		f(b)
		b.fail(nil)
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// add adds a line of now; change makes it another kind.
func (b *bench) add(change ...func(*accesslog.Line)) accesslog.Line {
	b.n++
	l := accesslog.Line{
		OrgID: "org_1", RequestID: fmt.Sprintf("req_%06d", b.n), At: time.Now(), APIKeyID: "key_1", Endpoint: "/v1/chat/completions",
		Status: 401, Code: "invalid_api_key", Address: "192.0.2.1", UserAgent: "curl/8",
	}
	for _, c := range change {
		c(&l)
	}
	b.Add(l)
	return l
}

func wait() { time.Sleep(1100 * time.Millisecond); synctest.Wait() }

func TestALineIsWrittenWithinASecond(t *testing.T) {
	run(t, func(b *bench) {
		l := b.add()
		wait()
		l.Count, l.Last = 1, l.At
		if diff := cmp.Diff(map[string]accesslog.Line{l.RequestID: l}, b.lines); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		wait()
		if b.calls != 1 {
			t.Errorf("%d calls; want none where there is nothing", b.calls)
		}
	})
}

func TestAStormStandsInOneLineAMinute(t *testing.T) {
	run(t, func(b *bench) {
		time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute)))
		var eleventh, last accesslog.Line
		for second := range 50 { // several flushes
			for i := range 20 {
				last = b.add()
				if second == 0 && i == 10 {
					eleventh = last
				}
			}
			time.Sleep(time.Second)
		}
		wait()
		if requests, lines := b.sum(); requests != 1000 || lines != 11 {
			t.Errorf("%d requests in %d lines; want 1000 in 11", requests, lines)
		}
		eleventh.Count, eleventh.Last = 990, last.At
		if diff := cmp.Diff(eleventh, b.lines[eleventh.RequestID]); diff != "" {
			t.Errorf("the rest (-want +got):\n%s", diff)
		}
		if b.most > 11 {
			t.Errorf("%d lines in one call; want no more than there are", b.most)
		}
		time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute)))
		for range 30 {
			b.add()
		}
		wait()
		if requests, lines := b.sum(); requests != 1030 || lines != 22 {
			t.Errorf("%d requests in %d lines; want a new minute to begin anew", requests, lines)
		}
	})
}

func TestWhatIsNotAlikeStandsApart(t *testing.T) {
	for name, change := range map[string]func(*accesslog.Line){
		"organisation": func(l *accesslog.Line) { l.OrgID = "org_2" },
		"key":          func(l *accesslog.Line) { l.APIKeyID = "key_2" },
		"address":      func(l *accesslog.Line) { l.Address = "192.0.2.2" },
		"endpoint":     func(l *accesslog.Line) { l.Endpoint = "/v1/models" },
		"model":        func(l *accesslog.Line) { l.Model = "m" },
		"code":         func(l *accesslog.Line) { l.Code = "not_found" },
		"status":       func(l *accesslog.Line) { l.Status = 404 },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(b *bench) {
				for range 15 {
					b.add()
					b.add(change)
				}
				wait()
				if requests, lines := b.sum(); requests != 30 || lines != 22 {
					t.Errorf("%d requests in %d lines; want 30 in 22", requests, lines)
				}
			})
		})
	}
}

// Who varies requests to fill the log gains nothing, and takes no place from others.
func TestAKeyFillsNoMoreThanItsShare(t *testing.T) {
	run(t, func(b *bench) {
		time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute)))
		for i := range 30_000 {
			b.add(func(l *accesslog.Line) {
				l.Model, l.Address, l.Endpoint = fmt.Sprint("m", i), fmt.Sprint("192.0.", i/250, ".", i%250), fmt.Sprint("/", i%7)
				l.Status = 400 + i%2
			})
		}
		other := b.add(func(l *accesslog.Line) { l.APIKeyID = "key_2" })
		wait()
		requests, lines := b.sum()
		if requests != 30_001 || lines > 160 {
			t.Errorf("%d requests in %d lines; want all, in at most 160", requests, lines)
		}
		if l := b.lines[other.RequestID]; l.Address != other.Address {
			t.Errorf("another key's line is %+v", l)
		}
		for _, l := range b.lines {
			if l.Count > 1 && (l.Address != "" || l.Model != "" || l.Endpoint != "") {
				t.Errorf("a sum of several names one: %+v", l)
			}
		}
		if b.log.String() != "" {
			t.Errorf("log: %s", b.log)
		}
	})
}

func TestAKeyHasNoMoreThanSoManyLinesAlone(t *testing.T) {
	run(t, func(b *bench) {
		time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute)))
		for i := range 1600 {
			b.add(func(l *accesslog.Line) { l.Model = fmt.Sprint("m", i%40) })
		}
		wait()
		if requests, lines := b.sum(); requests != 1600 || lines != 100+40 {
			t.Errorf("%d requests in %d lines; want 1600 in 100 and 40 sums", requests, lines)
		}
	})
}

func TestASinkThatIsDownLosesNothingWithinBounds(t *testing.T) {
	run(t, func(b *bench) {
		b.fail(errors.New("down"))
		for range 5 { // a storm goes on over several failed writes
			for range 40 {
				b.add()
			}
			wait()
		}
		if !strings.Contains(b.log.String(), "down") {
			t.Errorf("the operator is not told: %s", b.log)
		}
		b.fail(nil)
		wait()
		if requests, lines := b.sum(); requests != 200 || lines > 22 {
			t.Errorf("%d requests in %d lines; want all 200 in at most 22", requests, lines)
		}
	})
}

// A write that fails while its storm's minute ends: the line that comes back and
// the one that was just summed up are one.
func TestAStormOverAFailedWriteAndAMinute(t *testing.T) {
	run(t, func(b *bench) {
		time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute + 57*time.Second)))
		b.fail(errors.New("down"))
		for range 15 {
			b.add()
		}
		wait()
		for range 15 {
			b.add()
		}
		time.Sleep(4 * time.Second)
		for range 15 {
			b.add()
		}
		b.fail(nil)
		wait()
		if requests, _ := b.sum(); requests != 45 {
			t.Errorf("%d requests; want 45", requests)
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	run(t, func(b *bench) {
		b.fail(errors.New("down"))
		const total = 70_000
		for i := range total {
			b.add(func(l *accesslog.Line) { l.APIKeyID = fmt.Sprint("key_", i) })
			if i%10_000 == 0 {
				wait()
			}
		}
		wait()
		b.fail(nil)
		wait()
		requests, lines := b.sum()
		if lines > 20_000 || lines < 10_000 {
			t.Errorf("%d lines were kept; want at most 20000, and not much less", lines)
		}
		if requests != int64(lines) || !strings.Contains(b.log.String(), "overrun") {
			t.Errorf("%d requests; the operator is told: %s", requests, b.log)
		}
		if b.most > 1000 {
			t.Errorf("%d lines in one call", b.most)
		}
	})
}

func TestTheEndWritesWhatIsPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{sink: &sink{t: t}}
		b.Writer = accesslog.NewWriter(t.Context(), b.sink, slog.New(slog.DiscardHandler))
		for range 25 {
			b.add()
		}
		if err := b.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if requests, lines := b.sum(); requests != 25 || lines != 11 {
			t.Errorf("%d requests in %d lines; want 25 in 11", requests, lines)
		}
	})
}

func TestManyAddAtOnce(t *testing.T) {
	s := &sink{t: t}
	w := accesslog.NewWriter(t.Context(), s, slog.New(slog.DiscardHandler))
	var wg sync.WaitGroup
	for k := range 16 {
		wg.Go(func() {
			for i := range 500 {
				w.Add(accesslog.Line{OrgID: "o", RequestID: fmt.Sprint(k, "_", i), At: time.Unix(1000, 0), APIKeyID: fmt.Sprint("key_", k), Status: 401})
				if i%100 == 0 && k == 0 {
					if err := w.Flush(t.Context()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if requests, lines := s.sum(); requests != 8000 || lines != 16*11 {
		t.Errorf("%d requests in %d lines; want 8000 in %d", requests, lines, 16*11)
	}
}

func TestTextsAreMadeFitToBeKept(t *testing.T) {
	for in, want := range map[string]string{
		"":                              "",
		"plain ü 漢":                     "plain ü 漢",
		"a\x00b\nc\x7fd\te":             "a b c d e",
		"\xff\xfebad\xc3":               "bad",
		strings.Repeat("x", 1000):       strings.Repeat("x", 300),
		strings.Repeat("ü", 1000):       strings.Repeat("ü", 150),
		"a" + strings.Repeat("ü", 1000): "a" + strings.Repeat("ü", 149),
	} {
		if got := accesslog.Text(in); got != want || !utf8.ValidString(got) {
			t.Errorf("%.20q: %q; want %q", in, got, want)
		}
	}
	run(t, func(b *bench) {
		b.add(func(l *accesslog.Line) {
			l.Model, l.Endpoint, l.Detail, l.Address, l.UserAgent = "m\x00", "/\x00\xff", strings.Repeat("d\x00", 1000), "\x00", strings.Repeat("\xff", 10_000)
		})
		wait()
		for _, l := range b.lines {
			for _, s := range []string{l.Model, l.Endpoint, l.Detail, l.Address, l.UserAgent} {
				if strings.Contains(s, "\x00") || !utf8.ValidString(s) || len(s) > 300 {
					t.Errorf("kept %q", s)
				}
			}
		}
	})
}

// log is the two sources of a log.
type log struct {
	lines  []accesslog.Line
	served []usage.Event
	err    error
}

func (x log) ReadLines(context.Context, string, accesslog.Filter, string, int) ([]accesslog.Line, error) {
	return x.lines, x.err
}

func (x log) Line(_ context.Context, _, id string) (accesslog.Line, error) {
	for _, l := range x.lines {
		if l.RequestID == id {
			return l, nil
		}
	}
	return accesslog.Line{}, fault.New(fault.NotFound, "")
}

func (x log) ReadServed(context.Context, string, accesslog.Filter, string, int) ([]usage.Event, error) {
	return x.served, nil
}

func (x log) Served(_ context.Context, _, id string) (accesslog.Served, error) {
	if x.err != nil {
		return accesslog.Served{}, x.err
	}
	for _, e := range x.served {
		if e.ID == id {
			return accesslog.Served{Event: e}, nil
		}
	}
	return accesslog.Served{}, fault.New(fault.NotFound, "")
}

// A record that failed may come through later: then its request has a line and a
// usage, and is shown once, by its usage.
func TestARequestIsShownOnce(t *testing.T) {
	x := log{lines: []accesslog.Line{{RequestID: "req_3"}, {RequestID: "req_2", Status: 503}}, served: []usage.Event{{ID: "req_2", Status: 200}, {ID: "req_1"}}}
	q := &accesslog.Queries{Lines: x, Usage: x}
	p := authz.Principal{OrgID: "org_1", KeyID: "key_1", OwnerID: "user_1", Role: authz.Owner, Method: authz.ByKey, Scopes: []authz.Scope{authz.UsageRead}}
	list, err := q.List(t.Context(), p, accesslog.Filter{}, "", 10)
	if err != nil || len(list) != 3 || list[1].RequestID != "req_2" || list[1].Served == nil || list[1].Status != 200 {
		t.Errorf("%+v, %v", list, err)
	}
	if r, err := q.Get(t.Context(), p, "req_2"); err != nil || r.Served == nil {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := q.Get(t.Context(), p, "req_3"); err != nil || r.Served != nil {
		t.Errorf("%+v, %v", r, err)
	}
	for _, p := range []authz.Principal{{}, {OrgID: "org_1", KeyID: "key_1", OwnerID: "user_1", Role: authz.Owner, Method: authz.ByKey, Scopes: []authz.Scope{authz.Inference}}} {
		if _, err := q.List(t.Context(), p, accesslog.Filter{}, "", 10); err == nil {
			t.Errorf("%+v may list", p)
		}
		if _, err := q.Get(t.Context(), p, "req_3"); err == nil {
			t.Errorf("%+v may read", p)
		}
	}
	now := time.Now()
	if _, err := q.List(t.Context(), p, accesslog.Filter{Start: now, End: now}, "", 10); !fault.Is(err, fault.Unprocessable) {
		t.Errorf("an empty range: %v", err)
	}
	x.err = errors.New("down")
	q = &accesslog.Queries{Lines: x, Usage: x}
	if _, err := q.List(t.Context(), p, accesslog.Filter{}, "", 10); err == nil {
		t.Error("half of a list was shown")
	}
	if _, err := q.Get(t.Context(), p, "req_3"); err == nil || fault.Is(err, fault.NotFound) {
		t.Errorf("while the ledger is down: %v", err)
	}
}
