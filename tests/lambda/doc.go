// Package lambda tests bootstraps as the binaries that are deployed: built with
// the release's flags, run as processes, driven over the Runtime API.
package lambda
