package rest

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
)

// The sizes of a page.
const (
	DefaultLimit = 50
	MaxLimit     = 200
)

// Paging is embedded in the input of operations that list.
type Paging struct {
	Cursor string `query:"cursor" maxLength:"300" doc:"next_cursor of the page before."`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"The most items of this page."`
}

// List is the answer of operations that list.
type List[T any] struct {
	Data       []T     `json:"data" nullable:"false"`
	NextCursor *string `json:"next_cursor" doc:"Send it as cursor to get what follows; null on the last page."`
}

const cursorForm = "1:" // of what a cursor holds, so that it can change

// After is the id that the cursor stands for, which must have the prefix of what
// is listed. A cursor that was not made by [Page] is Invalid. Cursors carry no
// authority: a forged id is looked for within the caller's own organisation.
func (p Paging) After(prefix string) (string, error) {
	if p.Cursor == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(p.Cursor)
	after, ok := strings.CutPrefix(string(raw), cursorForm)
	if err != nil || !ok || !id.Valid(prefix, after) {
		return "", fault.New(fault.Invalid, "The cursor is not one that this list gave.").At("cursor")
	}
	return after, nil
}

// AfterName is After for lists whose items have names instead of ids: the name is
// no more than a place to go on from.
func (p Paging) AfterName() (string, error) {
	if p.Cursor == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(p.Cursor)
	after, ok := strings.CutPrefix(string(raw), cursorForm)
	if err != nil || !ok || after == "" || !utf8.ValidString(after) || strings.Contains(after, "\x00") {
		return "", fault.New(fault.Invalid, "The cursor is not one that this list gave.").At("cursor")
	}
	return after, nil
}

// Fetch is how many items to read for a page: one more than it shows tells
// whether there is another.
func (p Paging) Fetch() int { return p.Limit + 1 }

// Page makes a page of items that were read with Fetch.
func Page[In, Out any](p Paging, items []In, idOf func(In) string, show func(In) Out) List[Out] {
	var next *string
	if len(items) > p.Limit {
		items = items[:p.Limit]
		c := base64.RawURLEncoding.EncodeToString([]byte(cursorForm + idOf(items[len(items)-1])))
		next = &c
	}
	list := List[Out]{Data: make([]Out, 0, len(items)), NextCursor: next}
	for _, it := range items {
		list.Data = append(list.Data, show(it))
	}
	return list
}
