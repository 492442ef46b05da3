package demo

import (
	"unicode"
	"unicode/utf8"
)

const tokenBytes = 4

type class uint8

const (
	classOther class = iota
	classSpace
	classWord
)

func classOf(r rune) class {
	switch {
	case r == ' ' || r == '\n' || r == '\t' || r == '\r':
		return classSpace
	case r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9':
		return classWord
	case r < utf8.RuneSelf:
		return classOther
	case unicode.IsSpace(r):
		return classSpace
	case unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r):
		return classWord
	}
	return classOther
}

// Tokens counts the tokens of a text, as the package's tokenizer cuts it. It is
// never more than the text's bytes, and cutting a text after any of its tokens
// does not change how the part before is counted.
func Tokens(text string) int {
	n := 0
	for text != "" {
		text = text[tokenLen(text):]
		n++
	}
	return n
}

// tokenLen is the length in bytes of the first token of a text that is not empty.
func tokenLen(s string) int {
	start := 0
	if s[0] == ' ' && len(s) > 1 {
		if r, _ := utf8.DecodeRuneInString(s[1:]); classOf(r) != classSpace {
			start = 1
		}
	}
	r, size := utf8.DecodeRuneInString(s[start:])
	kind, end := classOf(r), start+size
	for end < len(s) {
		r, size = utf8.DecodeRuneInString(s[end:])
		if classOf(r) != kind || end+size-start > tokenBytes {
			break
		}
		if kind == classSpace && r == ' ' && leadsToken(s[end+1:]) {
			break
		}
		end += size
	}
	return end
}

// leadsToken reports whether a space before rest belongs to the token there.
func leadsToken(rest string) bool {
	if rest == "" {
		return false
	}
	r, _ := utf8.DecodeRuneInString(rest)
	return classOf(r) != classSpace
}

// firstTokens is the part of a text that its first n tokens make, and how many
// of them there are.
func firstTokens(text string, n int) (part string, count int) {
	end := 0
	for count < n && end < len(text) {
		end += tokenLen(text[end:])
		count++
	}
	return text[:end], count
}
