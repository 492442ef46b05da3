package invoice

import (
	"fmt"
	"time"

	"github.com/aiaas/aiaas/shared/budget"
	"github.com/aiaas/aiaas/shared/fault"
)

// Month is an accounting month.
type Month struct {
	Year  int
	Month time.Month
}

// ParseMonth reads "2026-10".
func ParseMonth(text string) (Month, error) {
	t, err := time.Parse("2006-01", text)
	if err != nil || t.Format("2006-01") != text || t.Year() < 1 {
		return Month{}, fault.New(fault.Unprocessable, "the period is a month such as \"2026-10\"").At("period")
	}
	return Month{t.Year(), t.Month()}, nil
}

// MonthOf is the month of a date.
func MonthOf(date time.Time) Month { return Month{date.Year(), date.Month()} }

// MonthAt is the month that a moment falls into in a zone.
func MonthAt(at time.Time, zone *time.Location) Month { return MonthOf(at.In(zone)) }

// String is the month as "2026-10".
func (m Month) String() string { return fmt.Sprintf("%04d-%02d", m.Year, int(m.Month)) }

// Date is the month's first day, as midnight UTC.
func (m Month) Date() time.Time { return time.Date(m.Year, m.Month, 1, 0, 0, 0, 0, time.UTC) }

// Next is the month after.
func (m Month) Next() Month { return MonthOf(m.Date().AddDate(0, 1, 0)) }

// Previous is the month before.
func (m Month) Previous() Month { return MonthOf(m.Date().AddDate(0, -1, 0)) }

// After reports whether the month comes after another.
func (m Month) After(o Month) bool { return m.Date().After(o.Date()) }

// Bounds are the moments, in UTC, from which and up to which the month goes in a
// zone. They are those of a monthly budget.
func (m Month) Bounds(zone *time.Location) (start, end time.Time) {
	// The fifteenth is in the month whatever the zone's clocks do at its edges.
	noon := time.Date(m.Year, m.Month, 15, 12, 0, 0, 0, zone)
	w := budget.Budget{Period: budget.Month, TimeZone: zone}.WindowAt(noon)
	return w.Start, w.End
}
