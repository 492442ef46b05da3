// Package sdk holds OpenAI's official SDKs to the gateway, unchanged and as their
// users configure them: with a base URL and a key, nothing else.
//
// openai-go runs in the test process, the npm package openai under Node, started
// by a Go test. What Python's SDK relies on, which needs no interpreter to check,
// is checked on the wire. The answers are also type-checked against the
// declarations that OpenAI generates from its published schema.
//
// It owns no rules: what an answer means is the relay's, what the model says the
// demo model's.
package sdk
