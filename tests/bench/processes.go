package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const bareProxy = "bare ReverseProxy"

// processes are the programs that are measured.
type processes struct {
	dir  string
	cmds []*exec.Cmd
}

// stop ends them, the last started first, and waits.
func (p *processes) stop() {
	for _, cmd := range slices.Backward(p.cmds) {
		_ = cmd.Process.Signal(syscall.SIGINT)
		_ = cmd.Wait()
	}
}

func (p *processes) start(ctx context.Context) ([]target, gateway, error) {
	none := func() []int { return nil }
	upstream, _, err := p.self(ctx, "upstream")
	if err != nil {
		return nil, gateway{}, err
	}
	proxy, proxyPID, err := p.self(ctx, "proxy", upstream)
	if err != nil {
		return nil, gateway{}, err
	}
	g, err := p.gateway(ctx, upstream)
	if err != nil {
		return nil, gateway{}, err
	}
	const path = "/v1/chat/completions"
	return []target{
		{name: "no proxy", url: "http://" + upstream + path, pids: none, extra: none},
		{name: bareProxy, url: "http://" + proxy + path, pids: func() []int { return []int{proxyPID} }, extra: none},
		{
			name: "aiaas, all controls on", url: g.base + path, header: "Authorization: Bearer " + g.key + "\r\n",
			pids: func() []int { return []int{g.pid} }, extra: func() []int { return family(g.database) },
		},
	}, g, nil
}

// self starts this program in another role and reads the address that it prints.
func (p *processes) self(ctx context.Context, role string, args ...string) (addr string, pid int, err error) {
	exe, err := os.Executable()
	if err != nil {
		return "", 0, err
	}
	cmd := exec.CommandContext(ctx, exe, append([]string{"-role", role}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", 0, err
	}
	if err := cmd.Start(); err != nil {
		return "", 0, err
	}
	p.cmds = append(p.cmds, cmd)
	line, err := bufio.NewReader(out).ReadString('\n')
	return strings.TrimSpace(line), cmd.Process.Pid, err
}

type gateway struct {
	base, key, platform string
	databaseURL         string
	pid, database       int
}

// gateway builds and starts the command, and sets up what a paying tenant has: a
// priced model, a key with limits, and a blocking budget on organisation,
// project, key and model, none of which is reached.
func (p *processes) gateway(ctx context.Context, upstream string) (gateway, error) {
	build := exec.CommandContext(ctx, "go", "build", "-o", binary(p.dir), "./functions/aiaas")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return gateway{}, fmt.Errorf("build: %w", err)
	}
	data := filepath.Join(p.dir, "data")
	cmd := exec.Command(binary(p.dir), "serve") // no context: it is stopped by signal, so that it drains
	cmd.Env = append(os.Environ(), "AIAAS_ADDR=127.0.0.1:0", "AIAAS_DATA_DIR="+data, "DATABASE_URL=", "OPENAI_API_KEY=", "AIAAS_BACKENDS=")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return gateway{}, err
	}
	if err := cmd.Start(); err != nil {
		return gateway{}, err
	}
	p.cmds = append(p.cmds, cmd)
	if err := waitFor(out, "Press Ctrl-C"); err != nil {
		return gateway{}, err
	}
	var profile struct {
		BaseURL     string `json:"base_url"`
		ProjectID   string `json:"project_id"`
		AdminKey    string `json:"admin_key"`
		PlatformKey string `json:"platform_key"`
	}
	text, err := os.ReadFile(filepath.Join(data, "credentials.json"))
	if err != nil {
		return gateway{}, err
	}
	if err := json.Unmarshal(text, &profile); err != nil {
		return gateway{}, err
	}
	a := api{base: profile.BaseURL}
	a.post(ctx, profile.PlatformKey, "/v1/models", map[string]any{"id": "bench"})
	a.post(ctx, profile.PlatformKey, "/v1/models/bench/backends", map[string]any{"protocol": "openai", "base_url": "http://" + upstream + "/v1"})
	a.post(ctx, profile.PlatformKey, "/v1/price-books/default/prices", map[string]any{
		"model": "bench", "effective_from": "2026-01-01T00:00:00Z", "input_usd_per_million": "1.00", "output_usd_per_million": "4.00",
	})
	key := a.post(ctx, profile.AdminKey, "/v1/api-keys", map[string]any{
		"name": "bench", "scopes": []string{"inference"},
		"limits": map[string]any{"requests_per_minute": 100_000_000, "tokens_per_minute": 100_000_000_000, "concurrent_requests": 100_000},
	})
	for _, scope := range []map[string]any{
		{"organization": true}, {"project_id": profile.ProjectID}, {"api_key_id": key["id"]}, {"model": "bench"},
	} {
		a.post(ctx, profile.AdminKey, "/v1/budgets", map[string]any{
			"scope": scope, "unit": "money", "amount": "1000000", "period": "month", "action": "block",
		})
	}
	if a.err != nil {
		return gateway{}, a.err
	}
	secret, _ := key["key"].(string)
	return gateway{
		base: profile.BaseURL, key: secret, platform: profile.PlatformKey, databaseURL: p.databaseURL(),
		pid: cmd.Process.Pid, database: child(cmd.Process.Pid),
	}, nil
}

func waitFor(r io.Reader, text string) error {
	s := bufio.NewScanner(r)
	for s.Scan() {
		if strings.Contains(s.Text(), text) {
			go func() { _, _ = io.Copy(io.Discard, r) }()
			return nil
		}
	}
	return errors.Join(errors.New("the server ended before it was ready"), s.Err())
}

// waitForBase reads where a server listens, and waits until it does.
func waitForBase(r io.Reader) (base string, err error) {
	const is = "AIaaS is running at "
	s := bufio.NewScanner(r)
	for s.Scan() {
		if _, after, ok := strings.Cut(s.Text(), is); ok {
			base = strings.TrimSpace(after)
		}
		if strings.Contains(s.Text(), "Press Ctrl-C") {
			go func() { _, _ = io.Copy(io.Discard, r) }()
			return base, nil
		}
	}
	return "", errors.Join(errors.New("the server ended before it was ready"), s.Err())
}

// api calls the management API and keeps the first error.
type api struct {
	base string
	err  error
}

func (a *api) post(ctx context.Context, key, path string, body map[string]any) map[string]any {
	if a.err != nil {
		return nil
	}
	text, err := json.Marshal(body)
	if err != nil {
		a.err = err
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.base+path, bytes.NewReader(text))
	if err != nil {
		a.err = err
		return nil
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.err = err
		return nil
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusCreated {
		err = fmt.Errorf("POST %s: %s: %s", path, resp.Status, answer)
	}
	out := map[string]any{}
	a.err = errors.Join(err, json.Unmarshal(answer, &out))
	return out
}

// ticks is what /proc counts CPU time in, on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// cpuOf is the CPU time that processes, and children of theirs that ended, have
// used so far.
func cpuOf(pids []int) time.Duration {
	var sum int64
	for _, pid := range pids {
		f := stat(pid)
		if len(f) < 17 {
			continue
		}
		for _, field := range f[11:15] { // utime, stime, cutime, cstime
			n, _ := strconv.ParseInt(field, 10, 64)
			sum += n
		}
	}
	return time.Duration(sum) * tick
}

// stat is the fields of /proc/PID/stat from the state on.
func stat(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return strings.Fields(rest)
}

// family is a process and its children.
func family(parent int) []int {
	out := []int{parent}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if f := stat(pid); len(f) > 1 && f[1] == strconv.Itoa(parent) {
			out = append(out, pid)
		}
	}
	return out
}

func child(parent int) int {
	if f := family(parent); len(f) > 1 {
		return f[1]
	}
	return parent
}
