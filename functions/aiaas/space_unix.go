//go:build linux || darwin

package main

import (
	"fmt"
	"syscall"
)

// freeSpace is how many bytes this user may still write in a folder.
func freeSpace(dir string) (uint64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("ask for the free space of %s: %w", dir, err)
	}
	return s.Bavail * uint64(s.Bsize), nil //nolint:gosec // a size, whose type differs between systems
}
