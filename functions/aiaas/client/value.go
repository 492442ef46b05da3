package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// value is JSON with the order of its members and the digits of its numbers.
type value struct {
	kind    byte // '{', '[', '"', '0', 't' for both booleans, 'n'
	members []member
	items   []value
	text    string // of a scalar
}

type member struct {
	name  string
	value value
}

// parse reads an answer.
func parse(body []byte) (value, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	v, err := next(dec)
	if err != nil {
		return value{}, fmt.Errorf("read answer: it is not JSON: %w", err)
	}
	return v, nil
}

func next(dec *json.Decoder) (value, error) {
	tok, err := dec.Token()
	if err != nil {
		return value{}, err
	}
	switch t := tok.(type) {
	case json.Delim:
		v := value{kind: t.String()[0]}
		for dec.More() {
			if err := v.grow(dec); err != nil {
				return value{}, err
			}
		}
		_, err := dec.Token()
		return v, err
	case string:
		return value{kind: '"', text: t}, nil
	case json.Number:
		return value{kind: '0', text: t.String()}, nil
	case bool:
		return value{kind: 't', text: fmt.Sprint(t)}, nil
	default:
		return value{kind: 'n'}, nil
	}
}

// grow reads one more member or item.
func (v *value) grow(dec *json.Decoder) error {
	var name string
	if v.kind == '{' {
		tok, err := dec.Token()
		if err != nil {
			return err
		}
		name, _ = tok.(string)
	}
	inner, err := next(dec)
	if err != nil {
		return err
	}
	if v.kind == '{' {
		v.members = append(v.members, member{name, inner})
	} else {
		v.items = append(v.items, inner)
	}
	return nil
}

// at is what stands under a path such as "scope.project_id"; null where nothing
// does.
func (v value) at(path string) value {
	if path == "" {
		return v
	}
	name, rest, _ := strings.Cut(path, ".")
	for _, m := range v.members {
		if m.name == name {
			return m.value.at(rest)
		}
	}
	return value{kind: 'n'}
}

func (v value) isNull() bool { return v.kind == 'n' || v.kind == 0 }

// raw is the value as JSON.
func (v value) raw() []byte {
	var out bytes.Buffer
	v.write(&out)
	return out.Bytes()
}

func (v value) write(out *bytes.Buffer) {
	switch v.kind {
	case '{':
		out.WriteByte('{')
		for i, m := range v.members {
			if i > 0 {
				out.WriteByte(',')
			}
			out.Write(quote(m.name))
			out.WriteByte(':')
			m.value.write(out)
		}
		out.WriteByte('}')
	case '[':
		out.WriteByte('[')
		for i, item := range v.items {
			if i > 0 {
				out.WriteByte(',')
			}
			item.write(out)
		}
		out.WriteByte(']')
	case '"':
		out.Write(quote(v.text))
	case '0', 't':
		out.WriteString(v.text)
	default:
		out.WriteString("null")
	}
}

func quote(s string) []byte {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) //nolint:errchkjson // a text
	return bytes.TrimRight(out.Bytes(), "\n")
}

// leaves are the members of an object that are no objects, by path; lists stay
// whole.
func (v value) leaves(prefix string, out []member) []member {
	for _, m := range v.members {
		if m.value.kind == '{' && len(m.value.members) > 0 {
			out = m.value.leaves(prefix+m.name+".", out)
			continue
		}
		out = append(out, member{prefix + m.name, m.value})
	}
	return out
}
