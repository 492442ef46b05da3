// Package catalogue tests every function of the catalogue as the bootstrap that
// is deployed: built with the release's flags, run as a process, driven over the
// Runtime API with API Gateway, SQS and EventBridge events, on a real PostgreSQL.
//
// The tables are checked against the functions' Specs: a route, queue or schedule
// that is added there fails here until it is covered.
package catalogue
