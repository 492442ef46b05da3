// Package pdf draws invoices as PDF documents.
//
// A document carries the glyphs it needs of one font family (Liberation Sans, which
// has Latin, Greek, Cyrillic and Hebrew), so that it looks the same everywhere.
// What the font can't show is replaced visibly, and what would only direct how text
// is shown is taken out: no name can change what else stands on a page. The same
// invoice gives the same bytes, so that documents need not be stored.
package pdf

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"codeberg.org/go-pdf/fpdf"
	"github.com/go-fonts/liberation/liberationsansbold"
	"github.com/go-fonts/liberation/liberationsansregular"

	"github.com/aiaas/aiaas/shared/invoice"
)

// Renderer implements [invoice.Renderer]. What it holds of a document in memory
// grows with the number of lines, by a few hundred bytes each.
type Renderer struct{}

var _ invoice.Renderer = Renderer{}

// Render draws the invoice on A4.
func (Renderer) Render(ctx context.Context, w io.Writer, inv *invoice.Invoice) error {
	script, err := newScript(liberationsansregular.TTF)
	if err != nil {
		return err
	}
	d := &document{Fpdf: fpdf.New("P", "mm", "A4", ""), script: script, inv: inv}
	d.set()
	d.AddPage()
	d.head()
	d.facts()
	if err := d.table(ctx); err != nil {
		return err
	}
	d.totals()
	d.notes()
	if err := d.Output(w); err != nil {
		return fmt.Errorf("write PDF: %w", err)
	}
	return nil
}

// The page, in millimetres.
const (
	left, right   = 18.0, 192.0 // edges of what is drawn
	top, bottom   = 18.0, 274.0 // text ends above the footer
	width         = right - left
	family        = "liberation"
	regular, bold = "", "B"
)

// document is one invoice being drawn.
type document struct {
	*fpdf.Fpdf
	*script

	inv *invoice.Invoice
}

func (d *document) set() {
	at := d.inv.IssuedAt
	if at.IsZero() {
		at = d.inv.CreatedAt
	}
	d.SetCatalogSort(true)
	d.SetCreationDate(at.UTC())
	d.SetModificationDate(at.UTC())
	d.SetProducer("AIaaS", true)
	d.SetTitle(d.clean(d.title()+" "+d.inv.Number), true)
	d.SetAuthor(d.clean(d.inv.Seller.Name), true)
	d.SetLang("en")
	d.AliasNbPages("") // turns the default alias {nb} on
	d.AddUTF8FontFromBytes(family, regular, liberationsansregular.TTF)
	d.AddUTF8FontFromBytes(family, bold, liberationsansbold.TTF)
	d.SetMargins(left, top, 210-right)
	d.SetAutoPageBreak(false, 0) // the table breaks pages, between its rows
	d.SetFooterFunc(d.footer)
}

// The colours: text, quiet text, the accent, lines and the ground of a band.
type colour struct{ r, g, b int }

func ink() colour    { return colour{28, 32, 40} }
func quiet() colour  { return colour{104, 112, 124} }
func accent() colour { return colour{24, 78, 119} }
func rule() colour   { return colour{205, 210, 217} }
func ground() colour { return colour{241, 244, 247} }

func (d *document) pen(style string, size float64, c colour) {
	d.SetFont(family, style, size)
	d.SetTextColor(c.r, c.g, c.b)
}

// write puts one line of text at a place, shortened to a width. Align is "L" or "R".
func (d *document) write(x, y, w float64, align, text string) {
	d.SetXY(x, y)
	_, size := d.GetFontSize()
	d.SetCellMargin(0)
	d.CellFormat(w, size*1.3, d.fit(text, w), "", 0, align, false, 0, "")
}

// fit cleans a text and shortens it to a width, with an ellipsis.
func (d *document) fit(text string, w float64) string {
	text = d.clean(text)
	if d.GetStringWidth(text) <= w {
		return text
	}
	runes := []rune(text)
	for lo, hi := 0, len(runes); ; {
		mid := (lo + hi + 1) / 2
		if mid == lo {
			return string(runes[:lo]) + "…"
		}
		if d.GetStringWidth(string(runes[:mid])+"…") <= w {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
}

// number puts a number at the right of a column. A digit that is missing changes
// what a number says: one that is too long is drawn smaller.
func (d *document) number(x, y, w float64, text string) {
	text = d.clean(text)
	size, _ := d.GetFontSize()
	for s := size; s > 3 && d.GetStringWidth(text) > w; s -= 0.25 {
		d.SetFontSize(s)
	}
	d.SetXY(x, y)
	d.SetCellMargin(0)
	_, unit := d.GetFontSize()
	d.CellFormat(w, unit*1.3, text, "", 0, "R", false, 0, "")
	d.SetFontSize(size)
}

// mostLines is how many lines a block has at most: nobody's address fills a page.
const mostLines = 16

// paragraph puts lines below each other at the left, broken where they are too long, and returns
// where the next one would stand.
func (d *document) paragraph(y, w float64, lines []string) float64 {
	_, unit := d.GetFontSize()
	broken := d.broken(w, lines)
	for _, l := range broken[:min(len(broken), mostLines)] {
		d.write(left, y, w, "L", l)
		y += unit * 1.45
	}
	return y
}

// broken are the lines as they fit into a width; what is empty is left out.
func (d *document) broken(w float64, lines []string) []string {
	var out []string
	d.SetCellMargin(0)
	for _, l := range lines {
		if l = d.clean(l); l != "" {
			out = append(out, d.SplitText(l, w)...)
		}
	}
	return out
}

func (d *document) line(y float64, c colour, thick float64) {
	d.SetDrawColor(c.r, c.g, c.b)
	d.SetLineWidth(thick)
	d.Line(left, y, right, y)
}

func (d *document) title() string {
	switch d.inv.Status {
	case invoice.Preview:
		return "Invoice preview"
	case invoice.Draft:
		return "Draft invoice"
	case invoice.Void:
		return "Void invoice"
	default:
		return "Invoice"
	}
}

// footer stands on every page.
func (d *document) footer() {
	d.line(280, rule(), 0.2)
	d.pen(regular, 7.5, quiet())
	s := d.inv.Seller
	parts := slices.DeleteFunc([]string{s.Name, s.TaxID, s.Email}, func(p string) bool { return p == "" })
	d.write(left, 282.5, width-60, "L", strings.Join(parts, "  ·  "))
	page := fmt.Sprintf("Page %d of {nb}", d.PageNo())
	if d.inv.Number != "" {
		page = d.fit(d.inv.Number, 45) + "  ·  " + page
	}
	// The alias is wider than the number that it becomes.
	shift := d.GetStringWidth("{nb}") - d.GetStringWidth("0")
	d.SetXY(right-70, 282.5)
	d.CellFormat(70+shift, 3.5, page, "", 0, "R", false, 0, "")
}

func date(t time.Time) string { return t.Format("2 January 2006") }
