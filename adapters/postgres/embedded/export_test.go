//go:build linux || darwin

package embedded

// For the tests.
var (
	TrimLog      = trimLog
	ParseVersion = parseVersion
	ProcessesOf  = processesOf
)
