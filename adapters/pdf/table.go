package pdf

import (
	"context"
	"fmt"
	"strconv"

	"github.com/aiaas/aiaas/shared/invoice"
)

// column is one of the table's. A column for taxes finds its place before the
// amount, at the cost of the description.
type column struct {
	title string
	width float64
	of    func(*invoice.Invoice, *invoice.Figures) string // nil: the description
}

func columns() []column {
	count := func(of func(*invoice.Figures) int64) func(*invoice.Invoice, *invoice.Figures) string {
		return func(_ *invoice.Invoice, f *invoice.Figures) string { return grouped(strconv.FormatInt(of(f), 10)) }
	}
	return []column{
		{"Description", 64, nil},
		{"Requests", 20, count(func(f *invoice.Figures) int64 { return f.Requests })},
		{"Input tokens", 23, count(func(f *invoice.Figures) int64 { return f.InputTokens })},
		{"of it cached", 21, count(func(f *invoice.Figures) int64 { return f.CachedInputTokens })},
		{"Output tokens", 23, count(func(f *invoice.Figures) int64 { return f.OutputTokens })},
		{"Amount", 23, func(i *invoice.Invoice, f *invoice.Figures) string {
			return grouped(invoice.Format(f.Amount, i.Currency))
		}},
	}
}

const (
	rowHeight  = 5.6
	noteHeight = 4.2
	gap        = 2.0 // between columns
)

// checkEvery is after how many lines the table looks whether anybody still waits.
const checkEvery = 256

// table lists the lines under the names of their projects.
func (d *document) table(ctx context.Context) error {
	d.tableHead()
	for n, l := range d.inv.Lines {
		if n%checkEvery == 0 && ctx.Err() != nil {
			return fmt.Errorf("draw lines: %w", context.Cause(ctx))
		}
		need := rowHeight
		first := n == 0 || d.inv.Lines[n-1].ProjectID != l.ProjectID
		if first {
			need += rowHeight + 1.5 // the project's name is not left alone at a page's end
		}
		if d.inv.Late(l) {
			need += noteHeight
		}
		fresh := d.room(need)
		if first || fresh {
			d.project(l, !first)
		}
		d.row(l)
	}
	if len(d.inv.Lines) == 0 {
		d.pen(regular, 9, quiet())
		d.write(left, d.GetY()+1.5, width, "L", "No usage in this period.")
		d.SetY(d.GetY() + rowHeight + 1.5)
	}
	return nil
}

// room begins a new page, with the table's head on it, where what comes next does
// not fit on this one.
func (d *document) room(need float64) (fresh bool) {
	if d.GetY()+need <= bottom {
		return false
	}
	d.AddPage()
	d.SetY(top)
	d.tableHead()
	return true
}

func (d *document) tableHead() {
	y := d.GetY()
	d.pen(bold, 7.5, quiet())
	x := left
	for _, c := range columns() {
		title := c.title
		if title == "Amount" {
			title += " (" + d.inv.Currency + ")"
		}
		if c.of == nil {
			d.write(x, y, c.width-gap, "L", title)
		} else {
			d.write(x, y, c.width, "R", title)
		}
		x += c.width
	}
	d.line(y+5, ink(), 0.35)
	d.SetY(y + 6)
}

//nolint:revive // flag-parameter: again is a word more on the page
func (d *document) project(l invoice.Line, again bool) {
	y := d.GetY() + 1.5
	name := l.ProjectName
	d.pen(bold, 9, ink())
	if again {
		d.write(left, y, 120, "L", name)
		shown := d.GetStringWidth(d.fit(name, 120))
		d.pen(regular, 8, quiet())
		d.write(left+shown+2, y+0.3, 30, "L", "continued")
	} else {
		d.write(left, y, width, "L", name)
	}
	d.SetY(y + rowHeight - 0.4)
}

func (d *document) row(l invoice.Line) {
	y := d.GetY()
	x := left
	for _, c := range columns() {
		d.pen(regular, 8.5, ink())
		if c.of == nil {
			d.write(x+3, y, c.width-3-gap, "L", d.ends(l.Model, c.width-3-gap))
		} else {
			d.number(x+gap, y, c.width-gap, c.of(d.inv, &l.Figures))
		}
		x += c.width
	}
	y += rowHeight - 0.9
	if d.inv.Late(l) {
		d.pen(regular, 7, quiet())
		d.write(left+3, y-0.4, width-3, "L", "includes usage from "+date(l.First.In(d.inv.Zone))+" on, which arrived after its own month was closed")
		y += noteHeight
	}
	d.line(y+0.2, rule(), 0.1)
	d.SetY(y + 0.9)
}

// ends shortens an id in its middle: ids that begin alike differ at their ends.
func (d *document) ends(text string, w float64) string {
	runes := []rune(d.clean(text))
	if d.GetStringWidth(string(runes)) <= w {
		return string(runes)
	}
	for keep := min(len(runes)/2, 60); keep > 0; keep-- {
		short := string(runes[:keep]) + "…" + string(runes[len(runes)-keep:])
		if d.GetStringWidth(short) <= w {
			return short
		}
	}
	return "…"
}

// totals stand together on one page.
func (d *document) totals() {
	d.room(32)
	y := d.GetY() + 5
	label, value := right-85, right-45
	amount := grouped(invoice.Format(d.inv.Amount, d.inv.Currency))
	zero := invoice.Format(0, d.inv.Currency)
	for _, r := range [][2]string{{"Subtotal", amount}, {"Tax (none included)", zero}} {
		d.pen(regular, 9, quiet())
		d.write(label, y, 42, "L", r[0])
		d.pen(regular, 9, ink())
		d.number(value, y, 45, r[1])
		y += 5.4
	}
	c := ink()
	d.SetDrawColor(c.r, c.g, c.b)
	d.SetLineWidth(0.35)
	d.Line(label, y+0.6, right, y+0.6)
	y += 2.6
	d.pen(bold, 11, ink())
	d.write(label, y, 40, "L", "Total")
	d.number(value, y, 45, d.inv.Currency+" "+amount)
	d.SetY(y + 12)
}

// notes say how to pay, and what the figures are.
func (d *document) notes() {
	pay := d.inv.Payment
	if d.inv.Number == "" || d.inv.Status == invoice.Void || d.inv.Amount <= 0 {
		pay = nil
	}
	need := 16.0
	if len(pay) > 0 {
		d.pen(regular, 9, ink())
		pay = append(d.broken(width, pay), "Reference: "+d.inv.Number)
		need += 12 + 4.6*float64(len(pay))
	}
	if d.GetY()+need > bottom {
		d.AddPage()
		d.SetY(top)
	}
	y := d.GetY()
	if len(pay) > 0 {
		d.pen(bold, 7.5, quiet())
		d.write(left, y, 80, "L", "HOW TO PAY")
		d.pen(regular, 9, ink())
		y = d.paragraph(y+5, width, pay) + 5
	}
	d.pen(regular, 7.5, quiet())
	d.paragraph(y, width, []string{
		"No tax is included. The amounts of the lines are rounded so that their sum is the exact total, rounded once.",
		"Usage that arrives after a month was closed is billed in the month that is open then.",
	})
}
