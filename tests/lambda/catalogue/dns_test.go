package catalogue_test

import (
	"encoding/binary"
	"net"
	"testing"
)

// nameServer starts a name server that knows no name, and returns its address: what a
// platform of these tests asks about domains does not leave the machine.
func nameServer(t *testing.T) string {
	t.Helper()
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(unknown(buf[:n]), from)
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return conn.LocalAddr().String()
}

// unknown answers a question: there is no such name.
func unknown(query []byte) []byte {
	const header, noSuchName = 12, 3
	end := header
	for query[end] != 0 {
		end += int(query[end]) + 1
	}
	answer := append([]byte(nil), query[:end+5]...) // with the type and the class of the question, and nothing after it
	answer[2] |= 0x80
	answer[3] = 0x80 | noSuchName
	binary.BigEndian.PutUint16(answer[10:], 0)
	return answer
}
