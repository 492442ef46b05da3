package audit_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/function"
)

func sealed() (audit.Link, audit.Entry) {
	at := time.Date(2026, 11, 24, 12, 0, 0, 123000, time.FixedZone("CET", 3600))
	l := audit.Link{OrgID: "org_1", Seq: 2, Version: audit.Version, Source: function.Router, AuditID: "aud_1", At: at, SealedAt: at.Add(time.Second)}
	l.Prev[31] = 1
	return l, audit.Entry{
		Source: function.Router, Detail: json.RawMessage(`{"z": 9007199254740993, "a": 1.10, "é": "<\u000a\/>", "list": [ ]}`),
		Record: audit.Record{
			OrgID: "org_1", ID: "aud_1", At: at, Actor: "key_1", Action: "price.publish", Target: "price_1",
			RequestID: "req_1", Address: "2001:db8::1",
		},
	}
}

// TestCanonicalFormOfVersionOne is fixed for ever: what was sealed must verify.
func TestCanonicalFormOfVersionOne(t *testing.T) {
	l, e := sealed()
	got, err := l.Canonical(&e)
	const want = `{"organization_id":"org_1","prev":"0000000000000000000000000000000000000000000000000000000000000001",` +
		`"record":{"action":"price.publish","actor":"key_1","at":"2026-11-24T11:00:00.000123Z",` +
		`"detail":{"a":1.10,"list":[],"z":9007199254740993,"é":"<\n/>"},"id":"aud_1","outcome":"success","request_id":"req_1",` +
		`"source_address":"2001:db8::1","target":"price_1"},"sealed_at":"2026-11-24T11:00:01.000123Z","seq":2,"source":"router","version":1}`
	if err != nil || string(got) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
	sum := sha256.Sum256(got)
	if h := hex.EncodeToString(sum[:]); h != "ab924dcd42dba3bd562c98f0888e1d9fe50b518413c4e8fe8e6f93e2ffd59171" {
		t.Errorf("its hash is %s", h)
	}
}

func TestAHashIsReadAsItIsWritten(t *testing.T) {
	var h, again audit.Hash
	h[0], h[31] = 0xab, 1
	text, err := h.MarshalText()
	if err != nil || again.UnmarshalText(text) != nil || again != h || string(text) != h.String() {
		t.Errorf("%s, %v", text, err)
	}
	for _, bad := range []string{"", "ab", string(text) + "00", "zz" + string(text[2:])} {
		if err := again.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}
