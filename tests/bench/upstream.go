package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
)

const (
	chunks = 100
	word   = "tok "
)

// serveUpstream is a backend that answers at once. It speaks HTTP by itself, so
// that next to a proxy it takes little of the machine.
func serveUpstream() error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	whole, stream := wholeAnswer(), streamAnswer()
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer func() { _ = c.Close() }()
			_ = answer(c, whole, stream)
		}()
	}
}

func answer(c net.Conn, whole, stream []byte) error {
	r := bufio.NewReaderSize(c, 16<<10)
	var body []byte
	for {
		size, err := readHead(r)
		if err != nil {
			return err
		}
		if cap(body) < size {
			body = make([]byte, size)
		}
		body = body[:size]
		if _, err := io.ReadFull(r, body); err != nil {
			return err
		}
		out := whole
		if bytes.Contains(body, []byte(`"stream":true`)) {
			out = stream
		}
		if _, err := c.Write(out); err != nil {
			return err
		}
	}
}

// readHead reads a request's head and returns its body's size.
func readHead(r *bufio.Reader) (size int, err error) {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			return size, nil
		}
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && strings.EqualFold(string(name), "content-length") {
			if size, err = strconv.Atoi(strings.TrimSpace(string(value))); err != nil {
				return 0, err
			}
		}
	}
}

const usageBlock = `{"prompt_tokens":250,"completion_tokens":100,"total_tokens":350,"prompt_tokens_details":{"cached_tokens":0}}`

func wholeAnswer() []byte {
	body := `{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"bench","choices":[{"index":0,"message":{"role":"assistant","content":"` +
		strings.Repeat(word, chunks) + `"},"finish_reason":"stop"}],"usage":` + usageBlock + `}`
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func streamAnswer() []byte {
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
	event := func(choices, usage string) {
		e := `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"bench","choices":` + choices + `,"usage":` + usage + "}\n\n"
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(e), e)
	}
	event(`[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]`, "null")
	for range chunks {
		event(`[{"index":0,"delta":{"content":"`+word+`"},"finish_reason":null}]`, "null")
	}
	event(`[{"index":0,"delta":{},"finish_reason":"stop"}]`, "null")
	event(`[]`, usageBlock)
	b.WriteString("e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
	return b.Bytes()
}

// serveProxy is the reference: nothing but a reverse proxy.
func serveProxy(upstream string) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	p := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: upstream})
	p.Transport = &http.Transport{MaxIdleConnsPerHost: 4096, DisableCompression: true}
	return http.Serve(ln, p)
}
