package operations

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed" // the page's template and style
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"regexp"
	"slices"
	"strings"
)

//go:embed reference.html
var referenceHTML string

//go:embed reference.css
var referenceCSS string

// renderReference makes the reference page from an OpenAPI document: one page of
// HTML with its style in it, and no script.
func renderReference(document []byte) ([]byte, error) {
	var doc openAPIDocument
	if err := json.Unmarshal(document, &doc); err != nil {
		return nil, fmt.Errorf("read OpenAPI document: %w", err)
	}
	tmpl, err := template.New("reference").Funcs(template.FuncMap{"rich": rich}).Parse(referenceHTML)
	if err != nil {
		return nil, fmt.Errorf("parse template: %w", err)
	}
	var page bytes.Buffer
	err = tmpl.Execute(&page, map[string]any{
		"Info": doc.Info, "Groups": doc.groups(), "Style": template.CSS(referenceCSS), //nolint:gosec // our own file
	})
	if err != nil {
		return nil, fmt.Errorf("write page: %w", err)
	}
	return page.Bytes(), nil
}

// contentPolicy lets the page use its own style and nothing else.
func contentPolicy() string {
	sum := sha256.Sum256([]byte(referenceCSS))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// openAPIDocument is what the page shows of an OpenAPI document.
type openAPIDocument struct {
	Info struct{ Title, Version, Description string }
	Tags []struct{ Name, Description string }

	Paths      map[string]map[string]*docOperation
	Components struct{ Schemas map[string]*docSchema }
}

type docOperation struct {
	OperationID string
	Summary     string
	Description string
	Tags        []string
	Parameters  []docParameter
	RequestBody *docBody
	Responses   map[string]*docBody
	Security    []map[string][]string
}

type docParameter struct {
	Name, In, Description string
	Required              bool
	Schema                *docSchema
	Example               json.RawMessage
}

type docBody struct {
	Description string
	Content     map[string]*docMedia
}

type docMedia struct {
	Schema  *docSchema
	Example json.RawMessage
}

type docSchema struct {
	Ref         string `json:"$ref"`
	Type        any    // a name, or a list of them
	Format      string
	Description string
	Enum        []any
	Default     any
	Minimum     any
	Maximum     any
	Items       *docSchema
	Properties  map[string]*docSchema
	Required    []string
}

// group is the operations of one tag.
type group struct {
	Name, Description, Anchor string
	Operations                []view
}

// view is one operation as the page shows it.
type view struct {
	ID, Method, Path, Summary, Description string
	Public                                 bool
	Parameters, Body                       []field
	Curl                                   string
	Success                                []answer
	Errors                                 []failure
}

type answer struct {
	Status, Text, Media string
	Fields              []field
	Example             string
}

type failure struct{ Status, Text string }

type field struct {
	Name, Type, Description string
	Required                bool
}

func (d *openAPIDocument) groups() []group {
	list := make([]group, len(d.Tags))
	at := map[string]int{}
	for i, t := range d.Tags {
		list[i] = group{Name: t.Name, Description: t.Description, Anchor: "tag-" + anchor(t.Name)}
		at[t.Name] = i
	}
	for path, methods := range d.Paths {
		for method, op := range methods {
			for _, t := range op.Tags {
				i, ok := at[t]
				if !ok {
					i = len(list)
					at[t] = i
					list = append(list, group{Name: t, Anchor: "tag-" + anchor(t)})
				}
				list[i].Operations = append(list[i].Operations, d.view(strings.ToUpper(method), path, op))
			}
		}
	}
	for i := range list {
		slices.SortFunc(list[i].Operations, func(a, b view) int {
			return cmp.Or(cmp.Compare(a.Path, b.Path), -cmp.Compare(a.Method, b.Method))
		})
	}
	return list
}

func anchor(s string) string { return strings.ReplaceAll(strings.ToLower(s), " ", "-") }

func (d *openAPIDocument) view(method, path string, op *docOperation) view {
	v := view{
		ID: op.OperationID, Method: method, Path: path, Summary: op.Summary, Description: op.Description,
		Public: len(op.Security) == 0, Curl: curl(method, path, op),
	}
	for _, p := range op.Parameters {
		f := d.field(p.Name, p.Schema, p.Required)
		f.Type = p.In + ", " + f.Type
		if p.Description != "" {
			f.Description = strings.TrimSpace(p.Description + " " + limits(p.Schema))
		}
		v.Parameters = append(v.Parameters, f)
	}
	if op.RequestBody != nil {
		if m := op.RequestBody.Content["application/json"]; m != nil {
			v.Body = d.fields("", m.Schema, nil)
		}
	}
	for status, body := range op.Responses {
		if status >= "400" {
			v.Errors = append(v.Errors, failure{Status: status, Text: body.Description})
			continue
		}
		v.Success = append(v.Success, d.answers(status, body)...)
	}
	slices.SortFunc(v.Errors, func(a, b failure) int { return cmp.Compare(a.Status, b.Status) })
	slices.SortFunc(v.Success, func(a, b answer) int { return cmp.Or(cmp.Compare(a.Status, b.Status), cmp.Compare(a.Media, b.Media)) })
	return v
}

func (d *openAPIDocument) answers(status string, body *docBody) []answer {
	if len(body.Content) == 0 {
		return []answer{{Status: status, Text: body.Description}}
	}
	list := make([]answer, 0, len(body.Content))
	for media, m := range body.Content {
		list = append(list, answer{
			Status: status, Text: body.Description, Media: media, Fields: d.fields("", m.Schema, nil), Example: pretty(m.Example),
		})
	}
	return list
}

// fields flattens the members of an object, nested ones under dotted names.
func (d *openAPIDocument) fields(prefix string, s *docSchema, within []string) []field {
	s, name := d.resolve(s)
	if s == nil || (name != "" && slices.Contains(within, name)) {
		return nil
	}
	within = append(slices.Clone(within), name)
	names := make([]string, 0, len(s.Properties))
	for n := range s.Properties {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(order(s.Required, a)-order(s.Required, b), cmp.Compare(a, b)) })
	var list []field
	for _, n := range names {
		p := s.Properties[n]
		list = append(list, d.field(prefix+n, p, slices.Contains(s.Required, n)))
		inner, dots := p, "."
		if r, _ := d.resolve(p); r != nil && r.Items != nil {
			inner, dots = r.Items, "[]."
		}
		list = append(list, d.fields(prefix+n+dots, inner, within)...)
	}
	return list
}

func order(required []string, name string) int {
	if i := slices.Index(required, name); i >= 0 {
		return i
	}
	return len(required)
}

func (d *openAPIDocument) resolve(s *docSchema) (schema *docSchema, name string) {
	if s == nil || s.Ref == "" {
		return s, ""
	}
	name = strings.TrimPrefix(s.Ref, "#/components/schemas/")
	return d.Components.Schemas[name], name
}

func (d *openAPIDocument) field(name string, s *docSchema, required bool) field {
	f := field{Name: name, Required: required, Type: d.typeOf(s)}
	if s != nil {
		f.Description = strings.TrimSpace(s.Description + " " + limits(s))
	}
	return f
}

func (d *openAPIDocument) typeOf(s *docSchema) string {
	r, _ := d.resolve(s)
	if r == nil {
		return "any"
	}
	var names []string
	switch t := r.Type.(type) {
	case string:
		names = []string{t}
	case []any:
		for _, n := range t {
			names = append(names, fmt.Sprint(n))
		}
	default:
		return "any"
	}
	for i, n := range names {
		switch {
		case n == "array":
			names[i] = "list of " + d.typeOf(r.Items)
		case n == "string" && r.Format == "date-time":
			names[i] = "time"
		}
	}
	return strings.Join(names, " or ")
}

// limits says what a value must be, in words.
func limits(s *docSchema) string {
	if s == nil {
		return ""
	}
	var parts []string
	if len(s.Enum) > 0 {
		var list []string
		for _, e := range s.Enum {
			list = append(list, "`"+fmt.Sprint(e)+"`")
		}
		parts = append(parts, "One of "+strings.Join(list, ", ")+".")
	}
	switch {
	case s.Minimum != nil && s.Maximum != nil:
		parts = append(parts, fmt.Sprintf("From %v to %v.", s.Minimum, s.Maximum))
	case s.Minimum != nil:
		parts = append(parts, fmt.Sprintf("At least %v.", s.Minimum))
	}
	if s.Default != nil {
		parts = append(parts, fmt.Sprintf("Default `%v`.", s.Default))
	}
	return strings.Join(parts, " ")
}

// curl is a command that works as pasted, once the two variables are set.
func curl(method, path string, op *docOperation) string {
	for _, p := range op.Parameters {
		var example string
		if p.In == "path" && json.Unmarshal(p.Example, &example) == nil {
			path = strings.ReplaceAll(path, "{"+p.Name+"}", example)
		}
	}
	lines := []string{`curl "$AIAAS_URL` + path + `"`}
	if method != "GET" && op.RequestBody == nil {
		lines = append(lines, "-X "+method)
	}
	if len(op.Security) > 0 {
		lines = append(lines, `-H "Authorization: Bearer $AIAAS_KEY"`)
	}
	if op.RequestBody != nil {
		lines = append(lines, `-H "Content-Type: application/json"`)
		if m := op.RequestBody.Content["application/json"]; m != nil && len(m.Example) > 0 {
			lines = append(lines, "-d '"+strings.ReplaceAll(pretty(m.Example), "'", `'\''`)+"'")
		}
	}
	return strings.Join(lines, " \\\n  ")
}

// pretty shows an example: JSON indented, a text as it is.
func pretty(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return strings.TrimRight(text, "\n")
	}
	var out bytes.Buffer
	if json.Indent(&out, raw, "", "  ") != nil {
		return ""
	}
	return out.String()
}

// rich renders the little markdown that descriptions have: paragraphs, `code`
// and **bold**.
func rich(s string) template.HTML {
	var out strings.Builder
	for p := range strings.SplitSeq(strings.TrimSpace(s), "\n\n") {
		p = template.HTMLEscapeString(p)
		p = regexp.MustCompile("`([^`]+)`").ReplaceAllString(p, "<code>$1</code>")
		p = regexp.MustCompile(`\*\*([^*]+)\*\*`).ReplaceAllString(p, "<strong>$1</strong>")
		out.WriteString("<p>" + p + "</p>")
	}
	return template.HTML(out.String()) //nolint:gosec // escaped above
}
