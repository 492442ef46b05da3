package rest

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Maybe is a member of a body that changes something: left out, it leaves what is;
// null takes it away; a value sets it. Its field has the options omitzero and
// required:"false".
type Maybe[T any] struct {
	Given bool
	Value *T // nil: null
}

// Some is a Maybe that sets a value.
func Some[T any](v T) Maybe[T] { return Maybe[T]{Given: true, Value: &v} }

// UnmarshalJSONFrom implements the interface of that name: the value is read under
// the rules that its body is read by.
func (m *Maybe[T]) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	m.Given, m.Value = true, nil
	if dec.PeekKind() == 'n' {
		if err := dec.SkipValue(); err != nil {
			return fmt.Errorf("read null: %w", err)
		}
		return nil
	}
	m.Value = new(T)
	return jsonv2.UnmarshalDecode(dec, m.Value)
}

var errNotGiven = errors.New("a member that is not given is left out")

// MarshalJSON writes examples.
func (m Maybe[T]) MarshalJSON() ([]byte, error) {
	if !m.Given {
		return nil, errNotGiven
	}
	return json.Marshal(m.Value)
}

// Schema implements [huma.SchemaProvider].
func (Maybe[T]) Schema(r huma.Registry) *huma.Schema {
	s := *r.Schema(reflect.TypeFor[T](), true, "")
	if s.Ref != "" { // null can't stand beside a reference
		s = *r.Schema(reflect.TypeFor[T](), false, "")
	}
	s.Nullable = true
	return &s
}

var _ huma.SchemaProvider = Maybe[string]{}
