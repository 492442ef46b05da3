// Package policy holds the access policy: who may do what, in Rego. rights.rego is
// the table, decision.rego how a question is decided, and what ends in _test.rego
// are its own tests. The adapter opa evaluates it; the table in package authz is
// computed from it.
package policy

import "embed"

// Files are the policy and its tests.
//
//go:embed *.rego
var Files embed.FS
