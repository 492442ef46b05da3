package open

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/egress"
	"github.com/aiaas/aiaas/shared/function"
)

// Settings are all settings of the platform, read once from the environment.
type Settings struct {
	Addr           string        `env:"AIAAS_ADDR" envDefault:"127.0.0.1:8080" doc:"address that serve listens on"`
	DataDir        string        `env:"AIAAS_DATA_DIR" envDefault:".aiaas" doc:"folder for the embedded database, credentials.json and local files"`
	DatabaseURL    string        `env:"DATABASE_URL" doc:"PostgreSQL; without it, serve starts one of its own in the data folder"`
	RouterURL      string        `env:"ROUTER_DATABASE_URL" doc:"PostgreSQL of the service router, where it is not DATABASE_URL"`
	AccountsURL    string        `env:"ACCOUNTS_DATABASE_URL" doc:"PostgreSQL of the service accounts, where it is not DATABASE_URL"`
	AnalyticsURL   string        `env:"ANALYTICS_DATABASE_URL" doc:"PostgreSQL of the service analytics, where it is not DATABASE_URL"`
	DatabaseConns  int32         `env:"AIAAS_DATABASE_CONNS" envDefault:"8" doc:"most connections of one pool; each process has up to one pool a role"`
	Backends       string        `env:"AIAAS_BACKENDS" doc:"YAML file of models and backends to add at the start"`
	SecretKey      string        `env:"AIAAS_SECRET_KEY" doc:"32 bytes in base64 that encrypt what must be read again, such as backends' credentials and the secrets of authenticator apps; without it, a key file in the data folder"`
	OpenAIKey      string        `env:"OPENAI_API_KEY" doc:"key of OpenAI: with it, the first start adds OpenAI's models, which are called with it"`
	MaxBody        int64         `env:"AIAAS_MAX_BODY_BYTES" envDefault:"65536" doc:"largest request body, in bytes"`
	UpstreamIdle   time.Duration `env:"AIAAS_UPSTREAM_IDLE_TIMEOUT" envDefault:"2m" doc:"longest silence of a backend, before its first byte and between two"`
	Grace          time.Duration `env:"AIAAS_SHUTDOWN_GRACE" envDefault:"30s" doc:"how long the process may take to end after SIGTERM; running requests are cut a third, at most 5s, before"`
	DrainDelay     time.Duration `env:"AIAAS_DRAIN_DELAY" envDefault:"1s" doc:"after SIGTERM, how long new connections are still served while /readyz says no; counts towards the grace, at most half of it"`
	TrustedProxies string        `env:"AIAAS_TRUSTED_PROXIES" doc:"networks of proxies whose X-Forwarded-For is believed, separated by commas; also decides by which address attempts to sign in are slowed down: behind a proxy that is not named, all people share one"`
	// Networks that are not of the public Internet, and that may be connected to all the same.
	BackendNetworks string        `env:"AIAAS_BACKEND_NETWORKS" doc:"private networks in which backends may be, as in 10.0.0.0/8, separated by commas; serve on a loopback address allows loopback besides"`
	WebhookNetworks string        `env:"AIAAS_WEBHOOK_NETWORKS" doc:"private networks in which webhooks may be, also without TLS, separated by commas; 127.0.0.0/8 to try them on this machine"`
	SSONetworks     string        `env:"AIAAS_SSO_NETWORKS" doc:"private networks in which issuers of single sign-on may be, also without TLS, separated by commas"`
	DNSServer       string        `env:"AIAAS_DNS_SERVER" doc:"name server that is asked whether a domain is an organization's, as in 9.9.9.9:53; without it, the system's"`
	BlobURL         string        `env:"BLOB_URL" doc:"where files are kept apart from the database, such as signed heads of the audit: file:///folder or s3://bucket/prefix; without it, the folder files in the data folder"`
	AuditKey        string        `env:"AIAAS_AUDIT_KEY" doc:"32 bytes in base64, the seed of the Ed25519 key that signs the audit; without it, a key file in the data folder"`
	AuditOldKeys    string        `env:"AIAAS_AUDIT_OLD_KEYS" doc:"public keys in base64 that signed the audit before, separated by commas"`
	AuditRetention  time.Duration `env:"AIAAS_AUDIT_RETENTION" envDefault:"17520h" doc:"how long audit records are kept, at least a year (8760h)"`
	MailURL         string        `env:"MAIL_URL" doc:"how mails leave: smtp://user:password@host:587?from=AIaaS%20<no-reply@example.com> (STARTTLS), smtps://… (TLS), file:///folder; without it, files in the folder mail of the data folder, and on hosts whose disk does not last, mails wait"`
	PublicURL       string        `env:"AIAAS_PUBLIC_URL" doc:"address under which people reach the platform, for links in mails and for passkeys, which are good for its domain only; without it, http:// and AIAAS_ADDR"`
	RedisURL        string        `env:"REDIS_URL" doc:"not supported yet: limits are kept in memory, one serving process a database"`
	QueueURL        string        `env:"QUEUE_URL" doc:"not supported yet: events are queued in the database"`
}

// Setting describes one setting, for help.
type Setting struct{ Name, Default, Doc string }

// Describe lists all settings, as they stand in the code.
func Describe() []Setting {
	t := reflect.TypeFor[Settings]()
	out := make([]Setting, 0, t.NumField())
	for f := range t.Fields() {
		out = append(out, Setting{Name: f.Tag.Get("env"), Default: f.Tag.Get("envDefault"), Doc: f.Tag.Get("doc")})
	}
	return out
}

// Load returns the settings of a process, read on first use.
func Load(ctx context.Context, e *function.Env) (Settings, error) {
	return function.Shared(ctx, e, "settings", func(context.Context) (Settings, function.Closer, error) {
		s, err := parseSettings(e.Getenv)
		return s, nil, err
	})
}

// Reload reads the settings anew, for a process that has changed one of them, such
// as the address of a database that it has started itself.
func Reload(e *function.Env) error {
	function.Forget(e, "settings")
	_, err := parseSettings(e.Getenv)
	return err
}

func parseSettings(getenv func(string) string) (Settings, error) {
	values := map[string]string{}
	for _, d := range Describe() {
		if v := getenv(d.Name); v != "" {
			values[d.Name] = v
		}
	}
	s, err := env.ParseAsWithOptions[Settings](env.Options{Environment: values})
	if err != nil {
		return s, fmt.Errorf("read settings: %w", named(err))
	}
	return s, s.check()
}

// named says of the first value that can't be read which setting has it, as people
// know it.
func named(err error) error {
	wrong, ok := errors.AsType[env.ParseError](err)
	if !ok {
		return err
	}
	name := wrong.Name
	if f, ok := reflect.TypeFor[Settings]().FieldByName(wrong.Name); ok {
		name = f.Tag.Get("env")
	}
	return fmt.Errorf("%s: %w", name, wrong.Err)
}

func (s Settings) check() error {
	switch {
	case s.RedisURL != "":
		return errors.New("REDIS_URL is set, but this version keeps limits in memory: unset it, and run one serving process")
	case s.QueueURL != "":
		return errors.New("QUEUE_URL is set, but this version queues in its database only: unset it")
	case s.MaxBody < 1024 || s.MaxBody > 64<<20:
		return errors.New("AIAAS_MAX_BODY_BYTES must be between 1024 and 67108864")
	case s.DatabaseConns < 2:
		return errors.New("AIAAS_DATABASE_CONNS must be at least 2")
	case s.Grace < 0 || s.DrainDelay < 0:
		return errors.New("AIAAS_SHUTDOWN_GRACE and AIAAS_DRAIN_DELAY can't be negative")
	case s.UpstreamIdle < time.Second:
		return errors.New("AIAAS_UPSTREAM_IDLE_TIMEOUT must be at least 1s")
	case s.AuditRetention < audit.MinRetention:
		return errors.New("AIAAS_AUDIT_RETENTION must be at least a year: 8760h")
	}
	for name, text := range map[string]string{
		"AIAAS_BACKEND_NETWORKS": s.BackendNetworks, "AIAAS_WEBHOOK_NETWORKS": s.WebhookNetworks, "AIAAS_SSO_NETWORKS": s.SSONetworks,
	} {
		if _, err := egress.ParseNetworks(text); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if _, err := netip.ParseAddrPort(s.DNSServer); s.DNSServer != "" && err != nil {
		return errors.New("AIAAS_DNS_SERVER must be an address and a port, as in 9.9.9.9:53")
	}
	return nil
}

// URL is the database of a service.
func (s Settings) URL(service function.Service) (string, error) {
	own := map[function.Service]string{
		function.Router: s.RouterURL, function.Accounts: s.AccountsURL, function.Analytics: s.AnalyticsURL,
	}[service]
	if own == "" {
		own = s.DatabaseURL
	}
	if own == "" {
		return "", errors.New("DATABASE_URL is not set")
	}
	return own, nil
}

// Public is the address under which people reach the platform.
func (s Settings) Public() string {
	if s.PublicURL != "" {
		return s.PublicURL
	}
	host, port, err := net.SplitHostPort(s.Addr)
	if ip := net.ParseIP(host); err == nil && (host == "" || (ip != nil && ip.IsUnspecified())) {
		return "http://" + net.JoinHostPort("127.0.0.1", port)
	}
	return "http://" + s.Addr
}
