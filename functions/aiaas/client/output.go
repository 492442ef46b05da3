package client

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/rest"
)

// column is a column of a table: its title, and where its cells stand in an item.
type column struct {
	title string
	path  string
	as    func(value) string // nil: as it is
}

// cell is a value as a table shows it.
func (c *column) cell(item value) string {
	v := item.at(c.path)
	if c.as != nil && !v.isNull() {
		return printable(c.as(v))
	}
	if at, err := time.Parse(time.RFC3339Nano, v.text); err == nil && v.kind == '"' {
		return at.Format(time.RFC3339) // a second is enough in a list
	}
	return plain(v)
}

// plain shows any value in a line.
func plain(v value) string {
	switch v.kind {
	case '[':
		words := make([]string, len(v.items))
		for i, item := range v.items {
			words[i] = plain(item)
		}
		if len(words) > 0 {
			return strings.Join(words, ",")
		}
	case '{':
		words := make([]string, len(v.members))
		for i, m := range v.members {
			words[i] = printable(m.name) + "=" + plain(m.value)
		}
		if len(words) > 0 {
			return strings.Join(words, " ")
		}
	case 't':
		return map[string]string{"true": "yes", "false": "no"}[v.text]
	default:
		if v.text != "" {
			return printable(v.text)
		}
	}
	return "-"
}

// amount shows nano units as a decimal.
func amount(v value) string { return decimal(v.text) }

// howMany counts a list.
func howMany(v value) string { return strconv.Itoa(len(v.items)) }

// table prints the items of a list.
func (k *call) table(w io.Writer, items []value) error {
	if len(items) == 0 {
		return say(k.cmd.ErrOrStderr(), "There are none.")
	}
	return tabulate(w, k.columns, items)
}

func tabulate(w io.Writer, columns []column, items []value) error {
	g := &grid{titles: make([]string, len(columns)), right: make([]bool, len(columns))}
	for i := range columns {
		g.titles[i] = columns[i].title
		g.right[i] = len(items) > 0
	}
	for _, item := range items {
		row := make([]string, len(columns))
		for i := range columns {
			row[i] = columns[i].cell(item)
			g.right[i] = g.right[i] && isNumber(row[i])
		}
		g.rows = append(g.rows, row)
	}
	return g.print(w)
}

// isNumber tells whether a cell reads as a number, which stands to the right.
func isNumber(s string) bool {
	return s == "-" || s != "" && strings.Trim(s, "0123456789.-") == "" && strings.Count(s, ".") < 2 && strings.LastIndex(s, "-") < 1
}

// detail prints one thing: a line for each of its members, and its lists as tables.
func (k *call) detail(w io.Writer, v value) error {
	inSection := map[string]bool{}
	for _, s := range k.sections {
		inSection[s.path] = true
	}
	var names, texts []string
	longest := 0
	for _, m := range v.leaves("", nil) {
		if inSection[m.name] {
			continue
		}
		names, texts = append(names, printable(m.name)), append(texts, plain(m.value))
		longest = max(longest, width(names[len(names)-1]))
	}
	for i, name := range names {
		if err := say(w, name+strings.Repeat(" ", longest-width(name)+2)+texts[i]); err != nil {
			return err
		}
	}
	for _, s := range k.sections {
		items := v.at(s.path).items
		if len(items) == 0 {
			continue
		}
		if err := say(w, ""); err != nil {
			return err
		}
		if err := tabulate(w, s.columns, items); err != nil {
			return err
		}
	}
	return nil
}

// printCSV prints what the service gives as JSON only: a list by the union of its
// items' members, anything else as one row.
func (v value) printCSV(w io.Writer) error {
	items := []value{v}
	if data := v.at("data"); data.kind == '[' {
		items = data.items
	}
	var names []string
	at := map[string]int{}
	rows := make([]map[string]string, len(items))
	for i, item := range items {
		rows[i] = map[string]string{}
		for _, m := range item.leaves("", nil) {
			if _, known := at[m.name]; !known {
				at[m.name] = len(names)
				names = append(names, m.name)
			}
			rows[i][m.name] = m.value.csvCell()
		}
	}
	return writeCSV(w, names, rows)
}

func writeCSV(w io.Writer, names []string, rows []map[string]string) error {
	var out bytes.Buffer
	record := func(cell func(name string) string) {
		for i, name := range names {
			if i > 0 {
				out.WriteByte(',')
			}
			out.WriteString(rest.Cell(cell(name)))
		}
		out.WriteString("\r\n")
	}
	record(func(name string) string { return name })
	for _, row := range rows {
		record(func(name string) string { return row[name] })
	}
	_, err := w.Write(out.Bytes())
	return wrapped("write rows", err)
}

// csvCell is the value as a cell of CSV; see [rest.CSV].
func (v value) csvCell() string {
	switch v.kind {
	case '"':
		return rest.Text(v.text)
	case '0', 't':
		return v.text
	case '[', '{':
		return string(v.raw())
	}
	return ""
}

// Print shows what JSON can hold as json or csv.
func Print(w io.Writer, format string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return wrapped("encode output", err)
	}
	if format == formatJSON {
		return indented(w, raw)
	}
	shown, err := parse(raw)
	if err != nil {
		return err
	}
	if shown.kind == '[' {
		shown = value{kind: '{', members: []member{{"data", shown}}}
	}
	return shown.printCSV(w)
}
