// Package open chooses adapters by the process's settings and opens each once.
//
// It is the only adapter package that knows the others. What it opens is kept in
// the process's function.Env: functions that share a process share pools,
// limiter and recorder.
package open

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/aiaas/aiaas/adapters/memory"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/adapters/secrets"
	"github.com/aiaas/aiaas/adapters/spool"
	"github.com/aiaas/aiaas/shared/accesslog"
	"github.com/aiaas/aiaas/shared/admission"
	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/idempotency"
	"github.com/aiaas/aiaas/shared/model"
	"github.com/aiaas/aiaas/shared/usage"
)

// DB is the pool of a service's database under a role.
func DB(ctx context.Context, e *function.Env, service function.Service, role postgres.Role) (*postgres.DB, error) {
	s, err := Load(ctx, e)
	if err != nil {
		return nil, err
	}
	url, err := s.URL(service)
	if err != nil {
		return nil, err
	}
	// Services that share a database share its pools. The key names the first of
	// them, for the address may hold a password and a key ends up in errors.
	owner := service
	for _, other := range []function.Service{function.Router, function.Accounts, function.Analytics} {
		if u, err := s.URL(other); err == nil && u == url {
			owner = other
			break
		}
	}
	return function.Shared(ctx, e, "database of "+string(owner)+" as "+string(role), func(ctx context.Context) (*postgres.DB, function.Closer, error) {
		db, err := postgres.Open(ctx, url, role, s.DatabaseConns)
		if err != nil {
			return nil, nil, err
		}
		return db, func(context.Context) error { db.Close(); return nil }, nil
	})
}

// Limiter is the process's limiter.
func Limiter(ctx context.Context, e *function.Env) (admission.Limiter, error) {
	return inMemory(ctx, e)
}

func inMemory(ctx context.Context, e *function.Env) (*memory.Limiter, error) {
	return function.Shared(ctx, e, "limiter", func(context.Context) (*memory.Limiter, function.Closer, error) {
		return memory.NewLimiter(), nil, nil
	})
}

// Resolver tells on every request whose key it is.
func Resolver(ctx context.Context, e *function.Env) (*apikey.Resolver, error) {
	limiter, err := Limiter(ctx, e)
	if err != nil {
		return nil, err
	}
	db, err := DB(ctx, e, function.Accounts, postgres.RoleGateway)
	if err != nil {
		return nil, err
	}
	if _, err := Changes(ctx, e); err != nil { // it hears of them
		return nil, err
	}
	return function.Shared(ctx, e, "resolver", func(context.Context) (*apikey.Resolver, function.Closer, error) {
		return apikey.NewResolver(postgres.NewKeys(db), limiter, e.Now), nil, nil
	})
}

// Catalogue is the data plane's view of models and prices.
func Catalogue(ctx context.Context, e *function.Env) (*model.Catalogue, error) {
	limiter, err := Limiter(ctx, e)
	if err != nil {
		return nil, err
	}
	db, err := DB(ctx, e, function.Router, postgres.RoleGateway)
	if err != nil {
		return nil, err
	}
	return function.Shared(ctx, e, "catalogue", func(context.Context) (*model.Catalogue, function.Closer, error) {
		return model.NewCatalogue(postgres.NewCatalogue(db), limiter, e.Now), nil, nil
	})
}

// Secrets seals and opens backends' credentials.
func Secrets(ctx context.Context, e *function.Env) (*secrets.Box, error) {
	s, err := Load(ctx, e)
	if err != nil {
		return nil, err
	}
	return function.Shared(ctx, e, "secrets", func(context.Context) (*secrets.Box, function.Closer, error) {
		key, err := secretKey(s)
		if err != nil {
			return nil, nil, err
		}
		box, err := secrets.New(key, e.Getenv)
		return box, nil, err
	})
}

func secretKey(s Settings) ([]byte, error) {
	if s.SecretKey != "" {
		return secrets.DecodeKey(s.SecretKey)
	}
	return secrets.KeyFile(filepath.Join(s.DataDir, "secret.key"))
}

// Sealer seals credentials that are to be stored.
func Sealer(ctx context.Context, e *function.Env) (model.Sealer, error) { return Secrets(ctx, e) }

// Consumer books events into the ledger.
func Consumer(ctx context.Context, e *function.Env) (*usage.Consumer, error) {
	limiter, err := Limiter(ctx, e)
	if err != nil {
		return nil, err
	}
	ledger, err := Ledger(ctx, e)
	if err != nil {
		return nil, err
	}
	return function.Shared(ctx, e, "consumer", func(context.Context) (*usage.Consumer, function.Closer, error) {
		return &usage.Consumer{Ledger: ledger, Limiter: limiter, Log: e.Log, Fatal: e.Fatal}, nil, nil
	})
}

// Ledger is the ledger, under the role that spans organisations. It is one for the
// process: where that takes over, it books in its epoch.
func Ledger(ctx context.Context, e *function.Env) (*postgres.Ledger, error) {
	db, err := DB(ctx, e, function.Analytics, postgres.RoleMetering)
	if err != nil {
		return nil, err
	}
	return function.Shared(ctx, e, "ledger", func(context.Context) (*postgres.Ledger, function.Closer, error) {
		return postgres.NewLedger(db), nil, nil
	})
}

// spoolEvery is how often a spool is looked at: it is empty but in bad times.
const spoolEvery = time.Second

// gate is what admits and records in this process: it belongs to one epoch.
type gate struct {
	epoch int64
	inbox *postgres.Inbox
	spool *spool.File // nil on hosts whose disk may vanish with them
}

func (g *gate) sinks() []usage.Sink {
	if g.spool == nil {
		return []usage.Sink{g.inbox}
	}
	return []usage.Sink{g.inbox, g.spool}
}

func (g *gate) close(context.Context) error {
	if g.spool == nil {
		return nil
	}
	return g.spool.Close()
}

// takeOver begins the epoch of this process. With limits in memory it fences
// whatever process served before, books what that one left behind, and takes back
// what was granted to it and not spent. Until then nothing is admitted.
func takeOver(ctx context.Context, e *function.Env) (*gate, error) {
	s, err := Load(ctx, e)
	if err != nil {
		return nil, err
	}
	consumer, err := Consumer(ctx, e)
	if err != nil {
		return nil, err
	}
	ledger, err := Ledger(ctx, e)
	if err != nil {
		return nil, err
	}
	db, err := DB(ctx, e, function.Analytics, postgres.RoleGateway)
	if err != nil {
		return nil, err
	}
	return function.Shared(ctx, e, "gate", func(ctx context.Context) (*gate, function.Closer, error) {
		epoch, err := ledger.TakeOver(ctx)
		if err != nil {
			return nil, nil, fmt.Errorf("take over: %w", err)
		}
		g := &gate{epoch: epoch, inbox: postgres.NewInbox(db, &epoch)}
		if e.LocalDisk {
			g.spool = spool.Open(filepath.Join(s.DataDir, "usage.spool"))
		}
		if _, err := drainOnce(ctx, g); err != nil {
			return nil, nil, err
		}
		if err := drainAll(ctx, consumer); err != nil {
			return nil, nil, err
		}
		if err := ledger.Reclaim(ctx, epoch); err != nil {
			return nil, nil, err
		}
		e.Log.InfoContext(ctx, "took over", "epoch", epoch)
		return g, g.close, nil
	})
}

// drainAll books until nothing waits: a process that is being fenced may have
// recorded until a moment ago.
func drainAll(ctx context.Context, consumer *usage.Consumer) error {
	for {
		n, err := consumer.Drain(ctx)
		if err != nil || n == 0 {
			return err
		}
	}
}

// Admission admits requests against limits and budgets.
func Admission(ctx context.Context, e *function.Env) (*admission.Service, error) {
	g, err := takeOver(ctx, e)
	if err != nil {
		return nil, err
	}
	limiter, err := inMemory(ctx, e)
	if err != nil {
		return nil, err
	}
	return function.Shared(ctx, e, "admission", func(ctx context.Context) (*admission.Service, function.Closer, error) {
		s := admission.NewService(limiter, &reconciler{inbox: g.inbox, limiter: limiter})
		denials := admission.NewDenials(ctx, g.inbox, e.Log)
		s.Tell(denials)
		return s, denials.Close, nil
	})
}

// Inbox is the process's way to the ledger: it records and grants.
func Inbox(ctx context.Context, e *function.Env) (*postgres.Inbox, error) {
	g, err := takeOver(ctx, e)
	if err != nil {
		return nil, err
	}
	return g.inbox, nil
}

// Journal writes the data plane's access log and its idempotency claims.
func Journal(ctx context.Context, e *function.Env) (*postgres.Journal, error) {
	db, err := DB(ctx, e, function.Router, postgres.RoleGateway)
	if err != nil {
		return nil, err
	}
	return postgres.NewJournal(db), nil
}

// AccessLog takes lines about requests that leave no usage.
func AccessLog(ctx context.Context, e *function.Env) (*accesslog.Writer, error) {
	j, err := Journal(ctx, e)
	if err != nil {
		return nil, err
	}
	denials, err := dataPlaneDenials(ctx, e)
	if err != nil {
		return nil, err
	}
	return function.Shared(ctx, e, "access log", func(ctx context.Context) (*accesslog.Writer, function.Closer, error) {
		w := accesslog.NewWriter(ctx, j, e.Log)
		w.Denials = denials
		return w, w.Close, nil
	})
}

// Idempotency makes requests with an idempotency key happen once.
func Idempotency(ctx context.Context, e *function.Env) (*idempotency.Service, error) {
	g, err := takeOver(ctx, e)
	if err != nil {
		return nil, err
	}
	j, err := Journal(ctx, e)
	if err != nil {
		return nil, err
	}
	return function.Shared(ctx, e, "idempotency", func(context.Context) (*idempotency.Service, function.Closer, error) {
		return &idempotency.Service{Store: j, Events: g.inbox, Epoch: g.epoch, Now: e.Now}, nil, nil
	})
}

// Recorder makes usage events durable: in the inbox, and while the database can't
// be reached, in the spool.
func Recorder(ctx context.Context, e *function.Env) (*usage.Recorder, error) {
	g, err := takeOver(ctx, e)
	if err != nil {
		return nil, err
	}
	return function.Shared(ctx, e, "recorder", func(ctx context.Context) (*usage.Recorder, function.Closer, error) {
		r := usage.NewRecorder(usage.RecorderConfig{Sinks: g.sinks(), Log: e.Log, Fatal: e.Fatal})
		if g.spool == nil {
			return r, r.Close, nil
		}
		// It ends with the process, not with the request that opened it.
		drainCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		done := make(chan struct{})
		go func() { defer close(done); drainSpool(drainCtx, e, g) }()
		return r, func(ctx context.Context) error {
			err := r.Close(ctx)
			cancel()
			<-done
			return err
		}, nil
	})
}

func drainSpool(ctx context.Context, e *function.Env, g *gate) {
	tick := time.NewTicker(spoolEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		n, err := drainOnce(ctx, g)
		switch {
		case errors.Is(err, usage.ErrFenced):
			e.Fatal(err)
		case err != nil && ctx.Err() == nil:
			e.Log.ErrorContext(ctx, "drain spool", "error", err)
		case n > 0:
			e.Log.InfoContext(ctx, "drained spool", "events", n)
		}
	}
}

// drainTimeout bounds one hand-over: a database that is silent must not keep the
// connection, nor the end of the process, waiting.
const drainTimeout = 10 * time.Second

func drainOnce(ctx context.Context, g *gate) (int, error) {
	if g.spool == nil {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	return g.spool.Drain(ctx, g.inbox)
}

// pingTimeout is how long a database may take to answer that it is there.
const pingTimeout = 2 * time.Second

// Ready tells whether the process can serve: its databases answer, and what it
// serves can be recorded.
func Ready(ctx context.Context, e *function.Env) (func(context.Context) error, error) {
	var dbs []*postgres.DB
	for _, service := range []function.Service{function.Accounts, function.Router, function.Analytics} {
		db, err := DB(ctx, e, service, postgres.RoleGateway)
		if err != nil {
			return nil, err
		}
		dbs = append(dbs, db)
	}
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, pingTimeout)
		defer cancel()
		if err := e.Check(ctx); err != nil {
			return err
		}
		seen := map[*postgres.DB]bool{}
		for _, db := range dbs {
			if seen[db] {
				continue
			}
			seen[db] = true
			if err := db.Ping(ctx); err != nil {
				return err
			}
		}
		return nil
	}, nil
}
