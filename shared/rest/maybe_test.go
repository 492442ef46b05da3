package rest_test

import (
	"encoding/json"
	"testing"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/aiaas/aiaas/shared/rest"
)

type patch struct {
	Name  rest.Maybe[string]   `json:"name,omitzero"`
	Size  rest.Maybe[int64]    `json:"size,omitzero"`
	Tags  rest.Maybe[[]string] `json:"tags,omitzero"`
	Inner rest.Maybe[inner]    `json:"inner,omitzero"`
}

type inner struct {
	A int `json:"a"`
}

func TestMaybeTellsLeftOutFromNull(t *testing.T) {
	var p patch
	if err := jsonv2.Unmarshal([]byte(`{"name":"n","size":null,"tags":[]}`), &p); err != nil {
		t.Fatal(err)
	}
	if p.Name.Value == nil || *p.Name.Value != "n" || !p.Name.Given || !p.Size.Given || p.Size.Value != nil ||
		!p.Tags.Given || p.Tags.Value == nil || len(*p.Tags.Value) != 0 || p.Inner.Given {
		t.Errorf("%+v", p)
	}
}

// What is inside is read under the rules of the whole.
func TestMaybeIsReadStrictly(t *testing.T) {
	for _, body := range []string{`{"name":7}`, `{"size":"1"}`, `{"size":1.5}`, `{"tags":{}}`, `{"inner":{"a":1,"b":2}}`, `{"inner":{"a":1,"a":2}}`, `{"inner":{"A":1}}`, `{"name":"a","name":null}`} {
		var p patch
		if err := jsonv2.Unmarshal([]byte(body), &p, jsonv2.RejectUnknownMembers(true)); err == nil {
			t.Errorf("%s was read as %+v", body, p)
		}
	}
}

func TestMaybeIsWrittenAsItIsRead(t *testing.T) {
	raw, err := json.Marshal(patch{Name: rest.Some("n"), Size: rest.Maybe[int64]{Given: true}, Inner: rest.Some(inner{A: 1})})
	if err != nil || string(raw) != `{"name":"n","size":null,"inner":{"a":1}}` {
		t.Errorf("%s, %v", raw, err)
	}
}
