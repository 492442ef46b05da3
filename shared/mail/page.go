package mail

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"net/url"
	"strings"
	texttemplate "text/template"
)

// Content is what a mail of one kind tells: a value that JSON can hold. Fields that
// strangers chose are of the type [Name].
//
// Content may hold what only the recipient may know (the secret of a link that works
// once): then in a sealed form. It is never logged and never shown by the API.
type Content interface {
	// Page says it in words.
	Page() Page
}

// Page is a mail in words, in the form that all mails share. The parts in text and
// in HTML are made of the same page, and so say the same.
type Page struct {
	Subject string
	Lead    []string // paragraphs
	Facts   []Fact
	Action  Action   // the one link; none where it has no label
	Advice  []string // paragraphs: what to do, what will happen
}

// Fact is a line of the table.
type Fact struct{ Name, Value string }

// Action is a link to the platform itself.
type Action struct {
	Label string
	Path  string // escaped, from the root of the platform: "/docs#listBudgets"
}

// Letter is what stands in the queue: the content of a mail and on whose account
// it is sent to whom.
type Letter struct {
	Organization Name            `json:"organization"`
	Why          string          `json:"why"` // what the recipient is there: "an owner"
	Content      json.RawMessage `json:"content"`
}

//go:embed templates
var templates embed.FS

// Renderer turns queued mails into messages.
type Renderer struct {
	base  string // without a slash at its end
	kinds map[Kind]decoder
	html  *htmltemplate.Template
	text  *texttemplate.Template
}

// ErrPublicURL is why an address can't be that of the platform.
var ErrPublicURL = errors.New("it must be an http or https address without user, query or fragment")

// NewRenderer makes a renderer whose links lead to the platform's public address.
func NewRenderer(publicURL string) (*Renderer, error) {
	u, err := url.Parse(publicURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("read the public address: %w", ErrPublicURL)
	}
	html, err := htmltemplate.New("layout.html").Funcs(htmltemplate.FuncMap{"segments": segments, "plain": plain}).ParseFS(templates, "templates/layout.html")
	if err != nil {
		return nil, fmt.Errorf("parse template: %w", err)
	}
	text, err := texttemplate.New("layout.txt").Funcs(texttemplate.FuncMap{"plain": plain}).ParseFS(templates, "templates/layout.txt")
	if err != nil {
		return nil, fmt.Errorf("parse template: %w", err)
	}
	return &Renderer{base: strings.TrimRight(u.String(), "/"), kinds: kinds(), html: html, text: text}, nil
}

// view is what the templates see.
type view struct {
	Page
	Title string
	Link  string
	Org   string
	Why   string
}

// Render makes the message of a queued mail. It fails where this version does not
// know the kind, or where the data is not of it.
func (r *Renderer) Render(q Queued) (Message, error) {
	decode, ok := r.kinds[q.Kind]
	if !ok {
		return Message{}, fmt.Errorf("render %s: there is no such kind of mail", q.Kind)
	}
	var l Letter
	if err := json.Unmarshal(q.Data, &l); err != nil {
		return Message{}, fmt.Errorf("render %s: read letter: %w", q.Kind, err)
	}
	content, err := decode(l.Content)
	if err != nil {
		return Message{}, fmt.Errorf("render %s: read content: %w", q.Kind, err)
	}
	v := view{Page: content.Page(), Org: l.Organization.Or("an organization"), Why: l.Why}
	if v.Action.Label != "" {
		v.Link = r.base + v.Action.Path
	}
	v.Title = v.Subject
	m := Message{ID: q.ID, OrgID: q.OrgID, Kind: q.Kind, To: q.Recipient, Subject: clean(v.Subject, maxSubject, nil)}
	var html, text bytes.Buffer
	if err := r.html.Execute(&html, v); err != nil {
		return Message{}, fmt.Errorf("render %s: write HTML: %w", q.Kind, err)
	}
	if err := r.text.Execute(&text, v); err != nil {
		return Message{}, fmt.Errorf("render %s: write text: %w", q.Kind, err)
	}
	m.HTML, m.Text = html.String(), text.String()
	return m, nil
}
