package sso_test

import (
	"encoding/binary"
	"net"
	"strings"
	"sync"
	"testing"
)

// nameServer answers questions for TXT records.
type nameServer struct {
	conn net.PacketConn

	mu      sync.Mutex
	texts   map[string][]string // by name, in lower case and with the dot at its end
	refuses bool                // says that it can't tell
}

func startDNS(t *testing.T) *nameServer {
	t.Helper()
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{conn: conn, texts: map[string][]string{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.serve()
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return s
}

func (s *nameServer) address() string { return s.conn.LocalAddr().String() }

func (s *nameServer) set(name string, texts ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.texts[strings.ToLower(name)+"."] = texts
}

func (s *nameServer) fail(refuses bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuses = refuses
}

func (s *nameServer) serve() {
	buf := make([]byte, 512)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = s.conn.WriteTo(s.answer(buf[:n]), from)
	}
}

const (
	typeTXT   = 16
	noName    = 3
	serverBad = 2
)

func (s *nameServer) answer(query []byte) []byte {
	end := 12
	var labels []string
	for query[end] != 0 {
		labels = append(labels, string(query[end+1:end+1+int(query[end])]))
		end += int(query[end]) + 1
	}
	question := query[12 : end+5]
	kind := binary.BigEndian.Uint16(query[end+1:])
	s.mu.Lock()
	texts, known := s.texts[strings.ToLower(strings.Join(labels, ".")+".")]
	refuses := s.refuses
	s.mu.Unlock()
	code := byte(0)
	switch {
	case refuses:
		code, texts = serverBad, nil
	case !known:
		code = noName
	}
	if kind != typeTXT {
		texts = nil
	}
	m := append([]byte{query[0], query[1], 0x81, 0x80 | code, 0, 1, 0, byte(len(texts)), 0, 0, 0, 0}, question...)
	for _, text := range texts {
		m = append(m, 0xc0, 12, 0, typeTXT, 0, 1, 0, 0, 0, 0)
		m = binary.BigEndian.AppendUint16(m, uint16(len(text)+1))
		m = append(append(m, byte(len(text))), text...)
	}
	return m
}
