package pdf

import "github.com/go-fonts/liberation/liberationsansregular"

// Clean is a text as a document shows it.
func Clean(text string) (string, error) {
	s, err := newScript(liberationsansregular.TTF)
	if err != nil {
		return "", err
	}
	return s.clean(text), nil
}

// Grouped are digits as a document shows them.
func Grouped(text string) string { return grouped(text) }
