package open_test

import (
	"testing"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/shared/function"
)

// Loopback is open to backends, which the platform's administrator names, where the
// process listens there itself; and to webhooks, which tenants name, only where it is
// listed.
func TestWhereLoopbackIsOpen(t *testing.T) {
	for _, c := range []struct {
		name             string
		settings         map[string]string
		vanishing        bool // the host may vanish with its disk
		backend, webhook bool
	}{
		{"a laptop", nil, false, true, false},
		{"by name", map[string]string{"AIAAS_ADDR": "localhost:80"}, false, true, false},
		{"on every interface", map[string]string{"AIAAS_ADDR": "0.0.0.0:8080"}, false, false, false},
		{"behind a proxy", map[string]string{"AIAAS_TRUSTED_PROXIES": "127.0.0.1"}, false, true, false},
		{"a function that may vanish", nil, true, false, false},
		{"backends listed", map[string]string{"AIAAS_ADDR": "0.0.0.0:80", "AIAAS_BACKEND_NETWORKS": "127.0.0.0/8"}, false, true, false},
		{"webhooks listed", map[string]string{"AIAAS_ADDR": "0.0.0.0:80", "AIAAS_WEBHOOK_NETWORKS": "127.0.0.0/8"}, false, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := &function.Env{Getenv: func(n string) string { return c.settings[n] }, LocalDisk: !c.vanishing}
			backends, err := open.BackendRules(t.Context(), e)
			if err != nil {
				t.Fatal(err)
			}
			webhooks, err := open.WebhookRules(t.Context(), e)
			if err != nil {
				t.Fatal(err)
			}
			if got := backends.CheckHost("127.0.0.1") == nil; got != c.backend {
				t.Errorf("backends on loopback: %v; want %v", got, c.backend)
			}
			if got := webhooks.CheckHost("127.0.0.1") == nil; got != c.webhook {
				t.Errorf("webhooks on loopback: %v; want %v", got, c.webhook)
			}
		})
	}
}
