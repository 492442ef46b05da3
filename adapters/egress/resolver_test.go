package egress_test

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
)

// resolver asks a name server of the test's, which answers every name with the first
// address once, and with the other from then on.
func resolver(t *testing.T, first, then string) *net.Resolver {
	t.Helper()
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		answerQuestions(conn, netip.MustParseAddr(first), netip.MustParseAddr(then))
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

const (
	typeA    = 1
	typeAAAA = 28
)

func answerQuestions(conn net.PacketConn, first, then netip.Addr) {
	buf := make([]byte, 512)
	asked := map[uint16]bool{} // kinds: a look-up asks for both at once
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		question := questionOf(buf[:n])
		kind := binary.BigEndian.Uint16(question[len(question)-4:])
		ip := then
		if !asked[kind] {
			ip = first
		}
		asked[kind] = true
		_, _ = conn.WriteTo(reply(buf[:2], question, kind, ip), from)
	}
}

// questionOf is the name, type and class of a query's only question.
func questionOf(query []byte) []byte {
	end := 12
	for query[end] != 0 {
		end += int(query[end]) + 1
	}
	return query[12 : end+5]
}

func reply(id, question []byte, kind uint16, ip netip.Addr) []byte {
	data := ip.AsSlice()
	matches := (kind == typeA && ip.Is4()) || (kind == typeAAAA && !ip.Is4())
	count := byte(0)
	if matches {
		count = 1
	}
	m := append([]byte{id[0], id[1], 0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0}, question...)
	if matches {
		m = append(m, 0xc0, 12)
		m = binary.BigEndian.AppendUint16(m, kind)
		m = append(m, 0, 1, 0, 0, 0, 0)
		m = binary.BigEndian.AppendUint16(m, uint16(len(data)))
		m = append(m, data...)
	}
	return m
}
