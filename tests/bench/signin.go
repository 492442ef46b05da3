package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/password"
)

// signIns measures what signing in tells by the time that it takes: with addresses of
// people and with addresses of nobody, one after the other in turn, each with a wrong
// password; and the same for asking for a link to set one.
func signIns(ctx context.Context, p *processes, g gateway, pairs int) error {
	base, err := p.serve("signin", []string{"signin"}, "AIAAS_TRUSTED_PROXIES=127.0.0.1")
	if err != nil {
		return err
	}
	if err := people(ctx, g.databaseURL, pairs); err != nil {
		return err
	}
	fmt.Printf("\nSigning in with a wrong password, and asking for a link: %d of each, known and unknown in turn, one at a time\n\n", pairs)
	fmt.Println("| | status | p50 | p95 | mean |")
	fmt.Println("|---|---:|---:|---:|---:|")
	for _, act := range []struct{ name, path, body string }{
		{"sign in", "/v1/sign-in", `{"email":%q,"password":"a wrong password"}`},
		{"forgot password", "/v1/password/forgot", `{"email":%q}`},
	} {
		k := &knocker{url: base + act.path, body: act.body, client: &http.Client{Timeout: 30 * time.Second}}
		if err := k.run(ctx, pairs); err != nil {
			return fmt.Errorf("%s: %w", act.name, err)
		}
		for _, who := range []string{known, unknown} {
			took := k.took[who]
			slices.Sort(took)
			var sum time.Duration
			for _, d := range took {
				sum += d
			}
			fmt.Printf("| %s, %s | %d | %s | %s | %s |\n", act.name, who, k.status, fine(took[len(took)/2]), fine(took[len(took)*95/100]), fine(sum/time.Duration(len(took))))
		}
	}
	return nil
}

func fine(d time.Duration) time.Duration { return d.Round(time.Microsecond) }

const (
	known   = "known"
	unknown = "unknown"
)

// people puts members with passwords into the database, one for each attempt: so none
// is held back.
func people(ctx context.Context, databaseURL string, n int) error {
	phc, err := password.NewHasher(password.Standard(), 1).Hash(ctx, "eleven purple herons")
	if err != nil {
		return fmt.Errorf("hash password: %w", err)
	}
	db, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	ids, emails := make([]string, n), make([]string, n)
	for i := range n {
		ids[i], emails[i] = id.New(id.User), address(known, i)
	}
	_, err = db.Exec(ctx, `
		WITH n AS (SELECT * FROM unnest($1::text[], $2::text[]) n(user_id, email)),
		u AS (INSERT INTO accounts.users (user_id, email, created_at) SELECT user_id, email, now() FROM n RETURNING user_id),
		m AS (INSERT INTO accounts.members (org_id, user_id, role, created_at)
		  SELECT (SELECT org_id FROM accounts.organizations ORDER BY created_at LIMIT 1), user_id, 'developer', now() FROM u)
		INSERT INTO accounts.passwords (user_id, phc, changed_at) SELECT user_id, $3, now() FROM u`, ids, emails, phc)
	if err != nil {
		return fmt.Errorf("add people: %w", err)
	}
	return nil
}

func address(who string, i int) string { return fmt.Sprintf("%s%05d@example.com", who, i) }

// knocker does one thing over and over, and keeps how long it took.
type knocker struct {
	url, body string
	client    *http.Client
	status    int
	took      map[string][]time.Duration
}

var errAnswers = errors.New("known and unknown addresses are answered differently")

func (k *knocker) run(ctx context.Context, pairs int) error {
	k.took = map[string][]time.Duration{}
	const warm = 10
	for i := range pairs {
		pair := []string{known, unknown}
		if i%2 == 1 { // neither is always the first
			slices.Reverse(pair)
		}
		for _, who := range pair {
			status, d, err := k.knock(ctx, address(who, i), i)
			switch {
			case err != nil:
				return err
			case k.status != 0 && k.status != status:
				return fmt.Errorf("%w: %d and %d", errAnswers, k.status, status)
			}
			k.status = status
			if i >= warm {
				k.took[who] = append(k.took[who], d)
			}
		}
	}
	return nil
}

// knock comes from a network of its own, so that none runs out.
func (k *knocker) knock(ctx context.Context, email string, i int) (status int, took time.Duration, err error) {
	body, err := json.Marshal(email)
	if err != nil {
		return 0, 0, fmt.Errorf("encode address: %w", err)
	}
	text := bytes.Replace([]byte(k.body), []byte("%q"), body, 1)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, k.url, bytes.NewReader(text))
	if err != nil {
		return 0, 0, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Forwarded-For", fmt.Sprintf("10.1.%d.%d", i/250, i%250))
	start := time.Now()
	resp, err := k.client.Do(req)
	if err != nil {
		return 0, 0, fmt.Errorf("send request: %w", err)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	took = time.Since(start)
	return resp.StatusCode, took, errors.Join(err, resp.Body.Close())
}
