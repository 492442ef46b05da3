package pdf

import (
	"fmt"
	"time"

	"github.com/aiaas/aiaas/shared/invoice"
)

// head is who bills, and what this is.
func (d *document) head() {
	d.pen(bold, 15, ink())
	y := d.paragraph(top, 95, []string{d.inv.Seller.Name})
	d.pen(regular, 8.5, quiet())
	y = d.paragraph(y+0.5, 90, address(d.inv.Seller))
	d.pen(bold, 22, accent())
	d.write(right-75, top-1.5, 75, "R", d.title())
	d.pen(regular, 10, quiet())
	number := d.inv.Number
	if number == "" {
		number = "not an invoice: no number, nothing is due"
		d.pen(regular, 8.5, quiet())
	}
	d.write(right-75, top+9, 75, "R", number)
	d.SetY(max(y, top+18) + 5)
}

// address is what stands below a party's name.
func address(p invoice.Party) []string {
	lines := append([]string{}, p.Address...)
	lines = append(lines, p.Country)
	if p.TaxID != "" {
		lines = append(lines, "Tax ID "+p.TaxID)
	}
	return append(lines, p.Email)
}

// facts are who is billed, when, and how much.
func (d *document) facts() {
	y := d.GetY()
	d.line(y, rule(), 0.2)
	y += 6
	d.pen(bold, 7.5, quiet())
	d.write(left, y, 80, "L", "BILL TO")
	d.pen(bold, 10.5, ink())
	end := d.paragraph(y+5, 85, []string{d.inv.BillTo.Name})
	d.pen(regular, 9, ink())
	end = d.paragraph(end+0.3, 85, address(d.inv.BillTo))
	at := y
	for _, f := range d.dates() {
		d.pen(regular, 9, quiet())
		d.write(right-82, at, 32, "L", f[0])
		d.pen(regular, 9, ink())
		d.write(right-50, at, 50, "R", f[1])
		at += 5.4
	}
	d.SetY(max(end, at) + 4)
	d.band()
}

func (d *document) dates() [][2]string {
	start, end := d.inv.Month.Bounds(d.inv.Zone)
	last := end.Add(-time.Nanosecond).In(d.inv.Zone)
	period := fmt.Sprintf("%d – %s", start.In(d.inv.Zone).Day(), date(last))
	rows := [][2]string{}
	if d.inv.Number != "" {
		rows = append(rows, [2]string{"Invoice number", d.inv.Number}, [2]string{"Invoice date", date(d.inv.IssuedAt)},
			[2]string{"Due date", date(d.inv.DueOn)}, [2]string{"Terms", terms(d.inv.TermsDays)})
	} else {
		rows = append(rows, [2]string{"As of", date(d.inv.CreatedAt.In(d.inv.Zone))})
	}
	rows = append(rows, [2]string{"Billing period", period}, [2]string{"Time zone", d.inv.Zone.String()})
	if d.inv.PurchaseOrder != "" {
		rows = append(rows, [2]string{"Purchase order", d.inv.PurchaseOrder})
	}
	return rows
}

func terms(days int) string {
	if days == 0 {
		return "Due on receipt"
	}
	return fmt.Sprintf("Net %d days", days)
}

// band says how much, before anything else is read.
func (d *document) band() {
	y := d.GetY()
	g := ground()
	d.SetFillColor(g.r, g.g, g.b)
	d.Rect(left, y, width, 14, "F")
	d.pen(regular, 9.5, quiet())
	label := "Amount due"
	if d.inv.Number == "" {
		label = "So far"
	}
	d.write(left+5, y+4.8, 40, "L", label)
	if d.inv.Number != "" && d.inv.Status != invoice.Void {
		d.write(left+30, y+4.8, 70, "L", "by "+date(d.inv.DueOn))
	}
	d.pen(bold, 15, ink())
	d.number(right-95, y+3.6, 90, d.inv.Currency+" "+grouped(invoice.Format(d.inv.Amount, d.inv.Currency)))
	d.SetY(y + 22)
}
