//go:build unix

package openai

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// open reports whether an idle connection can take a request: the other side has
// neither closed it nor sent what nobody asked for. It looks without waiting and
// without taking a byte.
func open(c net.Conn) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return true
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	alive := false
	err = rc.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		alive = err == unix.EAGAIN || err == unix.EWOULDBLOCK
		return true
	})
	return alive && err == nil
}
