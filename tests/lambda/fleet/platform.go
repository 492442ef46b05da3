package fleet

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/adapters/secrets"
	"github.com/aiaas/aiaas/shared/apikey"
)

// Environment is what every process of a platform is given, as a deployment
// gives it. The folder for local files is each sandbox's own on AWS; here they
// share one, as nothing is written there but in bad times.
func Environment(databaseURL, dataDir string) []string {
	key := bytes.Repeat([]byte{7}, secrets.KeySize)
	return []string{
		"DATABASE_URL=" + databaseURL, "AIAAS_DATA_DIR=" + dataDir,
		"AIAAS_SECRET_KEY=" + base64.StdEncoding.EncodeToString(key),
		"AIAAS_AUDIT_KEY=" + base64.StdEncoding.EncodeToString(key), "BLOB_URL=file://" + dataDir + "/files",
		"MAIL_URL=file://" + dataDir + "/mail",
		"AIAAS_BACKEND_NETWORKS=127.0.0.0/8", "AIAAS_WEBHOOK_NETWORKS=127.0.0.0/8", "AIAAS_SSO_NETWORKS=127.0.0.0/8", // the tests' own servers
	}
}

// Found creates the first organisations in a migrated database.
func Found(ctx context.Context, databaseURL string, now time.Time) (apikey.Credentials, error) {
	db, err := postgres.Open(ctx, databaseURL, postgres.RoleTenants, 2)
	if err != nil {
		return apikey.Credentials{}, err
	}
	defer db.Close()
	founding, credentials := apikey.Found(now)
	done, err := postgres.NewKeys(db).Found(ctx, founding, func() error { return nil })
	if err == nil && !done {
		err = errors.New("somebody did before")
	}
	if err != nil {
		return apikey.Credentials{}, fmt.Errorf("found the platform: %w", err)
	}
	return credentials, nil
}

// AddModel adds a model with one backend and a price of 1 and 4 USD per million
// tokens, through the gateway.
func (f *Fleet) AddModel(ctx context.Context, platformKey apikey.Secret, id, backendURL string) error {
	for _, step := range []struct {
		path string
		body map[string]any
	}{
		{"/v1/models", map[string]any{"id": id}},
		{"/v1/models/" + id + "/backends", map[string]any{"protocol": "openai", "base_url": backendURL, "upstream_model": "demo"}},
		{"/v1/price-books/default/prices", map[string]any{"model": id, "input_usd_per_million": "1.00", "output_usd_per_million": "4.00"}},
	} {
		if err := f.create(ctx, platformKey, step.path, step.body); err != nil {
			return fmt.Errorf("add model %s: %w", id, err)
		}
	}
	return nil
}

func (f *Fleet) create(ctx context.Context, key apikey.Secret, path string, body map[string]any) error {
	encoded, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode body: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.URL+path, bytes.NewReader(encoded))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+key.Reveal())
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("post %s: %w", path, err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusCreated {
		return errors.Join(fmt.Errorf("post %s: status %d: %s", path, resp.StatusCode, answer), err)
	}
	return nil
}
