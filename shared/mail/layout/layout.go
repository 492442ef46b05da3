// Package layout writes mails: it turns what a queued mail tells into a message in
// text and in HTML, by the one form that all mails share.
//
// It stands beside package mail, whose words it uses, because not every program that
// queues mails also writes them, and templates cost size and start.
package layout

import (
	"bytes"
	_ "embed" // the two templates
	"errors"
	"fmt"
	htmltemplate "html/template"
	"net/url"
	"strings"
	texttemplate "text/template"

	"github.com/aiaas/aiaas/shared/mail"
)

//go:embed layout.html
var layoutHTML string

//go:embed layout.txt
var layoutText string

// Renderer writes mails whose links lead to one platform. It is a [mail.Renderer].
type Renderer struct {
	base string // without a slash at its end
	html *htmltemplate.Template
	text *texttemplate.Template
	open mail.Opener // nil: mails with secrets can't be written
}

// Opening returns a renderer that also writes mails whose links have a secret.
func (r *Renderer) Opening(o mail.Opener) *Renderer {
	with := *r
	with.open = o
	return &with
}

// ErrPublicURL is why an address can't be that of the platform.
var ErrPublicURL = errors.New("it must be an http or https address without user, query or fragment")

// New makes a renderer whose links lead to the platform's public address.
func New(publicURL string) (*Renderer, error) {
	u, err := url.Parse(publicURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("read the public address: %w", ErrPublicURL)
	}
	html, err := htmltemplate.New("layout.html").Funcs(htmltemplate.FuncMap{"segments": mail.Segments, "plain": mail.Plain}).Parse(layoutHTML)
	if err != nil {
		return nil, fmt.Errorf("parse template: %w", err)
	}
	text, err := texttemplate.New("layout.txt").Funcs(texttemplate.FuncMap{"plain": mail.Plain}).Parse(layoutText)
	if err != nil {
		return nil, fmt.Errorf("parse template: %w", err)
	}
	return &Renderer{base: strings.TrimRight(u.String(), "/"), html: html, text: text}, nil
}

// view is what the templates see.
type view struct {
	mail.Page
	Title string
	Link  string
	Org   string
	Why   string
}

// errSecret is why a link can't be written: its secret is not there, or not to be
// opened here.
var errSecret = errors.New("the secret of its link can't be read")

// link is where the mail leads to; "" where it leads nowhere.
func (r *Renderer) link(mailID string, l mail.Letter, a mail.Action) (string, error) {
	switch {
	case a.Label == "":
		return "", nil
	case !a.Sealed:
		return r.base + a.Path, nil
	case r.open == nil || l.Sealed == "":
		return "", errSecret
	}
	secret, err := r.open.Open(l.Sealed, mail.Bound(mailID))
	if err != nil {
		return "", fmt.Errorf("%w: %w", errSecret, err)
	}
	return r.base + a.Path + "#token=" + url.QueryEscape(secret), nil
}

// Render implements [mail.Renderer].
func (r *Renderer) Render(q mail.Queued) (mail.Message, error) {
	letter, content, err := q.Open()
	if err != nil {
		return mail.Message{}, fmt.Errorf("render %s: %w", q.Kind, err)
	}
	v := view{Page: content.Page(), Org: letter.Organization.Or("an organization"), Why: letter.Why}
	v.Title = v.Subject
	if v.Link, err = r.link(q.ID, letter, v.Action); err != nil {
		return mail.Message{}, fmt.Errorf("render %s: %w", q.Kind, err)
	}
	var html, text bytes.Buffer
	if err := r.html.Execute(&html, v); err != nil {
		return mail.Message{}, fmt.Errorf("render %s: write HTML: %w", q.Kind, err)
	}
	if err := r.text.Execute(&text, v); err != nil {
		return mail.Message{}, fmt.Errorf("render %s: write text: %w", q.Kind, err)
	}
	return mail.Message{
		ID: q.ID, OrgID: q.OrgID, Kind: q.Kind, To: q.Recipient, Subject: mail.SubjectLine(v.Subject), HTML: html.String(), Text: text.String(),
	}, nil
}
