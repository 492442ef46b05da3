package client

import (
	"net/http"
	"strings"
	"time"
)

func usageCommand() command {
	return command{
		use: "usage", short: "Report usage and cost", role: roleAdmin,
		long:    "Sums over the ledger. The last line of the table is their total; as csv there are the rows alone.",
		example: "  aiaas usage --month 2026-10 --group-by model,project\n  aiaas usage --last 7d --bucket day --output csv",
		method:  http.MethodGet, path: "/v1/usage", list: true, prepare: usageRange, show: showUsage,
		flags: []flag{
			{name: "start", doc: "from then on: a date, a time (RFC 3339), or a span such as 24h (default: the first of the month)"},
			{name: "end", doc: "up to then (default: now)"},
			{name: "month", doc: "a whole month: 2026-10"},
			{name: "last", doc: "from so long ago until now: 7d"},
			{name: "bucket", to: "query:bucket", doc: "the length of time of a row", values: []string{"minute", "hour", "day", "month"}},
			{name: "group-by", to: "query:group_by", kind: texts, doc: "a row for each", values: []string{"model", "project", "key"}},
			{name: "date", to: "query:date", doc: "by when a request was served, or the month it is billed in", values: []string{"service", "accounting"}},
			{name: "tz", to: "query:tz", doc: "the time zone of buckets and of --month (default UTC)"},
		},
	}
}

// usageRange makes start and end of whatever names a range.
func usageRange(k *call) error {
	month, last := k.values["month"], k.values["last"]
	ways := 0
	for _, given := range []bool{month.given(), last.given(), k.values["start"].given() || k.values["end"].given()} {
		if given {
			ways++
		}
	}
	switch {
	case ways > 1:
		return Usage("give a range in one way: --month, --last, or --start and --end")
	case month.given():
		return k.wholeMonth(month.text)
	case last.given():
		d, err := span(last.text)
		if err != nil {
			return Usage("--last: %v", err)
		}
		k.query.Set("start", k.env.Now().Add(-d).UTC().Truncate(time.Minute).Format(time.RFC3339))
		return nil
	}
	return between(k)
}

func (k *call) wholeMonth(text string) error {
	zone := time.UTC
	if name := k.query.Get("tz"); name != "" {
		var err error
		if zone, err = time.LoadLocation(name); err != nil {
			return Usage("--tz: there is no time zone %q", name)
		}
	}
	first, err := time.ParseInLocation("2006-01", text, zone)
	if err != nil {
		return Usage("--month is a month such as 2026-10, not %q", text)
	}
	k.query.Set("start", first.Format(time.RFC3339))
	k.query.Set("end", first.AddDate(0, 1, 0).Format(time.RFC3339))
	return nil
}

// between reads --start and --end. A span reaches back from now, to the whole
// minute.
func between(k *call) error {
	for _, name := range []string{"start", "end"} {
		v := k.values[name]
		if !v.given() {
			continue
		}
		at, err := k.moment(v.text, -1)
		if err != nil {
			return Usage("--%s: %v", name, err)
		}
		if _, err := span(v.text); err == nil {
			at = at.Truncate(time.Minute)
		}
		k.query.Set(name, at.UTC().Format(time.RFC3339Nano))
	}
	return nil
}

func showUsage(k *call, v value) error {
	columns := []column{{title: "START", path: "start"}, {title: "END", path: "end"}}
	groups := k.query.Get("group_by")
	for _, g := range []struct{ name, path string }{{"model", "model"}, {"project", "project_id"}, {"key", "api_key_id"}} {
		if strings.Contains(","+groups+",", ","+g.name+",") {
			columns = append(columns, column{title: strings.ToUpper(g.name), path: g.path})
		}
	}
	columns = append(columns,
		column{title: "REQUESTS", path: "requests"}, column{title: "INPUT", path: "input_tokens"}, column{title: "CACHED", path: "cached_input_tokens"},
		column{title: "OUTPUT", path: "output_tokens"}, column{title: "COST", path: "cost_nano", as: amount}, column{title: "CURRENCY", path: "currency"})
	total := v.at("totals")
	total.members = append([]member{{"start", value{kind: '"', text: "TOTAL"}}}, total.members...)
	if err := tabulate(k.cmd.OutOrStdout(), columns, append(v.at("data").items, total)); err != nil {
		return err
	}
	return say(k.cmd.ErrOrStderr(), "Complete until "+plain(v.at("fresh_until"))+".")
}
