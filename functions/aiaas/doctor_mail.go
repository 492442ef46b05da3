package main

import (
	"context"
	"path/filepath"
	"time"

	"github.com/aiaas/aiaas/adapters/mail"
	"github.com/aiaas/aiaas/shared/mail/layout"
)

// checkMail tries the way that mails take, as far as signing in; nothing is sent.
func (e *exam) checkMail(ctx context.Context) {
	const check = "mail"
	if _, err := layout.New(e.settings.Public()); err != nil {
		e.fail(check, "set AIAAS_PUBLIC_URL to the address under which people reach the platform", "links in mails: %v", err)
		return
	}
	m, err := mail.Open(mail.Config{URL: e.settings.MailURL, Folder: filepath.Join(absolute(e.settings.DataDir), "mail"), Now: time.Now})
	if err != nil {
		e.fail(check, "correct MAIL_URL; see aiaas help settings", "%v", err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*e.timeout)
	defer cancel()
	switch err := m.Check(ctx); {
	case err != nil && e.settings.MailURL == "":
		e.warn(check, "aiaas serve makes the data folder; or set MAIL_URL", "%s: %v", m, err)
	case err != nil:
		e.fail(check, "correct MAIL_URL, or start the mail server", "%s: %v", m, err)
	default:
		e.ok(check, "%s", m)
	}
}
