// Package mail is what the platform tells people by mail, and the way a mail takes
// from the event that causes it to the server that accepts it.
//
// It owns the kinds of mail with their texts ([Content]), the one layout that all
// of them share ([Page]), the rules that derive mails from events ([Planner]), and
// the [Courier] that hands queued mails to a [Sender] until they are accepted or
// given up. A mail is queued in the transaction of what causes it, once for each
// cause and recipient, as data and not as text: package layout writes it when it is sent.
//
// Names in mails are chosen by strangers. A [Name] can't break out of its place:
// not into markup, not into a header, not into a link, and not over the text
// beside it. Links lead to the configured public address of the platform only.
//
// To add a kind: a type with a Page method, and its line in kinds(). The tests
// then render it with hostile values in every field.
package mail

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"strings"
)

// ID is the prefix of mail ids.
const ID = "mail"

// Kind names a sort of mail: "key.created".
type Kind string

// Message is one rendered mail to one recipient.
type Message struct {
	ID      string // also of its Message-ID: the same mail sent again is recognised by it
	OrgID   string // whose mail it is
	Kind    Kind
	To      string // an address without a name
	Subject string // one line, free of control characters
	Text    string
	HTML    string
}

// Sender hands mails to the world.
//
// Send returns nil when the mail was accepted for delivery, by somebody who now
// answers for it. An error that is a [*RefusedError] says that this mail will never be
// accepted. After any other the same mail may be sent again, with the same id; it
// may then arrive twice, under one Message-ID. Errors never hold a password. Send
// may be called from several goroutines, and returns soon after ctx has ended.
type Sender interface {
	Send(ctx context.Context, m Message) error
}

// RefusedError says that a mail will not be accepted, however often it is sent.
type RefusedError struct {
	// Reason is written for the organisation's admins: a server's answer.
	Reason string
	Err    error // for the log; may be nil
}

// Error implements error.
func (r *RefusedError) Error() string {
	if r.Err != nil {
		return fmt.Sprintf("refused: %s: %v", r.Reason, r.Err)
	}
	return "refused: " + r.Reason
}

// Unwrap returns the error behind it.
func (r *RefusedError) Unwrap() error { return r.Err }

// PostponedError says why a mail was not accepted now.
type PostponedError struct {
	// Reason is written for the organisation's admins: it names no host of the
	// platform.
	Reason string
	// Down says that no other mail would be accepted now either.
	Down bool
	Err  error // for the log
}

// Error implements error.
func (s *PostponedError) Error() string { return fmt.Sprintf("not accepted: %s: %v", s.Reason, s.Err) }

// Unwrap returns the error behind it.
func (s *PostponedError) Unwrap() error { return s.Err }

// maxAddress is the longest address, in bytes: RFC 5321 allows a path of 256.
const maxAddress = 254

// ErrAddress is why a text is no address to send to.
var ErrAddress = errors.New("it is no mail address")

// CheckAddress reports whether a text is one bare address: no name, no list, no
// comment, nothing that could become a header.
func CheckAddress(address string) error {
	if len(address) > maxAddress || strings.ContainsFunc(address, hidden) || strings.ContainsAny(address, " ,;<>()\"\\") {
		return ErrAddress
	}
	parsed, err := mail.ParseAddress(address)
	if err != nil || parsed.Address != address || parsed.Name != "" {
		return ErrAddress
	}
	return nil
}

// maxReason is how much of a server's words is kept, in characters.
const maxReason = 300

// Reason is a mail server's reply, as an organisation's admins see it.
func Reason(code int, text string) string {
	return fmt.Sprintf("%d %s", code, clean(text, maxReason, nil))
}
