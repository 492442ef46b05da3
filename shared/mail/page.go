package mail

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Content is what a mail of one kind tells: a value that JSON can hold. Fields that
// strangers chose are of the type [Name].
//
// It holds nothing that only the recipient may know: the secret of a link that works
// once stands beside it in the [Letter], in a sealed form. Neither is ever logged, nor
// shown by the API.
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
	// Sealed says that the link ends in the secret of the letter, in its fragment:
	// browsers send it to nobody, and no log has it.
	Sealed bool
}

// Letter is what stands in the queue: the content of a mail and on whose account
// it is sent to whom.
type Letter struct {
	Organization Name            `json:"organization"`
	Why          string          `json:"why"` // what the recipient is there: "an owner"
	Content      json.RawMessage `json:"content"`
	Sealed       string          `json:"sealed,omitempty"` // the secret of its link
}

// Renderer writes mails.
type Renderer interface {
	// Render makes the message of a queued mail. It fails where this version does
	// not know the kind, or where the data is not of it.
	Render(q Queued) (Message, error)
}

// ErrKind is why a mail can't be read: another version has queued it.
var ErrKind = errors.New("there is no such kind of mail")

// Open reads what a queued mail tells.
func (q Queued) Open() (Letter, Content, error) {
	decode, ok := kinds()[q.Kind]
	if !ok {
		return Letter{}, nil, ErrKind
	}
	var l Letter
	if err := json.Unmarshal(q.Data, &l); err != nil {
		return Letter{}, nil, fmt.Errorf("read letter: %w", err)
	}
	content, err := decode(l.Content)
	if err != nil {
		return Letter{}, nil, fmt.Errorf("read content: %w", err)
	}
	return l, content, nil
}
