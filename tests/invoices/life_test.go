package invoices_test

import (
	"testing"
)

func TestAMonthBecomesAnInvoice(t *testing.T) {
	t.Parallel()
	h := newHouse(t).founded()
	one := h.tenant("One", "Europe/Berlin")
	h.use(event(one, october(3), "small", 4_005_000_000), event(one, october(5), "small", 5_000_000), event(one, october(9), "large", 1_234_567_891))
	r := h.run(one.admin, "2026-10")
	if text(r, "status") != "issued" || text(r, "counts", "issued") != "1" || len(list(r["invoices"])) != 1 {
		t.Fatalf("run: %v", r)
	}
	i := h.do("GET", "/v1/invoices/"+text(r, "invoices", 0, "id"), one.reader, "").want(200)
	for path, want := range map[string]string{
		"number": "INV-2026-000001", "status": "issued", "period": "2026-10", "total": "5.24", "total_nano": "5240000000",
		"usage_nano": "5244567891", "rounding_nano": "-4567891", "currency": "USD", "requests": "3", "input_tokens": "30",
		"cached_input_tokens": "12", "output_tokens": "15", "due_at": "2026-12-03", "terms_days": "30", "time_zone": "Europe/Berlin",
		"period_start": "2026-09-30T22:00:00Z", "period_end": "2026-10-31T23:00:00Z", "issued_at": "2026-11-03T12:00:00Z",
	} {
		if got := text(i, path); got != want {
			t.Errorf("%s is %s; want %s", path, got, want)
		}
	}
	if got := text(i, "bill_to", "name"); got != "One" {
		t.Errorf("billed to %s; want the organisation", got)
	}
	if got := text(i, "lines", 0, "model") + " " + text(i, "lines", 0, "amount") + " " + text(i, "lines", 1, "model") + " " + text(i, "lines", 1, "amount"); got != "large 1.23 small 4.01" {
		t.Errorf("lines are %s", got)
	}
}
