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
	path     string
	draining sync.Mutex // one drain at a time
	mu       sync.Mutex // never held while a sink is asked: it may be silent, and Record must not wait for it
	f        *os.File
}

var _ usage.Sink = (*File)(nil)

// maxFrame is far above any event; a larger length is a torn frame.
const maxFrame = 1 << 20

// maxEvent leaves room for the lengths in a frame.
const maxEvent = maxFrame - 2*binary.MaxVarintLen64

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
		if len(e.OrgID)+len(e.ID)+len(e.Body) > maxEvent {
			return fmt.Errorf("write spool: event %s: %w", e.ID, errTooLarge)
		}
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
		err = errors.Join(err, s.f.Truncate(end), s.f.Close())
		s.f = nil // opened anew, what is torn all the same is cut off
		return fmt.Errorf("write spool: %w", err)
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
	_, end, err := s.read()
	if err == nil {
		err = f.Truncate(end) // a torn tail: what is appended behind it would never be read
	}
	if err != nil {
		s.f = nil
		return errors.Join(err, f.Close())
	}
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
// returns how many there were. Recording goes on meanwhile; what is recorded then
// stays for the next drain, together with what was drained: handing over an event
// again does no harm.
func (s *File) Drain(ctx context.Context, sink usage.Sink) (int, error) {
	s.draining.Lock()
	defer s.draining.Unlock()
	events, end, err := s.all()
	if err != nil || len(events) == 0 {
		return 0, err
	}
	if err := sink.Record(ctx, events); err != nil {
		return 0, fmt.Errorf("drain spool: %w", err)
	}
	if err := s.empty(end); err != nil {
		return 0, fmt.Errorf("empty spool: %w", err) // they are drained again
	}
	return len(events), nil
}

func (s *File) all() (events []usage.Recorded, end int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.f == nil {
		if _, err := os.Stat(s.path); errors.Is(err, fs.ErrNotExist) {
			return nil, 0, nil
		}
	}
	if err := s.open(); err != nil {
		return nil, 0, err
	}
	return s.read()
}

// empty empties the file unless it has grown past end.
func (s *File) empty(end int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.open(); err != nil {
		return err
	}
	info, err := s.f.Stat()
	if err != nil || info.Size() != end {
		return err //nolint:wrapcheck // a PathError says it all
	}
	return errors.Join(s.f.Truncate(0), s.f.Sync())
}

// read returns the whole frames, and where they end.
func (s *File) read() (events []usage.Recorded, end int64, err error) {
	if _, err := s.f.Seek(0, io.SeekStart); err != nil {
		return nil, 0, fmt.Errorf("seek in spool: %w", err)
	}
	r := bufio.NewReader(s.f)
	for {
		e, size, err := readFrame(r)
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, errTorn):
			return events, end, nil
		case err != nil:
			return nil, 0, fmt.Errorf("read spool: %w", err)
		}
		events, end = append(events, e), end+size
	}
}

var (
	errTorn     = errors.New("torn frame")
	errTooLarge = errors.New("it is too large")
)

func readFrame(r io.Reader) (e usage.Recorded, size int64, err error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return e, 0, torn(err)
	}
	n := binary.BigEndian.Uint32(head[:4])
	if n > maxFrame {
		return e, 0, errTorn
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		return e, 0, torn(err)
	}
	if crc32.ChecksumIEEE(payload) != binary.BigEndian.Uint32(head[4:]) {
		return e, 0, errTorn
	}
	org, rest, ok1 := cutText(payload)
	id, body, ok2 := cutText(rest)
	if !ok1 || !ok2 {
		return e, 0, errTorn
	}
	return usage.Recorded{OrgID: org, ID: id, Body: body}, int64(len(head)) + int64(n), nil
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
