// Package function is the shape of a deployable unit and the reason the same
// code runs in every host.
//
// A [Spec] says once what a function answers to: routes, queues, schedules,
// memory and time-out. A [Function] is the running thing: an HTTP handler, a
// message handler and jobs. An [Env] is what the functions in one process
// share. Hosts (a Lambda bootstrap, the HTTP shim) know only these three; they
// never know what a function does, and a function never knows its host.
package function

import (
	"context"
	"net/http"
	"time"
)

// Service names the part of the platform that a function belongs to. Each
// service owns one database schema, its roles and its migrations.
type Service string

// The services.
const (
	Router    Service = "router"
	Accounts  Service = "accounts"
	Analytics Service = "analytics"
)

// Spec is the static description of a function. It is the only place where its
// routes, triggers and sizes stand; the hosts, the OpenAPI document and the
// deployment templates are derived from it.
type Spec struct {
	Name      string // unique, lower case, as in the folder name: "inference"
	Service   Service
	Summary   string // one line for people who operate it
	Routes    []Route
	Queues    []Queue
	Schedules []Schedule
	MemoryMiB int           // memory on hosts that size functions one by one
	Timeout   time.Duration // the longest one call may take
}

// Route is one HTTP operation.
type Route struct {
	Method      string // upper case
	Path        string // a ServeMux pattern without the method: "/v1/api-keys/{id}"
	OperationID string // unique in the catalogue: "createApiKey"
	Summary     string
	Description string
	Tag         string // the group it stands under in the reference
	Scope       string // what the caller's key must grant; "" for public routes
	OrScope     string // another scope that will do; "" where there is none
	Status      int    // answer on success; 0 means 200
	Stream      bool   // the answer may be a stream that outlives buffering hosts
	DataPlane   bool   // errors carry OpenAI's error object, and usage is metered
	Form        bool   // the body is a form, as a standard demands: application/x-www-form-urlencoded
	Optional    bool   // of a public route: a good credential says who calls, any other is as none
}

// Pattern is the route in the form that [http.ServeMux] takes.
func (r Route) Pattern() string { return r.Method + " " + r.Path }

// SuccessStatus is the status that the route answers when all went well.
func (r Route) SuccessStatus() int {
	if r.Status == 0 {
		return http.StatusOK
	}
	return r.Status
}

// Queue is a trigger by messages.
type Queue struct {
	Name  string // logical name: "usage"; a host maps it to an address
	Batch int    // most messages handed over at once
}

// Schedule is a trigger by time. A job runs in one process of the deployment, the
// one that leads, unless it says otherwise.
type Schedule struct {
	Job   string        // which of the function's jobs runs
	Every time.Duration // distance between two starts
	// EachProcess runs the job in every process of a host that has several: it
	// serves what that process has in its own memory.
	EachProcess bool
}

// Frequent is the distance between two starts under which a job is frequent: its
// runs are summed up, and one that hangs must soon make room for the next.
const Frequent = time.Minute

// leastJobTime is what any job has that is not frequent, whatever one request of
// its function may take.
const leastJobTime = 5 * time.Minute

// JobTimeout is how long one run of a job may take on hosts that set no limit of
// their own: the Spec's Timeout, and at least five minutes unless the job is
// frequent.
func (s Spec) JobTimeout(job string) time.Duration {
	for _, sched := range s.Schedules {
		if sched.Job == job && sched.Every < Frequent && s.Timeout > 0 {
			return s.Timeout
		}
	}
	return max(s.Timeout, leastJobTime)
}

// Message is one queue message. Body must not be kept after the handler returns.
type Message struct {
	ID   string // the queue's own id, named in the outcome
	Body []byte
}

// MessageHandler takes a batch and returns the ids of the messages that must be
// delivered again; all others are done and never come back. An error means that
// nothing of the batch was taken. Handlers must bear redelivery.
type MessageHandler func(ctx context.Context, batch []Message) (failed []string, err error)

// Job is work started by a schedule or by an operator. It must bear running
// twice, also at once. The counts say what it did; nil where there was nothing to
// do. They count also where it failed half-way.
type Job func(ctx context.Context) (Counts, error)

// Counts is what a job did, by what was counted: {"events": 12}.
type Counts map[string]int64

// Function is what a Wire builds: the parts that a host can call. Unused parts
// are nil.
type Function struct {
	HTTP     http.Handler
	Messages MessageHandler
	Jobs     map[string]Job
	// Ready reports why the function can't serve, nil when it can. Hosts ask it
	// for their readiness probes; it must be cheap.
	Ready func(ctx context.Context) error
}

// Wire builds a function from what its process shares.
type Wire func(ctx context.Context, env *Env) (Function, error)

// Entry is one line of the catalogue.
type Entry struct {
	Spec Spec
	Wire Wire
}
