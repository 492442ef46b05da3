package open

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/aiaas/aiaas/adapters/demo"
	"github.com/aiaas/aiaas/adapters/egress"
	"github.com/aiaas/aiaas/adapters/openai"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/accesslog"
	"github.com/aiaas/aiaas/shared/admission"
	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/idempotency"
	"github.com/aiaas/aiaas/shared/model"
	"github.com/aiaas/aiaas/shared/usage"
)

// DataPlanePorts is all that the data plane works with.
type DataPlanePorts struct {
	Resolver  *apikey.Resolver
	Uses      *apikey.Uses
	Catalogue *model.Catalogue
	Limiter   admission.Limiter
	Admission *admission.Service
	Inbox     *postgres.Inbox
	Recorder  *usage.Recorder
	Upstream  *openai.Client
	Once      *idempotency.Service
	Access    *accesslog.Writer
}

// DataPlane opens what the data plane works with.
func DataPlane(ctx context.Context, e *function.Env) (p DataPlanePorts, err error) {
	if p.Resolver, err = Resolver(ctx, e); err != nil {
		return p, err
	}
	if p.Uses, err = Uses(ctx, e); err != nil {
		return p, err
	}
	if p.Catalogue, err = Catalogue(ctx, e); err != nil {
		return p, err
	}
	if p.Limiter, err = Limiter(ctx, e); err != nil {
		return p, err
	}
	if p.Upstream, err = Upstream(ctx, e); err != nil {
		return p, err
	}
	if p.Admission, err = Admission(ctx, e); err != nil {
		return p, err
	}
	if p.Inbox, err = Inbox(ctx, e); err != nil {
		return p, err
	}
	if p.Once, err = Idempotency(ctx, e); err != nil {
		return p, err
	}
	if p.Access, err = AccessLog(ctx, e); err != nil {
		return p, err
	}
	p.Recorder, err = Recorder(ctx, e)
	return p, err
}

// DemoBaseURL is the address of the built-in model. The name exists nowhere: the
// client of backends connects it to the demo server of its own process.
const DemoBaseURL = "http://demo.aiaas.internal/v1"

const demoAddress = "demo.aiaas.internal:80"

// Upstream calls backends. The built-in model is started when it is first called.
func Upstream(ctx context.Context, e *function.Env) (*openai.Client, error) {
	box, err := Secrets(ctx, e)
	if err != nil {
		return nil, err
	}
	rules, err := BackendRules(ctx, e)
	if err != nil {
		return nil, err
	}
	return function.Shared(ctx, e, "upstream", func(context.Context) (*openai.Client, function.Closer, error) {
		d := &builtin{env: e}
		guarded := egress.Dialer(rules, nil)
		c := openai.New(box, func(ctx context.Context, network, address string) (net.Conn, error) {
			if conn, err := d.dial(ctx, address); conn != nil || err != nil {
				return conn, err
			}
			return guarded.DialContext(ctx, network, address)
		})
		return c, func(ctx context.Context) error { c.Close(); return d.close(ctx) }, nil
	})
}

// builtin is the demo model of this process, on a loopback port of its own.
type builtin struct {
	env    *function.Env
	mu     sync.Mutex
	server *demo.Server
	addr   string
}

func (b *builtin) dial(ctx context.Context, address string) (net.Conn, error) {
	if address != demoAddress {
		return nil, nil //nolint:nilnil // not ours: the caller dials it
	}
	addr, err := b.start(ctx)
	if err != nil {
		return nil, fmt.Errorf("start demo model: %w", err)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("dial demo model: %w", err)
	}
	return conn, nil
}

func (b *builtin) start(ctx context.Context) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.server != nil {
		return b.addr, nil
	}
	s := demo.New(demo.Config{Now: b.env.Now, Log: b.env.Log})
	base, err := s.Start(context.WithoutCancel(ctx), "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	host, err := model.Host(base)
	if err != nil {
		return "", err
	}
	b.server, b.addr = s, host
	return host, nil
}

func (b *builtin) close(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.server == nil {
		return nil
	}
	return b.server.Close(ctx)
}
