package architecture

import (
	"bytes"
	"fmt"
	"regexp"
)

// Private is a kind of text that makes sense on its author's machine only.
type Private struct {
	Text *regexp.Regexp
	Why  string
}

// CheckText returns a line for each place in a file's content that matches one
// of the kinds. Binary content has none.
func CheckText(file string, content []byte, kinds []Private) []string {
	if bytes.IndexByte(content, 0) >= 0 {
		return nil
	}
	var found []string
	for i, line := range bytes.Split(content, []byte("\n")) {
		for _, kind := range kinds {
			if hit := kind.Text.Find(line); hit != nil {
				found = append(found, fmt.Sprintf("%s:%d: %q: %s", file, i+1, hit, kind.Why))
			}
		}
	}
	return found
}
