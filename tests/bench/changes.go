package main

import (
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
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// change is something that is done through one process and must be felt in another.
type change struct {
	name   string
	status int                         // that the other process answers from then on
	do     func(context.Context) error // returns when the change was answered
	undo   func(context.Context) error
}

// changes measures how long after the answer to a change, which one process gave,
// another process still acts by the old state. The first manages, the second
// serves; they share nothing but the database.
func changes(ctx context.Context, p *processes, g gateway, rounds int) error {
	manager, err := p.manager()
	if err != nil {
		return err
	}
	s, err := newStage(ctx, g, manager)
	if err != nil {
		return err
	}
	defer s.close(context.WithoutCancel(ctx))
	fmt.Printf("\nChanges answered by one process, felt by another: %d rounds each; the bound is 1 s\n\n", rounds)
	fmt.Println("| change | p50 | p99 | longest |")
	fmt.Println("|---|---:|---:|---:|")
	for _, c := range s.changes() {
		n := rounds
		var late []time.Duration
		for range n {
			d, err := s.feel(ctx, c)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			late = append(late, d)
		}
		slices.Sort(late)
		fmt.Printf("| %s | %s | %s | %s |\n", c.name, round(float64(late[n/2])), round(float64(late[max(0, (n*99+99)/100-1)])), round(float64(late[n-1])))
	}
	return nil
}

// manager starts a second process that serves what manages keys, people and
// organisations, over the first one's database.
func (p *processes) manager() (base string, err error) {
	return p.serve("manager", []string{"keys", "identity", "organizations"})
}

// serve starts one more process, which serves some functions over the first one's
// database.
func (p *processes) serve(name string, functions []string, settings ...string) (base string, err error) {
	key, err := os.ReadFile(filepath.Join(p.dir, "data", "secret.key")) // what one seals the other opens
	if err != nil {
		return "", fmt.Errorf("read secret key: %w", err)
	}
	cmd := exec.Command(binary(p.dir), "serve", "--functions", strings.Join(functions, ",")) // it is stopped by signal
	cmd.Env = append(os.Environ(), "AIAAS_ADDR=127.0.0.1:0", "AIAAS_DATA_DIR="+filepath.Join(p.dir, name), "DATABASE_URL="+p.databaseURL(), "OPENAI_API_KEY=", "AIAAS_BACKENDS=")
	cmd.Env = append(append(cmd.Env, "AIAAS_SECRET_KEY="+strings.TrimSpace(string(key))), settings...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	p.cmds = append(p.cmds, cmd)
	return waitForBase(out)
}

func (p *processes) databaseURL() string {
	return "postgres:///aiaas?host=" + filepath.Join(p.dir, "data", "run") + "&port=5432&user=aiaas&sslmode=disable"
}

// stage is what the changes are made to: a key of a service account, in an
// organisation of its own.
type stage struct {
	serves, manages string
	platform, owner string // keys
	org, account    string
	keyID, key      string
	db              *pgx.Conn
	client          *http.Client
}

func newStage(ctx context.Context, g gateway, manager string) (*stage, error) {
	s := &stage{serves: g.base, manages: manager, platform: g.platform, client: &http.Client{Timeout: 10 * time.Second}}
	var err error
	if s.db, err = pgx.Connect(ctx, g.databaseURL); err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	a := api{base: manager}
	org := a.post(ctx, s.platform, "/v1/organizations", map[string]any{
		"name": "Bench", "slug": "bench", "plan": "selfhosted", "owner": map[string]any{"email": "owner@example.com", "name": "Owner"},
	})
	s.org, s.owner = text(org, "id"), text(org, "key", "key")
	account := a.post(ctx, s.owner, "/v1/service-accounts", map[string]any{"name": "bench", "role": "developer"})
	s.account = text(account, "id")
	key := a.post(ctx, s.owner, "/v1/api-keys", map[string]any{
		"name": "bench", "scopes": []string{"inference", "models:read", "usage:read"}, "owner": map[string]any{"service_account_id": s.account},
	})
	s.keyID, s.key = text(key, "id"), text(key, "key")
	return s, a.err
}

func (s *stage) close(ctx context.Context) {
	_ = s.db.Close(ctx)
	s.client.CloseIdleConnections()
}

func text(m map[string]any, path ...string) string {
	for _, p := range path[:len(path)-1] {
		m, _ = m[p].(map[string]any)
	}
	v, _ := m[path[len(path)-1]].(string)
	return v
}

func (s *stage) changes() []change {
	byAPI := func(method, path, key string, body any) func(context.Context) error {
		return func(ctx context.Context) error { return s.call(ctx, method, path, key, body) }
	}
	bySQL := func(query string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := s.db.Exec(ctx, query, s.keyID)
			return err
		}
	}
	key, account, org := "/v1/api-keys/"+s.keyID, "/v1/service-accounts/"+s.account, "/v1/organizations/"+s.org
	return []change{
		{"key suspended", http.StatusUnauthorized, byAPI("POST", key+"/suspend", s.owner, map[string]any{}), byAPI("POST", key+"/resume", s.owner, map[string]any{})},
		{"service account suspended", http.StatusUnauthorized, byAPI("POST", account+"/suspend", s.owner, map[string]any{"reason": "bench"}), byAPI("POST", account+"/reactivate", s.owner, map[string]any{})},
		{"organization suspended", http.StatusUnauthorized, byAPI("POST", org+"/suspend", s.platform, map[string]any{"reason": "bench"}), byAPI("POST", org+"/activate", s.platform, map[string]any{})},
		{"role without the right", http.StatusForbidden, byAPI("PATCH", account, s.owner, map[string]any{"role": "analyst"}), byAPI("PATCH", account, s.owner, map[string]any{"role": "developer"})},
		{"key revoked, nobody told", http.StatusUnauthorized,
			bySQL(`UPDATE accounts.api_keys SET revoked_at = now() WHERE key_id = $1`), bySQL(`UPDATE accounts.api_keys SET revoked_at = NULL WHERE key_id = $1`)},
	}
}

// feel makes a change and returns how long after its answer the old state was last
// acted by: until the first request that was refused had begun.
func (s *stage) feel(ctx context.Context, c change) (time.Duration, error) {
	if err := s.until(ctx, http.StatusNotFound); err != nil {
		return 0, err
	}
	if err := c.do(ctx); err != nil {
		return 0, err
	}
	answered := time.Now()
	var began time.Time
	for {
		began = time.Now()
		status, err := s.probe(ctx)
		if err != nil {
			return 0, err
		}
		if status == c.status {
			break
		}
		if time.Since(answered) > time.Minute {
			return 0, fmt.Errorf("after a minute the answer is still %d", status)
		}
	}
	return max(0, began.Sub(answered)), c.undo(ctx)
}

// until waits for a state that is only a preparation.
func (s *stage) until(ctx context.Context, want int) error {
	deadline := time.Now().Add(time.Minute)
	for n := 0; time.Now().Before(deadline); n++ {
		status, err := s.probe(ctx)
		if err != nil {
			return err
		}
		if status == want && n > 3 { // and it is in the cache
			return nil
		}
	}
	return errors.New("the key does not work")
}

// probe calls a model that does not exist: 404 is the answer to who may call.
func (s *stage) probe(ctx context.Context) (int, error) {
	return s.send(ctx, "POST", s.serves+"/v1/chat/completions", s.key, map[string]any{
		"model": "nobody", "messages": []any{map[string]any{"role": "user", "content": "x"}},
	})
}

func (s *stage) call(ctx context.Context, method, path, key string, body any) error {
	status, err := s.send(ctx, method, s.manages+path, key, body)
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("%s %s: status %d", method, path, status)
	}
	return err
}

func (s *stage) send(ctx context.Context, method, url, key string, body any) (int, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(raw))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}
