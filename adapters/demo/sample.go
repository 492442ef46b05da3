package demo

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// sampler makes a small document that a JSON schema accepts. It knows what tools
// and structured outputs use: types, required members, enum, const, default,
// bounds, the formats of dates, local references and the first of alternatives.
// It knows no patterns. Its work is bounded, whatever the schema.
type sampler struct {
	root map[string]any
	left int // values that may still be made
}

const (
	sampleValues = 256
	sampleDepth  = 12
	sampleItems  = 8
	sampleText   = 256
)

// sample is the document for a schema as JSON, "{}" where there is no schema.
func sample(schema jsontext.Value) string {
	var root map[string]any
	if len(schema) == 0 || json.Unmarshal(schema, &root) != nil || root == nil {
		return "{}"
	}
	s := &sampler{root: root, left: sampleValues}
	doc, err := json.Marshal(s.value(root, 0), json.Deterministic(true))
	if err != nil {
		return "{}"
	}
	return string(doc)
}

func (s *sampler) value(schema map[string]any, depth int) any {
	s.left--
	if s.left < 0 || depth > sampleDepth {
		return nil
	}
	schema = s.resolve(schema)
	for _, name := range []string{"const", "default"} {
		if v, ok := schema[name]; ok {
			return v
		}
	}
	if values, ok := schema["enum"].([]any); ok && len(values) > 0 {
		return values[0]
	}
	switch typeOf(schema) {
	case "object":
		return s.object(schema, depth)
	case "array":
		return s.array(schema, depth)
	case "string":
		return text(schema)
	case "integer", "number":
		return number(schema)
	case "boolean":
		return true
	}
	return nil
}

// resolve follows references and takes the first alternative, laid over what
// stands beside it.
func (s *sampler) resolve(schema map[string]any) map[string]any {
	for range sampleDepth {
		var next map[string]any
		if ref, ok := schema["$ref"].(string); ok {
			next = s.lookUp(ref)
		}
		for _, name := range []string{"anyOf", "oneOf", "allOf"} {
			if all, ok := schema[name].([]any); ok && len(all) > 0 && next == nil {
				next, _ = all[0].(map[string]any)
			}
		}
		if next == nil {
			return schema
		}
		merged := maps.Clone(schema)
		for _, name := range []string{"$ref", "anyOf", "oneOf", "allOf"} {
			delete(merged, name)
		}
		maps.Copy(merged, next)
		schema = merged
	}
	return schema
}

func (s *sampler) lookUp(ref string) map[string]any {
	path, ok := strings.CutPrefix(ref, "#")
	if !ok {
		return nil
	}
	at := s.root
	for name := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if name == "" {
			continue
		}
		name = strings.NewReplacer("~1", "/", "~0", "~").Replace(name)
		if at, ok = at[name].(map[string]any); !ok {
			return nil
		}
	}
	return at
}

func typeOf(schema map[string]any) string {
	switch t := schema["type"].(type) {
	case string:
		return t
	case []any:
		for _, one := range t {
			if name, ok := one.(string); ok && name != "null" {
				return name
			}
		}
	}
	switch {
	case schema["properties"] != nil:
		return "object"
	case schema["items"] != nil:
		return "array"
	case schema["type"] == nil:
		return "string"
	}
	return "null"
}

// object makes the required members, or all where none is required.
func (s *sampler) object(schema map[string]any, depth int) map[string]any {
	properties, _ := schema["properties"].(map[string]any)
	names := slices.Sorted(maps.Keys(properties))
	if required, ok := schema["required"].([]any); ok {
		names = names[:0]
		for _, r := range required {
			if name, ok := r.(string); ok {
				names = append(names, name)
			}
		}
	}
	doc := map[string]any{}
	for _, name := range names {
		if s.left <= 0 {
			break
		}
		property, ok := properties[name].(map[string]any)
		if !ok {
			property = map[string]any{}
		}
		doc[name] = s.value(property, depth+1)
	}
	return doc
}

func (s *sampler) array(schema map[string]any, depth int) []any {
	items, _ := schema["items"].(map[string]any)
	least, _ := schema["minItems"].(float64)
	list := []any{}
	for range int(min(max(least, 0), sampleItems)) {
		list = append(list, s.value(items, depth+1))
	}
	return list
}

func text(schema map[string]any) string {
	format, _ := schema["format"].(string)
	word := map[string]string{
		"date-time": "2026-01-01T00:00:00Z", "date": "2026-01-01", "time": "00:00:00Z",
		"email": "demo@example.com", "uri": "https://example.com/",
		"uuid": "00000000-0000-4000-8000-000000000000", "ipv4": "192.0.2.1",
	}[format]
	if word == "" {
		word = "demo"
	}
	if least, ok := schema["minLength"].(float64); ok {
		word += strings.Repeat("o", int(max(0, min(least, sampleText)-float64(len(word)))))
	}
	if most, ok := schema["maxLength"].(float64); ok && most >= 0 && most < float64(len(word)) {
		word = word[:int(most)]
	}
	return word
}

// number is 1, moved to where the bounds allow. Whole numbers are written as such.
func number(schema map[string]any) any {
	n := 1.0
	if least, ok := schema["minimum"].(float64); ok {
		n = max(n, least)
	}
	if least, ok := schema["exclusiveMinimum"].(float64); ok && n <= least {
		n = least + 1
	}
	if most, ok := schema["maximum"].(float64); ok {
		n = min(n, most)
	}
	if most, ok := schema["exclusiveMaximum"].(float64); ok && n >= most {
		n = most - 1
	}
	if n == float64(int64(n)) {
		return jsontext.Value(fmt.Sprintf("%d", int64(n)))
	}
	return n
}
