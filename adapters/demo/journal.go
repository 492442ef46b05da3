package demo

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Outcome is how a request ended.
type Outcome string

// The outcomes.
const (
	Complete   Outcome = "complete"    // all of the answer was handed to the connection
	ClientGone Outcome = "client_gone" // the client left before that
	Cut        Outcome = "cut"         // the model stopped, as told, at a cap or closing
	Refused    Outcome = "refused"     // an error was answered, as told or by right
)

// Served is one request as the model saw it. Whether a client read what was
// handed to its connection the model can't know: an answer that a client left
// behind in its socket counts as complete.
type Served struct {
	ID        string    `json:"id"`         // the model's own, also the answer's "id"
	RequestID string    `json:"request_id"` // the caller's X-Request-Id
	At        time.Time `json:"at"`
	Model     string    `json:"model"`
	Stream    bool      `json:"stream"`
	// Status is what was answered; 0 when the connection ended before.
	Status  int     `json:"status"`
	Outcome Outcome `json:"outcome"`
	// PromptTokens and CompletionTokens are the true counts of prompt and whole
	// answer; SentTokens is how much of the answer was handed to the connection.
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	SentTokens       int `json:"sent_tokens"`
	Events           int `json:"events"` // of a stream, [DONE] included
	// UsageSent says whether a usage block was handed to the connection, and
	// Stated what the last one said (except where usage_raw spoke).
	UsageSent bool  `json:"usage_sent"`
	Stated    Usage `json:"stated"`
}

// Usage is the numbers of a usage block, in tokens.
type Usage struct {
	Prompt     int64 `json:"prompt_tokens"`
	Completion int64 `json:"completion_tokens"`
	Total      int64 `json:"total_tokens"`
	Cached     int64 `json:"cached_tokens"`
}

// Stats counts what was served since the start.
type Stats struct {
	Active     int64 `json:"active"` // requests being answered now
	Requests   int64 `json:"requests"`
	Streams    int64 `json:"streams"`
	Complete   int64 `json:"complete"`
	ClientGone int64 `json:"client_gone"`
	Cut        int64 `json:"cut"`
	Refused    int64 `json:"refused"`
	// PromptTokens and CompletionTokens sum up the complete answers only.
	PromptTokens     int64 `json:"prompt_tokens"`
	CompletionTokens int64 `json:"completion_tokens"`
	Forgotten        int64 `json:"forgotten"` // requests that the log has no room for any more
}

// journal keeps the last requests and the sums of all.
type journal struct {
	mu    sync.Mutex
	size  int
	ring  []Served
	next  int // where the oldest stands once the ring is full
	stats Stats
	idle  chan struct{} // closed when the last active request ends; nil unless awaited
}

// begin admits a request unless limit are active.
func (j *journal) begin(limit int64) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.stats.Active >= limit {
		return false
	}
	j.stats.Active++
	return true
}

func (j *journal) end(s Served) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.stats.Active--
	j.count(s)
	if len(j.ring) < j.size {
		j.ring = append(j.ring, s)
	} else {
		j.ring[j.next] = s
		j.next = (j.next + 1) % j.size
		j.stats.Forgotten++
	}
	if j.stats.Active == 0 && j.idle != nil {
		close(j.idle)
		j.idle = nil
	}
}

func (j *journal) count(s Served) {
	j.stats.Requests++
	if s.Stream {
		j.stats.Streams++
	}
	switch s.Outcome {
	case Complete:
		j.stats.Complete++
		j.stats.PromptTokens += int64(s.PromptTokens)
		j.stats.CompletionTokens += int64(s.CompletionTokens)
	case ClientGone:
		j.stats.ClientGone++
	case Cut:
		j.stats.Cut++
	case Refused:
		j.stats.Refused++
	}
}

// wait returns when no request is active.
func (j *journal) wait(ctx context.Context) error {
	for {
		j.mu.Lock()
		if j.stats.Active == 0 {
			j.mu.Unlock()
			return nil
		}
		if j.idle == nil {
			j.idle = make(chan struct{})
		}
		idle := j.idle
		j.mu.Unlock()
		select {
		case <-idle:
		case <-ctx.Done():
			return fmt.Errorf("wait for running requests: %w", ctx.Err())
		}
	}
}

func (j *journal) served() []Served {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append(append(make([]Served, 0, len(j.ring)), j.ring[j.next:]...), j.ring[:j.next]...)
}

func (j *journal) totals() Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.stats
}
