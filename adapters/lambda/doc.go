// Package lambda is the host that runs one [function.Function] as an AWS Lambda
// function, so that the handlers of the other hosts run there unchanged.
//
// It owns the translation between the platform's events and the three things a
// function answers to: API Gateway REST requests (payload version 1.0) reach
// its HTTP handler, SQS batches its message handler, EventBridge events its
// jobs. It owns nothing of what a function does.
//
// Decisions:
//
//   - A function is wired by the first event, not at init: init stays free of
//     I/O, and a database that is down for a moment costs that moment's
//     requests, not the sandbox. A wiring that failed is tried again by the
//     next event.
//   - Whether an answer streams is decided by the route that the mux matched,
//     never by what the answer looks like: API Gateway's two transfer modes
//     expect different bytes, also for errors.
//   - A call's context ends a margin before the platform's deadline, so that a
//     request that runs out of time can still be recorded and answered.
//   - Nothing is left running when an invocation ends, for the platform may
//     freeze the process right after: a stream's reader is only closed when its
//     handler has returned.
//
// What the platform allows on a client's disconnect: AWS documents that a
// stream whose reader left is not interrupted, so usually a function produces
// to its end. Where the Runtime API's connection does break or answers early,
// the runtime closes the body; the handler's context then ends with
// [ErrClientGone] and its writes fail. A break without an answer is noticed
// with the next byte that the handler writes: the runtime's HTTP client looks
// no earlier.
package lambda
