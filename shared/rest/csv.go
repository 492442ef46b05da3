package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/aiaas/aiaas/shared/function"
)

// CSV is the media type in which every list of the management API can be had, besides JSON: the rows of
// the member "data" as RFC 4180 has them, in UTF-8 without a byte order mark,
// records ended by CRLF, the first one the names of the columns.
//
// The columns are the members of a row in the order in which JSON has them; those
// of a nested object are named by their path ("scope.project_id"); a list or a map
// is one cell of JSON. null and what JSON leaves out are empty cells. A text that
// a spreadsheet would run as a formula is written with an apostrophe before it
// (see [Formula]). What stands beside the rows comes as headers: next_cursor as
// X-Next-Cursor and as Link with rel="next", fresh_until as X-Fresh-Until; and
// X-Row-Count says how many rows there are.
const CSV = "text/csv"

// Columns is implemented by the bodies of reports whose rows do not always have
// all members.
type Columns interface {
	// HasColumn tells whether the report has the column.
	HasColumn(name string) bool
}

// table is how a type of body becomes rows.
type table struct {
	file    string
	data    []int // index of the field with the rows
	columns []column
	beside  []member // scalars beside the rows, sent as headers
}

// column is one leaf of a row.
type column struct {
	name  string
	path  [][]int // field indexes, one for each level that may be nil
	omits bool    // JSON leaves it out where it is empty
}

type member struct {
	header string
	index  []int
}

// tableOf is the table of an operation's output; nil where it is no list.
func tableOf(r function.Route, output reflect.Type) *table {
	if r.Method != http.MethodGet || r.DataPlane || output.Kind() != reflect.Struct {
		return nil
	}
	body, ok := output.FieldByName("Body")
	if !ok || body.Type.Kind() != reflect.Struct {
		return nil
	}
	t := &table{file: fileOf(r)}
	for _, f := range reflect.VisibleFields(body.Type) {
		name, _ := jsonName(f)
		switch {
		case name == "":
		case name == "data" && f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct:
			t.data = f.Index
			t.columns = columnsOf(f.Type.Elem(), nil)
		case isScalar(f.Type):
			t.beside = append(t.beside, member{header: headerOf(name), index: f.Index})
		}
	}
	if t.data == nil {
		return nil
	}
	return t
}

// fileOf is the name under which a browser keeps the rows: the last word of the
// path.
func fileOf(r function.Route) string {
	name := "data"
	for part := range strings.SplitSeq(r.Path, "/") {
		if part != "" && !strings.HasPrefix(part, "{") {
			name = part
		}
	}
	return name + ".csv"
}

func headerOf(name string) string {
	return http.CanonicalHeaderKey("x-" + strings.ReplaceAll(name, "_", "-"))
}

// jsonName is the member's name and whether it is left out where it is empty; ""
// for a field that JSON does not show under a name of its own.
func jsonName(f reflect.StructField) (name string, omits bool) {
	tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
	switch {
	case !f.IsExported() || tag == "-" || (f.Anonymous && tag == ""):
		return "", false
	case tag == "":
		tag = f.Name
	}
	return tag, strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
}

func isScalar(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint32, reflect.Uint64:
		return true
	default:
		return t == reflect.TypeFor[time.Time]()
	}
}

// columnsOf lists the leaves of a row's type. Types that contain themselves stay
// one cell.
func columnsOf(t reflect.Type, above []reflect.Type) []column {
	var out []column
	for _, f := range reflect.VisibleFields(t) {
		name, omits := jsonName(f)
		if name == "" {
			continue
		}
		nested := f.Type
		if nested.Kind() == reflect.Pointer {
			nested = nested.Elem()
		}
		if !isObject(nested) || slices.Contains(above, nested) {
			out = append(out, column{name: name, path: [][]int{f.Index}, omits: omits})
			continue
		}
		for _, c := range columnsOf(nested, append(above, t)) {
			out = append(out, column{name: name + "." + c.name, path: append([][]int{f.Index}, c.path...), omits: c.omits})
		}
	}
	return out
}

// isObject tells whether JSON shows the type as an object of its fields.
func isObject(t reflect.Type) bool {
	marshaler, texter := reflect.TypeFor[json.Marshaler](), reflect.TypeFor[interface{ MarshalText() ([]byte, error) }]()
	return t.Kind() == reflect.Struct && t.NumField() > 0 &&
		!t.Implements(marshaler) && !reflect.PointerTo(t).Implements(marshaler) && !t.Implements(texter)
}

// names is the first record.
func (t *table) names() string {
	list := make([]string, len(t.columns))
	for i, c := range t.columns {
		list[i] = c.name
	}
	return strings.Join(list, ",") + "\r\n"
}

// csvBody is an answer that is written as it is.
type csvBody []byte

// list is the transformer of successful answers.
func (a *API) list(ctx huma.Context, _ string, v any) (any, error) {
	if f, ok := v.(Filed); ok {
		ctx.AppendHeader("Vary", "Accept")
		if file := f.AsFile(); file != nil {
			return file.answer(ctx), nil
		}
		return v, nil
	}
	t := a.tables[ctx.Operation().OperationID]
	if _, refused := v.(error); refused || t == nil {
		return v, nil
	}
	return t.answer(ctx, v)
}

// answer turns a list into rows where the request prefers them.
func (t *table) answer(ctx huma.Context, v any) (any, error) {
	ctx.AppendHeader("Vary", "Accept")
	if !prefersCSV(ctx.Header("Accept")) {
		return v, nil
	}
	body := reflect.ValueOf(v)
	out, err := t.encode(body)
	if err != nil {
		return nil, err
	}
	ctx.SetHeader("Content-Type", CSV+"; charset=utf-8; header=present")
	ctx.SetHeader("Content-Disposition", `attachment; filename="`+t.file+`"`)
	ctx.SetHeader("X-Row-Count", strconv.Itoa(body.FieldByIndex(t.data).Len()))
	t.headers(ctx, body)
	return csvBody(out), nil
}

func (t *table) headers(ctx huma.Context, body reflect.Value) {
	for _, m := range t.beside {
		text, err := cell(body.FieldByIndex(m.index))
		if err != nil || text.value == "" || strings.ContainsFunc(text.value, func(r rune) bool { return r < ' ' || r > '~' }) {
			continue // no header can hold it
		}
		ctx.SetHeader(m.header, text.value)
		if m.header == "X-Next-Cursor" {
			u := ctx.URL()
			q := u.Query()
			q.Set("cursor", text.value)
			ctx.SetHeader("Link", "<"+u.EscapedPath()+"?"+q.Encode()+`>; rel="next"`)
		}
	}
}

func (t *table) encode(body reflect.Value) ([]byte, error) {
	has := func(string) bool { return true }
	if c, ok := reflect.TypeAssert[Columns](body); ok {
		has = c.HasColumn
	}
	var out []byte
	var shown []column
	for _, c := range t.columns {
		if !has(c.name) {
			continue
		}
		out = append(append(out, Cell(c.name)...), ',')
		shown = append(shown, c)
	}
	out = endRecord(out)
	rows := body.FieldByIndex(t.data)
	for i := range rows.Len() {
		for _, c := range shown {
			text, err := c.of(rows.Index(i))
			if err != nil {
				return nil, fmt.Errorf("write column %s: %w", c.name, err)
			}
			out = append(append(out, Cell(text)...), ',')
		}
		out = endRecord(out)
	}
	return out, nil
}

// of is the column's cell in a row.
func (c *column) of(row reflect.Value) (string, error) {
	for i, index := range c.path {
		v, err := row.FieldByIndexErr(index)
		if err != nil { // in an embedded object that is not there
			return "", nil //nolint:nilerr // then the row does not have it
		}
		row = v
		if i == len(c.path)-1 {
			break
		}
		if row.Kind() == reflect.Pointer {
			if row.IsNil() {
				return "", nil
			}
			row = row.Elem()
		}
	}
	if c.omits && isEmpty(row) {
		return "", nil
	}
	text, err := cell(row)
	if text.isText {
		return Text(text.value), err
	}
	return text.value, err
}

func isEmpty(v reflect.Value) bool {
	return v.IsZero() || (v.Kind() == reflect.Slice || v.Kind() == reflect.Map) && v.Len() == 0
}

type cellText struct {
	value  string
	isText bool // not a number, which no spreadsheet runs
}

// cell is a leaf as JSON shows it, without the quotes of a text.
func cell(v reflect.Value) (cellText, error) {
	if v.Kind() == reflect.Pointer || v.Kind() == reflect.Slice || v.Kind() == reflect.Map {
		if v.IsNil() {
			return cellText{}, nil
		}
	}
	raw, err := json.Marshal(v.Interface())
	if err != nil {
		return cellText{}, fmt.Errorf("encode cell: %w", err)
	}
	text := string(raw)
	switch {
	case text == "null":
		return cellText{}, nil
	case strings.HasPrefix(text, `"`):
		if err := json.Unmarshal(raw, &text); err != nil {
			return cellText{}, fmt.Errorf("decode cell: %w", err)
		}
		return cellText{value: text, isText: true}, nil
	}
	return cellText{value: text}, nil
}

// Text is a text as a cell shows it: with an apostrophe where it is a [Formula].
func Text(s string) string {
	if Formula(s) {
		return "'" + s
	}
	return s
}

// Cell quotes a cell where RFC 4180 demands it, and where spaces at its ends would
// be lost in some readers.
func Cell(text string) string {
	if text == "" || !strings.ContainsAny(text, "\",\r\n") && strings.TrimSpace(text) == text {
		return text
	}
	return `"` + strings.ReplaceAll(text, `"`, `""`) + `"`
}

// endRecord puts the line's end in the place of its last comma.
func endRecord(out []byte) []byte {
	return append(bytes.TrimSuffix(out, []byte(",")), "\r\n"...)
}

// Formula tells whether a spreadsheet may run a text as a formula: it begins with
// = + - @, also as a full-width form, after spaces, quotes or what can't be seen;
// or with a tab or line break, which import dialogues split at. A plain negative
// number is none. An apostrophe before such a text makes it a text, and can be
// taken off again: what begins with an apostrophe and has a formula after it was
// written so.
func Formula(text string) bool {
	rest := strings.TrimLeftFunc(text, func(r rune) bool { return skipped(r) && !breaks(r) })
	if rest == "" {
		return false
	}
	switch first := []rune(rest[:min(len(rest), 4)])[0]; first {
	case '-':
		_, err := strconv.ParseFloat(rest, 64)
		return err != nil || strings.Trim(rest[1:], "0123456789.") != ""
	case '=', '+', '@', '＝', '＋', '－', '＠', '﹦', '﹢', '﹣', '﹫', '−':
		return true
	default:
		return breaks(first)
	}
}

func breaks(r rune) bool { return r == '\t' || r == '\r' || r == '\n' }
