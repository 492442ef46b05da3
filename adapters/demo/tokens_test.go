package demo_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/aiaas/aiaas/adapters/demo"
)

func TestTokens(t *testing.T) {
	for _, tt := range []struct {
		text string
		want int
	}{
		{"", 0},
		{"a", 1},
		{"abcd", 1},
		{"abcde", 2},
		{" abcd", 1},         // the space belongs to the word
		{"Hello, world!", 6}, // Hell|o|,| worl|d|!
		{"  x", 2},
		{"          x", 4}, // four, four, one, and " x"
		{"a ", 2},
		{"\n\n", 1},
		{"?!?!?", 2},
		{"äöü", 2}, // two bytes each
		{"你好", 2},  // three bytes each: no character is split
		{"🙂", 1},
	} {
		if got := demo.Tokens(tt.text); got != tt.want {
			t.Errorf("%q: %d tokens, want %d", tt.text, got, tt.want)
		}
	}
}

func TestTokensProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ab ,\n]{0,40}`)).Draw(t, "text")
		n := demo.Tokens(text)
		if n > len(text) {
			t.Fatalf("%d tokens in %d bytes", n, len(text))
		}
		if joined := demo.Tokens(text + " " + "word"); joined != n+1 && !strings.HasSuffix(text, " ") {
			t.Fatalf("%d tokens, and %d with one more word", n, joined)
		}
	})
}
