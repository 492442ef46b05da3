// Package relay tests the path of a paid request with its real limiter and a
// backend that does what a test tells it, at every point where a client may leave,
// a backend may break and a record may fail.
package relay
