// Package budget owns budgets: what they count, for whom, in which window, and
// what happens when they are spent.
//
// PostgreSQL keeps the truth: per (budget, window) what was granted and what was
// spent. A budget that blocks is never overspent, because admission holds the
// worst case of a request out of what was granted before any work is done. A
// budget that monitors or warns is counted when usage is booked.
package budget

import (
	"time"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/money"
	"github.com/aiaas/aiaas/shared/naming"
	"github.com/aiaas/aiaas/shared/pricing"
)

// Unit is what a budget counts.
type Unit string

// The units. Amounts are nano of the currency, tokens, or requests.
const (
	Money    Unit = "money"
	Tokens   Unit = "tokens"
	Requests Unit = "requests"
)

// Period is the length of a budget's window.
type Period string

// The periods. A week starts on Monday; Once never ends.
const (
	Day     Period = "day"
	Week    Period = "week"
	Month   Period = "month"
	Quarter Period = "quarter"
	Year    Period = "year"
	Once    Period = "once"
)

// Action is what happens when a budget is spent.
type Action string

// The actions.
const (
	Monitor Action = "monitor"
	Warn    Action = "warn"
	Block   Action = "block"
)

// Scope is what a budget applies to: exactly one of the four. An organisation's
// budget has no field set.
type Scope struct {
	ProjectID string
	APIKeyID  string
	Model     string
}

// Covers reports whether a request by this key, project and model falls under
// the scope.
func (s Scope) Covers(project, key, model string) bool {
	return (s.ProjectID == "" || s.ProjectID == project) &&
		(s.APIKeyID == "" || s.APIKeyID == key) &&
		(s.Model == "" || s.Model == model)
}

// Governing are the budgets of an organisation that its requests meet.
type Governing struct {
	Blocking []Budget
	Warning  []Counted
}

// Counted is a budget with what was booked in its newest windows.
type Counted struct {
	Budget
	Sums []Sum
}

// Sum is what was booked in a window.
type Sum struct {
	Window
	Spent int64
}

// SpentAt is what was booked in the window that a moment falls into; 0 where
// nothing was yet.
func (c *Counted) SpentAt(at time.Time) int64 {
	for _, s := range c.Sums {
		if s.Contains(at) {
			return s.Spent
		}
	}
	return 0
}

// Budget is a limit on what is spent in a window.
type Budget struct {
	ID         string
	OrgID      string
	Scope      Scope
	Unit       Unit
	Amount     int64
	Currency   string
	Period     Period
	TimeZone   *time.Location
	Action     Action
	Thresholds []int // percent
	CreatedBy  string
	CreatedAt  time.Time
}

// Window is half-open: from Start up to, not including, End. Both are UTC.
type Window struct {
	Start time.Time
	End   time.Time
}

// Contains reports whether the moment falls into the window.
func (w Window) Contains(at time.Time) bool { return !at.Before(w.Start) && at.Before(w.End) }

// never is the end of a window that has none, within what every store can hold.
func never() time.Time { return time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC) }

// Ends reports whether the window has an end: those of [Once] have none.
func (w Window) Ends() bool { return w.End.Before(never()) }

// WindowAt is the window of the budget that a moment falls into. Its edges are
// midnights of the budget's time zone, so a day may have 23 or 25 hours.
func (b Budget) WindowAt(at time.Time) Window {
	if b.Period == Once {
		return Window{Start: b.CreatedAt.UTC(), End: never()}
	}
	zone := b.TimeZone
	if zone == nil {
		zone = time.UTC
	}
	y, m, d := at.In(zone).Date()
	var ny, nd int
	var nm time.Month
	switch b.Period {
	case Day:
		ny, nm, nd = y, m, d+1
	case Week:
		d -= (int(at.In(zone).Weekday()) + 6) % 7
		ny, nm, nd = y, m, d+7
	case Quarter:
		m, d = (m-1)/3*3+1, 1
		ny, nm, nd = y, m+3, 1
	case Year:
		m, d = time.January, 1
		ny, nm, nd = y+1, m, 1
	default:
		d = 1
		ny, nm, nd = y, m+1, 1
	}
	return Window{Start: midnight(y, m, d, zone), End: midnight(ny, nm, nd, zone)}
}

// midnight is the first moment of a date. Where a zone's clocks skip midnight,
// that is the moment of the skip.
func midnight(y int, m time.Month, d int, zone *time.Location) time.Time {
	t := time.Date(y, m, d, 0, 0, 0, 0, zone)
	noon := time.Date(y, m, d, 12, 0, 0, 0, zone)
	if t.Day() != noon.Day() { // time.Date fell back to the day before: midnight does not exist
		_, offset := noon.Zone()
		t = time.Date(y, m, d, 0, 0, 0, 0, time.FixedZone("", offset))
		for t.In(zone).Day() != noon.Day() {
			t = t.Add(time.Minute)
		}
	}
	// Where the clocks go back to midnight it comes twice, and time.Date may mean
	// the second.
	_, offset := t.AddDate(0, 0, -1).Zone()
	if first := time.Date(y, m, d, 0, 0, 0, 0, time.FixedZone("", offset)); first.Before(t) && first.In(zone).Day() == noon.Day() {
		t = first
	}
	return t.UTC()
}

// AccountingMonth is the first day of the month that a moment falls into in a
// time zone, as a date in UTC.
func AccountingMonth(at time.Time, zone *time.Location) time.Time {
	y, m, _ := at.In(zone).Date()
	return time.Date(y, m, 1, 0, 0, 0, 0, time.UTC)
}

// DefaultThresholds are the percentages reported where a budget names none.
func DefaultThresholds() []int { return []int{50, 80, 100} }

func (b Budget) check() error {
	set := 0
	for _, s := range []string{b.Scope.ProjectID, b.Scope.APIKeyID, b.Scope.Model} {
		if s != "" {
			set++
		}
	}
	switch {
	case set > 1:
		return fault.New(fault.Unprocessable, "a budget has exactly one scope").At("scope")
	case b.Unit != Money && b.Unit != Tokens && b.Unit != Requests:
		return fault.New(fault.Unprocessable, "the unit is \"money\", \"tokens\" or \"requests\"").At("unit")
	case b.Action != Monitor && b.Action != Warn && b.Action != Block:
		return fault.New(fault.Unprocessable, "the action is \"monitor\", \"warn\" or \"block\"").At("action")
	case b.Amount < 0:
		return fault.New(fault.Unprocessable, "the amount can't be negative").At("amount")
	case len(b.Scope.Model) > 200:
		return fault.New(fault.Unprocessable, "there is no model with so long an id").At("scope.model")
	case naming.Line("scope.model", b.Scope.Model, 200) != nil:
		return naming.Line("scope.model", b.Scope.Model, 200)
	case len(b.Thresholds) > 20:
		return fault.New(fault.Unprocessable, "at most 20 thresholds").At("thresholds")
	}
	switch b.Period {
	case Day, Week, Month, Quarter, Year, Once:
	default:
		return fault.New(fault.Unprocessable, "the period is \"day\", \"week\", \"month\", \"quarter\", \"year\" or \"once\"").At("period")
	}
	for _, t := range b.Thresholds {
		if t < 1 || t > 1000 {
			return fault.New(fault.Unprocessable, "a threshold is a percentage between 1 and 1000").At("thresholds")
		}
	}
	return nil
}

// Amount is what a request of this cost and these tokens takes from a budget of
// the unit.
func (u Unit) Amount(cost money.Nano, tokens pricing.Usage) int64 {
	switch u {
	case Money:
		return int64(cost)
	case Tokens:
		return tokens.Tokens()
	case Requests:
		return 1
	}
	return 0
}
