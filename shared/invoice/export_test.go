package invoice

// Round shows the rounding of a month's lines.
func Round(lines []Line, currency string) (Figures, error) { return round(lines, coin(currency)) }
