package keys

import (
	"context"
	"time"

	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/rest"
)

// LeakedAPIKey is the body that reports a key.
type LeakedAPIKey struct {
	Key    string `json:"key" minLength:"1" maxLength:"4096" doc:"The key that was found."`
	Source string `json:"source,omitempty" maxLength:"500" example:"https://example.com/commit/1" doc:"Where it was found; shown to its organization."`
}

// LeakReport is the answer to every report.
type LeakReport struct {
	Status string `json:"status" enum:"accepted"`
}

type leakInput struct{ Body LeakedAPIKey }

type leakOutput struct{ Body LeakReport }

// revokeLeaked is public: nobody calls, but from somewhere.
func (h *handlers) revokeLeaked(ctx context.Context, p authz.Principal, in *leakInput) (*leakOutput, error) {
	err := h.svc.RevokeLeaked(ctx, apikey.Leak{Key: in.Body.Key, Source: in.Body.Source, Address: p.Address})
	if err != nil {
		return nil, err
	}
	return &leakOutput{Body: LeakReport{Status: "accepted"}}, nil
}

// KeyPattern tells how keys are recognized.
type KeyPattern struct {
	Pattern  string      `json:"pattern" doc:"A regular expression (RE2, PCRE) that finds keys."`
	Prefixes []KeyPrefix `json:"prefixes" nullable:"false"`
	Checksum KeyChecksum `json:"checksum"`
	Examples KeyExamples `json:"examples"`
	Report   KeyReport   `json:"report"`
}

// KeyPrefix is what keys of an environment begin with.
type KeyPrefix struct {
	Prefix      string `json:"prefix"`
	Environment string `json:"environment" enum:"production,development"`
}

// KeyChecksum tells real keys from look-alikes.
type KeyChecksum struct {
	Algorithm   string `json:"algorithm"`
	Alphabet    string `json:"alphabet" doc:"The digits of base 62, from zero."`
	Length      int    `json:"length" doc:"How many characters of the key's end it is."`
	Description string `json:"description"`
}

// KeyExamples are to test a scanner with; none is anybody's key.
type KeyExamples struct {
	Valid   []string `json:"valid" nullable:"false" doc:"They match, and their checksum is right."`
	Invalid []string `json:"invalid" nullable:"false" doc:"They match, and their checksum is wrong: not keys."`
}

// KeyReport says where a key that was found is reported.
type KeyReport struct {
	Method string `json:"method"`
	Path   string `json:"path" doc:"On the server that this answer came from."`
	Body   string `json:"body" doc:"The body's form."`
}

func pattern() KeyPattern {
	valid := apikey.Example().Reveal()
	wrong := valid[:len(valid)-1] + "0"
	if wrong == valid {
		wrong = valid[:len(valid)-1] + "1"
	}
	return KeyPattern{
		Pattern: apikey.Pattern,
		Prefixes: []KeyPrefix{
			{apikey.Production.Prefix(), string(apikey.Production)}, {apikey.Development.Prefix(), string(apikey.Development)},
		},
		Checksum: KeyChecksum{
			Algorithm: "CRC-32 (IEEE 802.3)", Alphabet: apikey.Alphabet, Length: apikey.ChecksumLen,
			Description: "The last 6 characters are the CRC-32 of all before them, prefix included, as an unsigned number in base 62, filled up with zeros on the left.",
		},
		Examples: KeyExamples{Valid: []string{valid}, Invalid: []string{wrong}},
		Report:   KeyReport{Method: "POST", Path: "/v1/api-keys/revoke-leaked", Body: `{"key":"…","source":"where it was found"}`},
	}
}

type patternOutput struct{ Body KeyPattern }

func (h *handlers) pattern(context.Context, authz.Principal, *struct{}) (*patternOutput, error) {
	return &patternOutput{Body: pattern()}, nil
}

func exampleRequest() NewAPIKey {
	perMinute := int64(600)
	return NewAPIKey{Name: "search service", Scopes: []string{"inference", "models:read"}, Limits: KeyLimits{RequestsPerMinute: &perMinute}}
}

func exampleChange() ChangedAPIKey {
	return ChangedAPIKey{Name: rest.Some("search service"), IPAllowList: rest.Some([]string{"127.0.0.0/8", "192.0.2.0/24"})}
}

func exampleCreated() CreatedAPIKey {
	perMinute := int64(600)
	at := time.Date(2026, 10, 1, 9, 0, 0, 0, time.UTC)
	return CreatedAPIKey{
		Key: "aiaas_live_…",
		APIKey: APIKey{
			ID: "key_0199c0b2f3a47c1e8d6a5b4c3d2e1f00", Name: "search service", Fingerprint: "aiaas_live_5f2a9c01d4e7",
			Kind: "personal", OwnerID: "user_0199c0b2f3a47c1e8d6a5b4c3d2e1f03",
			Environment: "production", State: "active", Scopes: []string{"inference", "models:read"}, IPAllowList: []string{},
			ProjectID: "proj_0199c0b2f3a47c1e8d6a5b4c3d2e1f01", Limits: KeyLimits{RequestsPerMinute: &perMinute},
			Rotation:  KeyRotation{DueAt: new(at.Add(apikey.Production.RotateAfter()))},
			CreatedBy: "key_0199c0b2f3a47c1e8d6a5b4c3d2e1f02", CreatedAt: at, SecretSetAt: at,
		},
	}
}

func exampleRotated() CreatedAPIKey {
	k := exampleCreated()
	k.State, k.SecretSetAt = "rotating", k.SecretSetAt.AddDate(0, 2, 0)
	k.Rotation.DueAt, k.PreviousUntil = new(k.SecretSetAt.Add(apikey.Production.RotateAfter())), new(k.SecretSetAt.Add(apikey.DefaultOverlap))
	return k
}
