package pdf_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/aiaas/aiaas/adapters/pdf"
	"github.com/aiaas/aiaas/shared/invoice"
	"github.com/aiaas/aiaas/shared/money"
)

func anInvoice(t testing.TB, lines int) *invoice.Invoice {
	t.Helper()
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 1, 1, 0, 0, 0, time.UTC)
	i := &invoice.Invoice{
		Status: invoice.Issued, Number: "INV-2026-000042", Month: invoice.Month{Year: 2026, Month: time.October}, Zone: zone, Currency: "EUR",
		IssuedAt: at, CreatedAt: at, DueOn: at.AddDate(0, 0, 30).Truncate(24 * time.Hour), TermsDays: 30, PurchaseOrder: "PO-4711",
		BillTo:  invoice.Party{Name: "Größe & Söhne", Address: []string{"Straße 1", "10623 Berlin"}, Country: "DE", TaxID: "DE1", Email: "a@example.com"},
		Seller:  invoice.Party{Name: "Models Inc.", Address: []string{"1 Main Street"}, Country: "US"},
		Payment: []string{"IBAN DE02 1203 0000 0000 2020 51"},
	}
	for n := range lines {
		l := invoice.Line{ProjectID: fmt.Sprint(n / 7), ProjectName: fmt.Sprint("Project ", n/7), Model: fmt.Sprint("model-", n%7), First: time.Date(2026, 10, 2, 0, 0, 0, 0, time.UTC)}
		l.Requests, l.InputTokens, l.Amount = int64(n), int64(n)*1_000_003, money.Nano(n)*1_230_000_000
		i.Amount += l.Amount
		i.Lines = append(i.Lines, l)
	}
	return i
}

func render(t testing.TB, i *invoice.Invoice) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := (pdf.Renderer{}).Render(t.Context(), &out, i); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(out.Bytes(), []byte("%PDF-")) || !bytes.HasSuffix(bytes.TrimSpace(out.Bytes()), []byte("%%EOF")) {
		t.Fatalf("no document: %.20q", out.Bytes())
	}
	return out.Bytes()
}

func TestTheSameInvoiceGivesTheSameBytes(t *testing.T) {
	first := render(t, anInvoice(t, 60))
	for range 10 {
		if !bytes.Equal(first, render(t, anInvoice(t, 60))) {
			t.Fatal("another document")
		}
	}
	other := anInvoice(t, 60)
	other.Amount += 10_000_000
	if bytes.Equal(first, render(t, other)) {
		t.Error("another invoice gives the same document")
	}
}

func TestPagesFollowFromLines(t *testing.T) {
	pages := func(lines int) int {
		return bytes.Count(render(t, anInvoice(t, lines)), []byte("/Type /Page\n"))
	}
	if got := pages(3); got != 1 {
		t.Errorf("three lines take %d pages", got)
	}
	if got := pages(300); got < 6 || got > 12 {
		t.Errorf("300 lines take %d pages", got)
	}
	if long, longer := len(render(t, anInvoice(t, 1000))), len(render(t, anInvoice(t, 2000))); longer-long > 1000*400 {
		t.Errorf("a line takes %d bytes", (longer-long)/1000)
	}
}

// Nobody's name, however it is made, keeps an invoice from being drawn.
func TestEveryTextCanBeDrawn(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.OneOf(
			rapid.String(),
			rapid.StringOfN(rapid.RuneFrom([]rune("\u202E\u2066\u200F\x00\n\r\t{}nb<>&()\\%日🚀Ω\u0301\uFFFF\uFFFD\U0010FFFF")), 0, 80, -1),
			rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 60), func(b []byte) string { return string(b) }),
			rapid.Map(rapid.IntRange(1, 3000), func(n int) string { return strings.Repeat("W", n) }),
		)
		i := anInvoice(t, 3)
		for _, s := range []*string{&i.BillTo.Name, &i.Seller.Name, &i.Seller.TaxID, &i.Number, &i.PurchaseOrder, &i.Lines[0].ProjectName, &i.Lines[1].Model, &i.Payment[0], &i.BillTo.Address[0], &i.Currency} {
			*s = text.Draw(rt, "text")
		}
		n := rapid.SampledFrom([]int64{0, -1, math.MaxInt64, math.MinInt64}).Draw(rt, "number")
		i.Amount, i.Lines[0].Amount, i.Lines[0].OutputTokens = money.Nano(n), money.Nano(n), n
		i.Status = rapid.SampledFrom([]invoice.Status{invoice.Preview, invoice.Draft, invoice.Issued, invoice.Void}).Draw(rt, "status")
		render(t, i)
	})
}

func TestTheEndOfTheCallEndsTheDrawing(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("the client left")
	cancel(gone)
	var out bytes.Buffer
	if err := (pdf.Renderer{}).Render(ctx, &out, anInvoice(t, 3)); !errors.Is(err, gone) || out.Len() > 0 {
		t.Errorf("%v, %d bytes", err, out.Len())
	}
}

// What the font lacks shows as a question mark; what turns or hides text is gone.
func TestTextsAreShownAsTheyAreRead(t *testing.T) {
	for text, want := range map[string]string{
		"Größe":                        "Größe",
		"Ελληνικά Привет":              "Ελληνικά Привет",
		"日本":                           "??",
		"🚀 up":                         "? up",
		"a\u202Eb\u2066c\u200Fd\u200B": "abcd",
		"a\nb\t c\u00A0d":              "a b c d",
		"\x00\x1b[31mred":              "[31mred",
		"\xff\xfe":                     "?",
		"{nb}":                         "{ nb}",
		"  ":                           "",
	} {
		got, err := pdf.Clean(text)
		if err != nil || got != want || !utf8.ValidString(got) {
			t.Errorf("%q is shown as %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestDigitsAreGrouped(t *testing.T) {
	for text, want := range map[string]string{"0": "0", "999": "999", "1000": "1,000", "-1000": "-1,000", "-100": "-100", "1234567.50": "1,234,567.50", "12.345678": "12.345678"} {
		if got := pdf.Grouped(text); got != want {
			t.Errorf("%s is %s; want %s", text, got, want)
		}
	}
}
