// Package spool is the last resort of recorded usage: a file on this machine,
// synced before an answer ends, for the time in which the database can't be
// reached. It only helps where the disk survives the process, so hosts without
// such a disk do without it.
package spool

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/aiaas/aiaas/shared/usage"
)

// File is an append-only file of events. Each is framed by its length and
// checksum, so that a tail torn by a crash is recognised: it was never
// acknowledged.
type File struct {
	path string
	mu   sync.Mutex
	f    *os.File
}

var _ usage.Sink = (*File)(nil)

// maxFrame is far above any event; a larger length is a torn frame.
const maxFrame = 1 << 20

// Open opens the spool at path, which need not exist yet. No file is made until
// something is recorded.
func Open(path string) *File { return &File{path: path} }

// Record appends events and returns when they are on the disk.
func (s *File) Record(_ context.Context, events []usage.Recorded) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.open(); err != nil {
		return err
	}
	var frame []byte
	for _, e := range events {
		frame = appendFrame(frame, e)
	}
	end, err := s.f.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("seek in spool: %w", err)
	}
	if _, err = s.f.Write(frame); err == nil {
		err = s.f.Sync()
	}
	if err != nil { // leave no half frame for the next append to hide behind
		return fmt.Errorf("write spool: %w", errors.Join(err, s.f.Truncate(end)))
	}
	return nil
}

func (s *File) open() error {
	if s.f != nil {
		return nil
	}
	_, statErr := os.Stat(s.path)
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open spool: %w", err)
	}
	if errors.Is(statErr, fs.ErrNotExist) {
		if err := syncFolder(filepath.Dir(s.path)); err != nil { // else the file's name may not survive
			return errors.Join(err, f.Close())
		}
	}
	s.f = f
	return nil
}

func syncFolder(path string) error {
	d, err := os.Open(path) //nolint:gosec // the operator's own setting
	if err != nil {
		return fmt.Errorf("open spool's folder: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync spool's folder: %w", err)
	}
	return nil
}

func appendFrame(b []byte, e usage.Recorded) []byte {
	payload := binary.AppendUvarint(nil, uint64(len(e.OrgID)))
	payload = append(payload, e.OrgID...)
	payload = binary.AppendUvarint(payload, uint64(len(e.ID)))
	payload = append(payload, e.ID...)
	payload = append(payload, e.Body...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload))) //nolint:gosec // events are far smaller
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(payload))
	return append(b, payload...)
}

// Drain hands all events to sink and empties the spool once the sink has them. It
// returns how many there were.
func (s *File) Drain(ctx context.Context, sink usage.Sink) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.f == nil {
		if _, err := os.Stat(s.path); errors.Is(err, fs.ErrNotExist) {
			return 0, nil
		}
	}
	if err := s.open(); err != nil {
		return 0, err
	}
	events, err := s.read()
	if err != nil || len(events) == 0 {
		return 0, err
	}
	if err := sink.Record(ctx, events); err != nil {
		return 0, fmt.Errorf("drain spool: %w", err)
	}
	if err := errors.Join(s.f.Truncate(0), s.f.Sync()); err != nil {
		return 0, fmt.Errorf("empty spool: %w", err) // they are drained again: no harm
	}
	return len(events), nil
}

func (s *File) read() ([]usage.Recorded, error) {
	if _, err := s.f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("seek in spool: %w", err)
	}
	var out []usage.Recorded
	r := bufio.NewReader(s.f)
	for {
		e, err := readFrame(r)
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, errTorn):
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("read spool: %w", err)
		}
		out = append(out, e)
	}
}

var errTorn = errors.New("torn frame")

func readFrame(r io.Reader) (usage.Recorded, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return usage.Recorded{}, torn(err)
	}
	size := binary.BigEndian.Uint32(head[:4])
	if size > maxFrame {
		return usage.Recorded{}, errTorn
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(r, payload); err != nil {
		return usage.Recorded{}, torn(err)
	}
	if crc32.ChecksumIEEE(payload) != binary.BigEndian.Uint32(head[4:]) {
		return usage.Recorded{}, errTorn
	}
	org, rest, ok1 := cutText(payload)
	id, body, ok2 := cutText(rest)
	if !ok1 || !ok2 {
		return usage.Recorded{}, errTorn
	}
	return usage.Recorded{OrgID: org, ID: id, Body: body}, nil
}

func torn(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errTorn
	}
	return err
}

func cutText(b []byte) (text string, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) { //nolint:gosec // a slice's length is not negative
		return "", nil, false
	}
	b = b[size:]
	return string(b[:n]), b[n:], true
}

// Close closes the file.
func (s *File) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.f == nil {
		return nil
	}
	err := s.f.Close()
	s.f = nil
	if err != nil {
		return fmt.Errorf("close spool: %w", err)
	}
	return nil
}
