package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// run sends the command's request and shows the answer.
func (k *call) run(ctx context.Context) error {
	r := k.request()
	if k.opts.dryRun && k.changes() {
		return k.rehearse(r)
	}
	if err := k.confirm(); err != nil {
		return err
	}
	if k.paged {
		return k.follow(ctx, r)
	}
	if k.streamed {
		return k.target.pass(ctx, r, k.cmd.OutOrStdout())
	}
	a, err := k.target.do(ctx, r)
	if err != nil {
		return err
	}
	if k.finish != nil {
		return k.finish(k, a)
	}
	return k.print(a)
}

// print shows an answer.
func (k *call) print(a *answer) error {
	out := k.cmd.OutOrStdout()
	if len(bytes.TrimSpace(a.body)) == 0 {
		if k.opts.output == Table && k.done != "" {
			return say(out, k.naming(k.done))
		}
		return nil
	}
	if a.is("text/csv") {
		_, err := out.Write(a.body)
		return wrapped("write rows", err)
	}
	v, err := parse(a.body)
	if err != nil {
		return err
	}
	switch k.opts.output {
	case formatJSON:
		return indented(out, a.body)
	case formatCSV:
		return v.printCSV(out)
	}
	if k.show != nil {
		return k.show(k, v)
	}
	if k.columns != nil {
		return k.table(out, v.at("data").items)
	}
	return k.detail(out, v)
}

// hiddenCredential stands for what a rehearsal does not show.
const hiddenCredential = "(hidden)"

// rehearse prints the request instead of sending it.
func (k *call) rehearse(r *request) error {
	for _, name := range []string{"credential", "key"} {
		if _, secret := k.body[name]; secret {
			k.body[name] = hiddenCredential
		}
	}
	out := k.cmd.OutOrStdout()
	if k.opts.output == formatJSON {
		raw, err := json.Marshal(map[string]any{"method": r.method, "url": r.url(k.target.baseURL), "body": r.body})
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		return indented(out, raw)
	}
	if err := say(out, r.method+" "+r.url(k.target.baseURL)); err != nil || r.body == nil {
		return err
	}
	raw, err := json.Marshal(r.body)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	return indented(out, raw)
}

// confirm asks before what can't be undone.
func (k *call) confirm() error {
	if k.ask == "" || k.opts.yes {
		return nil
	}
	question := k.naming(k.ask)
	if !k.env.Asks() {
		return Usage("%s Nobody can be asked here: say --yes", question)
	}
	if _, err := fmt.Fprintf(k.cmd.ErrOrStderr(), "%s [y/N] ", question); err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	line, err := bufio.NewReader(io.LimitReader(k.cmd.InOrStdin(), 1<<10)).ReadString('\n')
	if err != nil && line == "" {
		return fmt.Errorf("read answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return fmt.Errorf("nothing was done")
}

// largestPage is the most items of one page of the API.
const largestPage = 200

// follow reads all pages of a list, or as many as its limit wants, and shows them
// as one.
func (k *call) follow(ctx context.Context, r *request) error {
	all := &pages{limit: k.limit}
	for {
		size := largestPage
		if k.limit > 0 {
			size = min(size, k.limit-all.count)
		}
		r.query.Set("limit", strconv.Itoa(size))
		a, err := k.target.do(ctx, r)
		if err != nil {
			return err
		}
		next, err := all.add(a)
		if err != nil {
			return err
		}
		if next == "" || (k.limit > 0 && all.count >= k.limit) {
			break
		}
		if next == r.query.Get("cursor") {
			return fmt.Errorf("the list does not end: it gave the same cursor twice")
		}
		r.query.Set("cursor", next)
	}
	if all.rows.Len() > 0 {
		return k.print(&answer{status: http.StatusOK, header: http.Header{"Content-Type": {"text/csv"}}, body: all.rows.Bytes()})
	}
	return k.print(&answer{status: http.StatusOK, body: all.json()})
}

// pages gathers the pages of a list.
type pages struct {
	limit int
	count int
	rows  bytes.Buffer // as CSV, where the service gave that
	items []json.RawMessage
}

func (p *pages) add(a *answer) (next string, err error) {
	if a.is("text/csv") {
		records := a.body
		if p.rows.Len() > 0 { // the names stand above the first page
			_, after, _ := bytes.Cut(records, []byte("\r\n"))
			records = after
		}
		p.rows.Write(records)
		n, err := strconv.Atoi(a.header.Get("X-Row-Count"))
		if err != nil {
			return "", fmt.Errorf("read answer: the service does not say how many rows it sent: %w", err)
		}
		p.count += n
		return a.header.Get("X-Next-Cursor"), nil
	}
	var page struct {
		Data       []json.RawMessage `json:"data"`
		NextCursor *string           `json:"next_cursor"`
	}
	if err := json.Unmarshal(a.body, &page); err != nil {
		return "", fmt.Errorf("read answer: it is no list: %w", err)
	}
	p.items = append(p.items, page.Data...)
	p.count += len(page.Data)
	if page.NextCursor == nil {
		return "", nil
	}
	return *page.NextCursor, nil
}

// json is the list as the API would answer it on one page.
func (p *pages) json() []byte {
	out := []byte(`{"data":[`)
	for i, item := range p.items {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, item...)
	}
	return append(out, `],"next_cursor":null}`...)
}

func wrapped(attempted string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", attempted, err)
}

func say(w io.Writer, line string) error {
	_, err := fmt.Fprintln(w, line)
	return wrapped("write", err)
}

// indented prints JSON for readers, its numbers and its order as they came.
func indented(w io.Writer, body []byte) error {
	var out bytes.Buffer
	if err := json.Indent(&out, bytes.TrimSpace(body), "", "  "); err != nil {
		return fmt.Errorf("read answer: it is not JSON: %w", err)
	}
	out.WriteByte('\n')
	_, err := w.Write(out.Bytes())
	return wrapped("write answer", err)
}
