package demo_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/aiaas/aiaas/adapters/demo"
)

// discard is a ResponseWriter that keeps nothing, so that only the model is
// measured.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Flush()                      {}

func BenchmarkAnswer(b *testing.B) {
	for name, body := range map[string]string{
		"whole":            chat("Hello", `"max_tokens":32`),
		"stream 32 tokens": chat("Hello", `"max_tokens":32,"stream":true,"stream_options":{"include_usage":true}`),
	} {
		b.Run(name, func(b *testing.B) {
			s := demo.New(demo.Config{})
			b.ReportAllocs()
			for b.Loop() {
				r, _ := http.NewRequestWithContext(b.Context(), http.MethodPost, "/v1/chat/completions", strings.NewReader(body))
				r.Header.Set("Content-Type", "application/json")
				s.ServeHTTP(&discard{header: http.Header{}}, r)
			}
			if got := s.Stats(); got.Complete != got.Requests {
				b.Fatalf("%+v", got)
			}
		})
	}
}
