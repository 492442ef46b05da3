package audit_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aiaas/aiaas/adapters/blob"
	"github.com/aiaas/aiaas/adapters/open/access"
	auditfunction "github.com/aiaas/aiaas/functions/audit"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
)

func (p *platform) ring() audit.Ring {
	p.t.Helper()
	key, err := audit.ParsePublicKey(member[string](items(p.get("/v1/audit/keys", p.tenants[one]["auditor"], 200))[0], "public_key"))
	if err != nil {
		p.t.Fatal(err)
	}
	return audit.NewRing(key)
}

func (p *platform) export(query string) []byte {
	p.t.Helper()
	w := p.do(http.MethodGet, "/v1/audit/export"+query, p.tenants[one]["auditor"], "")
	if w.Code != 200 || w.Header().Get("Content-Type") != audit.NDJSON {
		p.t.Fatalf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	return w.Body.Bytes()
}

func check(t *testing.T, text []byte, ring audit.Ring) (audit.Report, *audit.Trailer) {
	t.Helper()
	r, trailer, err := audit.VerifyExport(bytes.NewReader(text), ring)
	if err != nil {
		t.Fatal(err)
	}
	return r, trailer
}

func TestAnExportIsProvenWithoutThePlatform(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	ring := p.ring()
	if r, trailer := check(t, p.export(""), ring); !r.Valid() || r.Checked != 0 || trailer.Count != 0 {
		t.Errorf("an empty one: %+v", r)
	}
	const records = 1200 // more than two pages
	for i := range records {
		p.record(one)
		if i%100 == 0 {
			p.record(two)
		}
	}
	p.sealAll()
	p.record(one) // not sealed yet
	text := p.export("")
	r, trailer := check(t, text, ring)
	if !r.Valid() || r.Checked != records || r.From != 1 || r.To != records || trailer.Head == nil || trailer.Head.Seq != records || trailer.OrgID != one {
		t.Fatalf("%+v %+v %+v", r, r.FirstBad, trailer)
	}
	if bytes.Contains(text, []byte(two)) {
		t.Error("it has another organisation's records")
	}
	later := p.export("?after_seq=1190")
	if r, trailer := check(t, later, ring); !r.Valid() || r.From != 1191 || r.Checked != 10 || trailer.Prev != p.link(one, 1190).Hash {
		t.Errorf("what followed: %+v", r)
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	for name, c := range map[string]struct {
		change func([][]byte) [][]byte
		want   want
	}{
		"a record changed": {func(l [][]byte) [][]byte {
			l[600] = bytes.Replace(l[600], []byte(`"share":0.1`), []byte(`"share":0.2`), 1)
			return l
		}, want{601, "", audit.RecordChanged}},
		"a number past a double": {func(l [][]byte) [][]byte {
			l[0] = bytes.Replace(l[0], []byte("9007199254740993"), []byte("9007199254740992"), 1)
			return l
		}, want{1, "", audit.RecordChanged}},
		"a line removed":         {func(l [][]byte) [][]byte { return append(l[:7], l[8:]...) }, want{8, "", audit.LinkMissing}},
		"the first line removed": {func(l [][]byte) [][]byte { return l[1:] }, want{0, "", audit.ExportChanged}},
		"the last line removed":  {func(l [][]byte) [][]byte { return append(l[:records-1], l[records:]...) }, want{0, "", audit.ExportChanged}},
		"lines swapped":          {func(l [][]byte) [][]byte { l[3], l[4] = l[4], l[3]; return l }, want{4, "", audit.LinkMissing}},
		"a line twice":           {func(l [][]byte) [][]byte { l[4] = l[3]; return l }, want{5, "", audit.LinkMissing}},
		"the trailer removed":    {func(l [][]byte) [][]byte { return l[:records] }, want{0, "", audit.ExportCut}},
		"the trailer broken off": {func(l [][]byte) [][]byte { l[records] = l[records][:200]; return l }, want{0, "", audit.ExportChanged}},
		"the trailer changed": {func(l [][]byte) [][]byte {
			l[records] = bytes.Replace(l[records], []byte(`"count":1200`), []byte(`"count":1201`), 1)
			return l
		}, want{0, "", audit.ExportChanged}},
		"another export's trailer": {func(l [][]byte) [][]byte {
			l[records] = later[bytes.LastIndex(later[:len(later)-1], []byte("\n"))+1:]
			return l
		}, want{0, "", audit.ExportChanged}},
		"something after the trailer": {func(l [][]byte) [][]byte { return append(l, l[0]) }, want{0, "", audit.ExportCut}},
		"a member that nobody knows": {func(l [][]byte) [][]byte {
			l[2] = bytes.Replace(l[2], []byte(`{"hash"`), []byte(`{"extra":1,"hash"`), 1)
			return l
		}, want{3, "", audit.ExportChanged}},
		"white space between records": {func(l [][]byte) [][]byte { l[2] = append([]byte(" "), l[2]...); return l }, want{0, "", audit.ExportChanged}},
		"nothing":                     {func([][]byte) [][]byte { return nil }, want{0, "", audit.ExportCut}},
	} {
		copied := make([][]byte, 0, len(lines))
		for _, l := range lines {
			copied = append(copied, bytes.Clone(l))
		}
		r, _ := check(t, bytes.Join(c.change(copied[:records+1]), nil), ring)
		if r.Valid() || r.FirstBad.Seq != c.want.seq || r.FirstBad.Reason != c.want.reason {
			t.Errorf("%s: %+v; want %+v", name, r.FirstBad, c.want)
		}
	}
	stranger, err := audit.NewSigner(bytes.Repeat([]byte{9}, audit.SeedSize))
	if err != nil {
		t.Fatal(err)
	}
	if r, _ := check(t, text, audit.NewRing(stranger.Public())); r.Valid() {
		t.Error("a stranger's key proves it")
	}
}

// TestAnExportShowsWhatWasTamperedWith: it is written as it is, and its reader finds it.
func TestAnExportShowsWhatWasTamperedWith(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	for range 9 {
		p.record(one)
	}
	p.sealAll()
	ring := p.ring()
	edit("target", "other")(p.world, 3)
	if r, _ := check(t, p.export(""), ring); r.Valid() || r.FirstBad.Seq != 3 || r.FirstBad.Reason != audit.RecordChanged || r.FirstBad.AuditID != p.link(one, 3).AuditID {
		t.Errorf("%+v", r.FirstBad)
	}
	l := p.link(one, 2)
	p.removeRecord(&l)
	if r, _ := check(t, p.export(""), ring); r.Valid() || r.FirstBad.Seq != 2 || r.FirstBad.Reason != audit.RecordMissing {
		t.Errorf("%+v", r.FirstBad)
	}
}

// TestAnExportOfAChainThatWasComputedAnewIsFound: it hangs together, and only the
// signed heads tell.
func TestAnExportOfAChainThatWasComputedAnewIsFound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		harm func(w *world)
		want want
	}{
		"a record changed": {func(w *world) {
			edit("actor", "key_somebody_else")(w, 3)
			w.rewrite(one, 3)
		}, want{1, "", audit.ChainRewritten}},
		"and its head removed": {func(w *world) {
			edit("actor", "key_somebody_else")(w, 3)
			w.rewrite(one, 3)
			w.remove(w.heads(one)[2])
		}, want{1, "", audit.HeadMissing}},
		"and an older head noted": {func(w *world) {
			edit("actor", "key_somebody_else")(w, 8)
			w.rewrite(one, 8)
			w.tamper(function.Accounts, `UPDATE accounts.audit_chains SET head_seq = 6 WHERE org_id = $1`, one)
		}, want{7, "", audit.HeadMissing}},
		"the tail cut": {func(w *world) {
			w.removeRange(8, 9)
		}, want{8, "", audit.TailCut}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			p.fillByJob(9, 3)
			p.clock.advance(2 * audit.HeadGrace)
			ring := p.ring()
			if r, _ := check(t, p.export(""), ring); !r.Valid() {
				t.Fatalf("before: %+v", r.FirstBad)
			}
			w := *p.world
			w.folder = filepath.Join(p.data, "files")
			store, err := blob.OpenFolder(w.folder)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = store.Close() }()
			w.files = store
			c.harm(&w)
			if r, _ := check(t, p.export(""), ring); r.Valid() || r.FirstBad.Reason != c.want.reason || r.FirstBad.Seq != c.want.seq {
				t.Errorf("%+v; want %+v", r.FirstBad, c.want)
			}
		})
	}
}

// fillByJob is fill by the function's own job and key.
func (p *platform) fillByJob(n, batch int) {
	p.t.Helper()
	for i := range n {
		p.record(one)
		if (i+1)%batch == 0 {
			p.sealAll()
		}
	}
}

// TestTheHeadOfAnExportIsChecked has trailers that are rightly signed around heads
// that are not right: of another organisation, or edited.
func TestTheHeadOfAnExportIsChecked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill(one, 6, 3)
	w.fill(two, 6, 3)
	for name, c := range map[string]struct {
		change func(x *swapped)
		want   audit.Reason
	}{
		"as it is":             {func(*swapped) {}, ""},
		"another organisation": {func(x *swapped) { x.org = two }, audit.HeadForged},
		"an older place":       {func(x *swapped) { x.seq = 3 }, ""},
		"another hash": {func(x *swapped) {
			x.edit = func(head []byte) []byte {
				return bytes.Replace(head, []byte(hexOf(w.link(one, 6).Hash)), []byte(hexOf(w.link(one, 5).Hash)), 1)
			}
		}, audit.HeadForged},
	} {
		x := &swapped{org: one, seq: 6, edit: func(head []byte) []byte { return head }}
		c.change(x)
		r, _ := check(t, w.exportWith(x), audit.NewRing(w.signer.Public()))
		if got := r.FirstBad; (got == nil) != (c.want == "") || (got != nil && got.Reason != c.want) {
			t.Errorf("%s: %+v; want %q", name, got, c.want)
		}
	}
}

// swapped says which head an export's trailer is to have.
type swapped struct {
	org  string
	seq  int64
	edit func(head []byte) []byte
}

// exportWith is an export of the first organisation, signed by the world's key.
func (w *world) exportWith(x *swapped) []byte {
	w.t.Helper()
	var out bytes.Buffer
	s := &audit.Service{Verifier: w.verifier, Signer: w.signer, Now: w.clock.Now}
	p := authz.Principal{OrgID: one, KeyID: "key_1", OwnerID: "user_1", Role: authz.Owner, Scopes: authz.Scopes(), Method: authz.ByKey}
	export, err := s.Export(w.t.Context(), p, "", 0)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := export.Write(w.t.Context(), &out); err != nil {
		w.t.Fatal(err)
	}
	body, err := os.ReadFile(w.path(fmt.Sprintf("audit-heads/%s/%020d.json", x.org, x.seq)))
	if err != nil {
		w.t.Fatal(err)
	}
	return w.resigned(out.Bytes(), x.edit(body))
}

// resigned puts another head into an export's trailer and signs that anew.
func (w *world) resigned(text, head []byte) []byte {
	w.t.Helper()
	at := bytes.LastIndex(text[:len(text)-1], []byte("\n")) + 1
	var line struct {
		Trailer map[string]any `json:"trailer"`
	}
	if err := json.Unmarshal(text[at:], &line); err != nil {
		w.t.Fatal(err)
	}
	delete(line.Trailer, "signature")
	line.Trailer["head"] = json.RawMessage(head)
	bare, err := json.Marshal(line.Trailer) // members sorted, no white space, and nothing that would be escaped
	if err != nil {
		w.t.Fatal(err)
	}
	seed := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, audit.SeedSize))
	line.Trailer["signature"] = ed25519.Sign(seed, bare)
	signed, err := json.Marshal(line)
	if err != nil {
		w.t.Fatal(err)
	}
	return append(append(bytes.Clone(text[:at]), signed...), '\n')
}

// TestALineIsCheckedByItsOwnBytes needs no library for canonical JSON.
func TestALineIsCheckedByItsOwnBytes(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.record(one)
	p.record(one)
	p.sealAll()
	prev := strings.Repeat("00", 32)
	for _, line := range bytes.SplitAfter(p.export(""), []byte("\n"))[:2] {
		var l struct {
			Hash string          `json:"hash"`
			Link json.RawMessage `json:"link"`
		}
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatal(err)
		}
		if got := hexOf(sum(l.Link)); got != l.Hash || !bytes.Contains(l.Link, []byte(`"prev":"`+prev+`"`)) {
			t.Errorf("%s: %s after %s", line, got, prev)
		}
		prev = l.Hash
	}
}

// failing is a chain that can be read to its second page.
type failing struct {
	audit.ChainReader
	pages int
}

func (f *failing) Links(ctx context.Context, org string, after int64, most int) ([]audit.Link, error) {
	if f.pages--; f.pages < 0 {
		return nil, fault.Wrap(fault.Unavailable, "query chain", errCrash)
	}
	return f.ChainReader.Links(ctx, org, after, most)
}

// TestAnExportThatBreaksOffDoesNotLookWhole reads it through a real connection.
func TestAnExportThatBreaksOffDoesNotLookWhole(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	for range 1100 {
		p.record(one)
	}
	p.sealAll()
	for pages, want := range map[int]int{0: 503, 2: 200} {
		verifier := *p.verifier
		verifier.Chain = &failing{p.chain, pages}
		status, body, err := p.exportOver(&verifier)
		if status != want || (want == 200) != (err != nil) || (want == 200 && bytes.Contains(body, []byte("trailer"))) {
			t.Errorf("after %d pages: %d, %d bytes, %v", pages, status, len(body), err)
		}
	}
	if status, body, err := p.exportOver(p.verifier); status != 200 || err != nil || !bytes.Contains(body, []byte("trailer")) {
		t.Errorf("a whole one: %d, %d bytes, %v", status, len(body), err)
	}
}

// exportOver serves the export of a verifier's chain and reads it to its end.
func (p *platform) exportOver(v *audit.Verifier) (status int, body []byte, err error) {
	p.t.Helper()
	auth, err := access.Authenticator(p.t.Context(), p.env)
	if err != nil {
		p.t.Fatal(err)
	}
	server := httptest.NewServer(auditfunction.New(&audit.Service{Verifier: v, Signer: p.signer, Now: p.clock.Now}, auth, p.env.Log))
	defer server.Close()
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, server.URL+"/v1/audit/export", http.NoBody)
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+p.tenants[one]["auditor"])
	resp, err := server.Client().Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}
