// Package runtimeapi is a small AWS Lambda for tests: it serves the Lambda
// Runtime API over HTTP to bootstraps that run as processes of their own, so
// that what is deployed is what is tested.
//
// It owns the platform's side of an invocation: queueing, dispatch to idle
// sandboxes, time-outs, buffered and streamed answers, errors before and in the
// middle of an answer, sandboxes that exit. [Gateway] puts a local API Gateway
// (REST) in front, so that real HTTP clients reach functions through the real
// event format.
//
// It does not scale by itself: a test starts as many sandboxes as it wants to
// have invocations at once, and starts another when one has exited.
//
// Formats and behaviour follow the public documentation of the Lambda Runtime
// API (2018-06-01), the Extensions API (2020-01-01), and of Lambda proxy
// integrations with and without response streaming in API Gateway.
package runtimeapi
