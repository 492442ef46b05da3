package chaos

import (
	"fmt"
	"strings"
	"time"

	"github.com/aiaas/aiaas/adapters/demo"
	"github.com/aiaas/aiaas/tests/harness"
)

// judgement compares what the backend, the ledger and the clients know of the
// requests of one round.
type judgement struct {
	*run
	round int
	way   string
	gone  bool // the process was killed, or ended
	calls []Call

	killed    time.Time
	known     map[string]Call // calls by id
	anonymous int             // calls whose clients learned no id, and that no line explains yet
}

func (j *judgement) errorf(format string, args ...any) {
	j.t.Errorf("round %d, seed %d, kill of the %s: %s", j.round, j.o.Seed, j.way, fmt.Sprintf(format, args...))
}

func (j *judgement) list(format string, args ...any) {
	_, _ = fmt.Fprintf(j.o.List, "    "+format+"\n", args...)
}

// retry asks again for what carries an idempotency key and was not received, as
// its client would, and for a few that were. Each must come to one bill.
func (j *judgement) retry() {
	received := 0
	for _, c := range j.calls {
		if c.call.Header == nil {
			continue
		}
		j.report.Once++
		if c.End == Complete {
			if received++; received > 5 {
				continue
			}
		}
		j.report.Again++
		j.again(c)
	}
	j.g.WaitNoHolds(j.t)
	j.g.WaitSettled(j.t)
}

// again asks for one request until it is known what became of it.
func (j *judgement) again(c Call) {
	harness.Eventually(j.t, "an answer to a second try", func() (bool, string) {
		begun := time.Now()
		a := j.g.Do(j.t.Context(), c.call)
		original := a.Header.Get("X-Aiaas-Original-Request-Id")
		var told struct {
			Original string `json:"original_request_id"`
			Cost     string
		}
		if a.Code() == "conflict" {
			a.JSON(j.t, &told)
		}
		switch {
		case a.Done() && original == "" && c.End != Complete: // nothing of it was on record
			j.calls = append(j.calls, Call{ID: a.RequestID, Key: c.Key, Begun: begun, Ended: time.Now(), End: Complete, Status: a.Status, Body: c.Body})
		case a.Done() && original != "" && (c.ID == "" || c.ID == original):
			j.report.Replayed++
		case told.Cost != "" && c.End != Complete && (c.ID == "" || c.ID == told.Original):
			if strings.Trim(told.Cost, "0.") == "" {
				j.report.Nothing++
			}
		case told.Cost == "" && told.Original != "", a.Status == 503: // it runs, or can't be known yet
			return false, a.String()
		default:
			j.errorf("the second try of %+v: %s %v", c, a, a.Header)
		}
		return true, ""
	})
}

// eachOnce holds that each request with an idempotency key was billed once, however
// often it was asked for.
func (j *judgement) eachOnce(ledger map[string]harness.Entry) {
	billed := 0
	for _, e := range ledger {
		if e.KeyID == j.onceID && e.Cost > 0 {
			billed++
		}
	}
	if billed+j.report.Nothing != j.report.Once {
		j.errorf("%d bills for %d requests with an idempotency key, %d of which came to nothing", billed, j.report.Once, j.report.Nothing)
	}
}

func (j *judgement) pass() {
	j.known = map[string]Call{}
	for _, c := range j.calls {
		j.report.Calls[c.End]++
		if c.ID == "" {
			if c.End != Closed {
				j.anonymous++
			}
			continue
		}
		if _, twice := j.known[c.ID]; twice {
			j.errorf("request id %s was given twice", c.ID)
		}
		j.known[c.ID] = c
	}
	ledger := j.g.Agrees(j.t)
	j.unchanged(ledger)
	j.eachOnce(ledger)
	served := j.log()
	for id, c := range j.known {
		if e, ok := ledger[id]; c.End == Complete && (!ok || e.Outcome != "complete") {
			j.errorf("%s was received completely, but booked is %+v", id, e)
		}
	}
	for id, e := range ledger {
		if _, old := j.ledger[id]; !old {
			s, reached := served[id]
			j.booked(e, s, reached)
		}
	}
	for id, s := range served {
		if _, ok := ledger[id]; !ok && !j.served[id] {
			j.unbooked(s)
		}
		j.served[id] = true
	}
	j.ledger = ledger
	j.report.Booked = len(ledger)
}

// unchanged holds that what was booked stays as it was.
func (j *judgement) unchanged(ledger map[string]harness.Entry) {
	for id, e := range j.ledger {
		if ledger[id] != e {
			j.errorf("%s was booked as %+v, and now is %+v", id, e, ledger[id])
		}
	}
}

// log is what the backend served, by request. It was asked for nothing twice.
func (j *judgement) log() map[string]demo.Served {
	out := j.up.Log(j.t)
	if n := len(j.up.Served()); n != len(out) || j.up.Stats().Forgotten != 0 {
		j.errorf("the backend has %d lines of %d requests", n, len(out))
	}
	return out
}

// booked judges a new line of the ledger.
func (j *judgement) booked(e harness.Entry, s demo.Served, reached bool) {
	c, known := j.known[e.ID]
	switch {
	case !reached && (e.Outcome != "aborted" || e.Cost != 0):
		j.errorf("%+v is booked, but was never served", e)
	case e.Outcome == "complete" && !e.Estimated:
		if n := s.Stated; e.Input != n.Prompt || e.Cached != n.Cached || e.Output != n.Completion || e.Cost != Rates().Cost(n.Prompt, n.Cached, n.Completion) {
			j.errorf("booked %+v, the backend counts %+v", e, n)
		}
		if c.End != Complete {
			j.report.Unread++
			j.explain(&c, known, "booked as complete", e.ID)
		}
	case e.Outcome == "aborted" && e.Estimated:
		j.report.Estimated++
		j.estimated(e, s, c, known)
	default:
		j.errorf("booked as %+v; the backend says %+v, its client %+v", e, s, c)
	}
}

// estimated judges what was billed of an answer that its client did not get all
// of: at least what the client has, at most what the backend sent, to within the
// coarseness of four bytes a token.
func (j *judgement) estimated(e harness.Entry, s demo.Served, c Call, known bool) {
	sent := int64(s.SentTokens)
	if e.Output < c.Content || e.Output > sent+sent/4+1 || e.Cached != 0 || e.Cost != Rates().Cost(e.Input, 0, e.Output) {
		j.errorf("estimated at %+v, but the client has %d tokens, and the backend sent %d", e, c.Content, sent)
	}
	input := int64(0) // of an answer of which nothing came
	if e.Output > 0 {
		input = (c.Body + 3) / 4
	}
	if known && e.Input != input {
		j.errorf("estimated at %+v; the request has %d bytes", e, c.Body)
	}
	j.explain(&c, known, fmt.Sprintf("estimated at %d tokens of %d sent", e.Output, sent), e.ID)
}

// explain lists a request whose client does not have all of what is booked, and
// says why.
func (j *judgement) explain(c *Call, known bool, what, id string) {
	switch {
	case known && c.End == Complete:
		j.errorf("%s: %s, but its client has all of it", id, what)
	case known && (c.End == Left || j.gone || c.End == Refused && c.Status == 503):
		j.list("%s %s: its client %s after %d tokens", id, what, c.End, c.Content)
	case !known && j.anonymous > 0:
		j.anonymous--
		j.list("%s %s: its client had no answer yet", id, what)
	default:
		j.errorf("%s %s, and nothing explains it: %+v", id, what, *c)
	}
}

// behind is how many requests may begin and end after a client has left, until
// what it left must be on record.
const behind = 100

// unbooked judges a request that was served and is not booked: it must have been
// in flight when its process was killed.
func (j *judgement) unbooked(s demo.Served) {
	j.report.Unbooked++
	c, known := j.known[s.RequestID]
	switch {
	case !j.gone:
		j.errorf("served and not booked by a process that went on: %+v, client %+v", s, c)
	case known && c.End == Broken:
		j.list("%s served and not booked: the kill broke it off after %d tokens of %d sent", s.RequestID, c.Content, s.SentTokens)
	case known && c.End == Left && j.completeAfter(c) < behind:
		j.list("%s served and not booked: its client left %s before the kill, after %d tokens of %d sent", s.RequestID, j.killed.Sub(c.Ended).Round(time.Millisecond), c.Content, s.SentTokens)
	case known && c.End == Refused && c.Status == 503:
		j.list("%s served and not booked: its client was told 503", s.RequestID)
	case !known && j.anonymous > 0:
		j.anonymous--
		j.list("%s served and not booked: in flight at the kill, its client had no answer yet", s.RequestID)
	default:
		j.errorf("served and not booked, and no kill explains it: %+v, client %+v", s, c)
	}
}

// completeAfter counts the answers that others asked for and received after a
// client had left, and before the kill.
func (j *judgement) completeAfter(left Call) (n int) {
	for _, c := range j.calls {
		if c.End == Complete && c.Begun.After(left.Ended) && c.Ended.Before(j.killed) {
			n++
		}
	}
	return n
}
