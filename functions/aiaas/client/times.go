package client

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// moment reads a time: RFC 3339, a date in UTC, or a span from now on (direction
// 1) or back (-1).
func (k *call) moment(text string, direction int) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	d, err := span(text)
	if err != nil {
		return time.Time{}, err
	}
	return k.env.Now().Add(time.Duration(direction) * d), nil
}

// span reads 30m, 12h, 7d or 2w; a day has 24 hours.
func span(text string) (time.Duration, error) {
	unit := time.Duration(0)
	switch {
	case strings.HasSuffix(text, "d"):
		unit = 24 * time.Hour
	case strings.HasSuffix(text, "w"):
		unit = 7 * 24 * time.Hour
	}
	const most = 100 * 366 * 24 * time.Hour
	if unit > 0 {
		n, err := strconv.ParseUint(text[:len(text)-1], 10, 32)
		if err != nil || n == 0 || time.Duration(n) > most/unit {
			return 0, fmt.Errorf("%q is no time and no span such as 12h or 7d", text)
		}
		return time.Duration(n) * unit, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > most {
		return 0, fmt.Errorf("%q is no time and no span such as 12h or 7d", text)
	}
	return d, nil
}
