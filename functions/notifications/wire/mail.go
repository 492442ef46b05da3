package wire

import (
	"context"
	"fmt"
	"path/filepath"

	mailadapter "github.com/aiaas/aiaas/adapters/mail"
	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/mail"
	"github.com/aiaas/aiaas/shared/mail/layout"
)

// mails are the function's parts about mail.
type mails struct {
	service   *mail.Service
	courier   *mail.Courier
	reminders *mail.Reminders
}

func wireMails(ctx context.Context, env *function.Env) (*mails, error) {
	s, err := open.Load(ctx, env)
	if err != nil {
		return nil, err
	}
	accounts, err := open.DB(ctx, env, function.Accounts, postgres.RoleAccounts)
	if err != nil {
		return nil, err
	}
	mailer, err := open.DB(ctx, env, function.Accounts, postgres.RoleMailer)
	if err != nil {
		return nil, err
	}
	renderer, err := layout.New(s.Public())
	if err != nil {
		return nil, fmt.Errorf("read AIAAS_PUBLIC_URL: %w", err)
	}
	vault, err := open.Secrets(ctx, env)
	if err != nil {
		return nil, err
	}
	renderer = renderer.Opening(vault)
	queue := postgres.NewMails(mailer)
	m := &mails{
		service:   &mail.Service{Store: postgres.NewMails(accounts), Now: env.Now},
		courier:   &mail.Courier{Queue: queue, Renderer: renderer, Now: env.Now, Log: env.Log},
		reminders: &mail.Reminders{Store: queue, Now: env.Now},
	}
	c := mailadapter.Config{URL: s.MailURL, Now: env.Now, Say: env.Say}
	if env.LocalDisk {
		c.Folder = filepath.Join(s.DataDir, "mail")
	}
	if !c.Configured() {
		return m, nil // mails wait for MAIL_URL
	}
	m.courier.Sender, err = mailadapter.Open(c)
	return m, err
}
