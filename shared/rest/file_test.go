package rest_test

import (
	"testing"

	"github.com/aiaas/aiaas/shared/rest"
)

func TestTheFormThatARequestPrefers(t *testing.T) {
	const pdf = "application/pdf"
	for accept, want := range map[string]string{
		"":                                     "",
		"*/*":                                  "",
		"application/*":                        "",
		"application/json":                     "",
		"text/html":                            "",
		"application/pdf":                      pdf,
		"APPLICATION/PDF":                      pdf,
		"application/pdf, */*":                 pdf,
		"*/*, application/pdf":                 pdf,
		"application/pdf;q=0.1":                pdf,
		"application/pdf;q=0":                  "",
		"application/pdf;q=0, text/csv;q=0.1":  rest.CSV,
		"application/json, application/pdf":    "",
		"application/pdf, application/json":    pdf,
		"application/pdf;q=0.9, text/csv":      rest.CSV,
		"text/csv;q=0.5, application/pdf;q=.6": pdf,
		"text/csv, application/pdf":            rest.CSV,
		"text/*":                               rest.CSV,
		"application/pdf;q=2":                  "",
		"application/pdf;q=x, text/*;q=0.1":    rest.CSV,
	} {
		if got := rest.Prefer(accept, pdf, rest.CSV); got != want {
			t.Errorf("Accept %q prefers %q; want %q", accept, got, want)
		}
	}
}
