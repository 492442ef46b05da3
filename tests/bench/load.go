package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// load is a closed loop: each connection sends its next request when the last
// answer is in.
type load struct {
	url      string
	header   string
	conns    int
	stream   bool
	duration time.Duration
}

// run returns the latencies of all good answers and how many were not: any answer
// but 200, and any stream without its end, for a proxy that refuses is fast.
func (l load) run(ctx context.Context) (good []time.Duration, failed int, first error) {
	u, err := url.Parse(l.url)
	if err != nil {
		return nil, 0, err
	}
	body := requestBody(l.stream)
	request := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s",
		u.Path, u.Host, l.header, len(body), body)
	var (
		mu  sync.Mutex
		all []time.Duration
		wg  sync.WaitGroup
	)
	until := time.Now().Add(l.duration)
	for range l.conns {
		wg.Go(func() {
			for time.Now().Before(until) && ctx.Err() == nil { // again, on a new connection, after a failure
				lat, err := drive(ctx, u.Host, request, l.stream, until)
				mu.Lock()
				all = append(all, lat...)
				if err != nil {
					failed++
					first = cmp.Or(first, err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(all) == 0 {
		first = errors.Join(first, errors.New("no good answer at all"))
	}
	return all, failed, first
}

// requestBody is a chat of about a kilobyte.
func requestBody(stream bool) string {
	s := ""
	if stream {
		s = `,"stream":true,"stream_options":{"include_usage":true}`
	}
	return `{"model":"bench","max_tokens":100,"messages":[{"role":"system","content":"` + strings.Repeat("You are a helpful assistant. ", 8) +
		`"},{"role":"user","content":"` + strings.Repeat("Tell me about the weather in a few words. ", 16) + `"}]` + s + `}`
}

func drive(ctx context.Context, host string, request []byte, stream bool, until time.Time) ([]time.Duration, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	r := bufio.NewReaderSize(c, 32<<10)
	var lat []time.Duration
	for time.Now().Before(until) && ctx.Err() == nil {
		start := time.Now()
		if err := c.SetDeadline(start.Add(30 * time.Second)); err != nil {
			return lat, err
		}
		if _, err := c.Write(request); err != nil {
			return lat, err
		}
		if err := readAnswer(r, stream); err != nil {
			return lat, err
		}
		lat = append(lat, time.Since(start))
	}
	return lat, nil
}

func readAnswer(r *bufio.Reader, stream bool) error {
	status, size, chunked, err := readAnswerHead(r)
	if err != nil {
		return err
	}
	if !chunked {
		body := make([]byte, size)
		if _, err := io.ReadFull(r, body); err != nil {
			return err
		}
		if status != "200" {
			return fmt.Errorf("status %s: %s", status, body)
		}
		return nil
	}
	done := false
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 32)
		if err != nil {
			return err
		}
		chunk, err := r.Peek(min(int(n), 16))
		if err != nil {
			return err
		}
		done = done || bytes.HasPrefix(chunk, []byte("data: [DONE]"))
		if !done && n > 16 { // the end may be in a larger piece
			piece := make([]byte, n)
			if _, err := io.ReadFull(r, piece); err != nil {
				return err
			}
			done = bytes.Contains(piece, []byte("data: [DONE]"))
			n = 0
		}
		if _, err := r.Discard(int(n) + 2); err != nil {
			return err
		}
		if len(chunk) == 0 {
			break
		}
	}
	if status != "200" || (stream && !done) {
		return fmt.Errorf("status %s, the stream's end seen: %t", status, done)
	}
	return nil
}

func readAnswerHead(r *bufio.Reader) (status string, size int, chunked bool, err error) {
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return "", 0, false, err
		}
		text := strings.TrimRight(string(line), "\r\n")
		if first {
			if len(text) < 12 {
				return "", 0, false, errors.New("no status line")
			}
			status = text[9:12]
			continue
		}
		if text == "" {
			return status, size, chunked, nil
		}
		name, value, _ := strings.Cut(text, ":")
		switch strings.ToLower(name) {
		case "content-length":
			if size, err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
				return "", 0, false, err
			}
		case "transfer-encoding":
			chunked = true
		}
	}
}
