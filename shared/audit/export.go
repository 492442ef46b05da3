package audit

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
)

// NDJSON is the media type of an export: a JSON document in each line.
//
// Each line but the last is {"hash":…,"link":…}, a record with its place in the
// chain: the SHA-256 of the member link, as it stands there, is the hash, and the
// next line's link.prev (see [Link.Canonical]). The last line is {"trailer":…}, a
// [Trailer].
const NDJSON = "application/x-ndjson"

// Trailer is the signed end of an export. The signature covers the trailer in the
// form of RFC 8785 without its member "signature".
type Trailer struct {
	At        time.Time `json:"at"`
	Count     int64     `json:"count"`
	From      int64     `json:"from_seq"` // 0: there are no records
	Hash      Hash      `json:"hash"`     // of the last line
	Head      *Head     `json:"head"`     // the last signed head that covers a line; null for none
	KeyID     string    `json:"key_id"`
	OrgID     string    `json:"organization_id"`
	Prev      Hash      `json:"prev"`   // what the first line follows on
	SHA256    Hash      `json:"sha256"` // of all bytes before this line
	Signature []byte    `json:"signature,omitempty"`
	To        int64     `json:"to_seq"`
	Type      string    `json:"type"`
	Version   int       `json:"version"`
}

const kindExport = "audit-export"

type exportLine struct {
	Hash Hash           `json:"hash"`
	Link jsontext.Value `json:"link"`
}

type trailerLine struct {
	Trailer *Trailer `json:"trailer"`
}

// exportBuffer is how much is written at once.
const exportBuffer = 64 << 10

// Export is a caller's permission to write one organisation's audit.
type Export struct {
	OrgID string

	service *Service
	after   int64
}

// Export prepares an export of the records that follow on a place of the chain; 0
// is all. The error comes before anything is written.
func (s *Service) Export(ctx context.Context, p authz.Principal, org string, after int64) (*Export, error) {
	org, err := s.of(ctx, p, org)
	if err != nil {
		return nil, err
	}
	return &Export{OrgID: org, service: s, after: after}, nil
}

// Write writes the export page by page, up to where the chain went when it began.
// It does not verify: what is not as it was sealed shows to who reads it.
func (x *Export) Write(ctx context.Context, to io.Writer) error {
	state, err := x.service.Verifier.Chain.State(ctx, x.OrgID)
	if err != nil {
		return err
	}
	sum := sha256.New()
	buffer := bufio.NewWriterSize(to, exportBuffer)
	out := io.MultiWriter(buffer, sum)
	t := Trailer{OrgID: x.OrgID, Type: kindExport, Version: Version, At: x.service.Now().UTC().Truncate(time.Microsecond)}
	walk := &walk{Verifier: x.service.Verifier, org: x.OrgID}
	for after := x.after; after < state.Seq; {
		links, err := x.service.Verifier.Chain.Links(ctx, x.OrgID, after, verifyPage)
		if err != nil {
			return err
		}
		if len(links) == 0 {
			break
		}
		entries, err := walk.read(ctx, links)
		if err != nil {
			return err
		}
		for i := range links {
			if links[i].Seq > state.Seq {
				break
			}
			if err := t.line(out, &links[i], entries[key{links[i].Source, links[i].AuditID}]); err != nil {
				return err
			}
		}
		after = links[len(links)-1].Seq
	}
	if t.Head, err = x.head(ctx, state); err != nil {
		return err
	}
	if err := t.end(buffer, sum, x.service.Signer); err != nil {
		return err
	}
	if err := buffer.Flush(); err != nil {
		return fmt.Errorf("write export: %w", err)
	}
	return nil
}

// line writes a record and takes note of it.
func (t *Trailer) line(out io.Writer, l *Link, e *Entry) error {
	text, err := l.Canonical(e)
	if err != nil {
		return err
	}
	line, err := canonical(exportLine{Hash: l.Hash, Link: text})
	if err != nil {
		return err
	}
	if _, err := out.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write export: %w", err)
	}
	if t.Count == 0 {
		t.From, t.Prev = l.Seq, l.Prev
	}
	t.Count++
	t.To, t.Hash = l.Seq, l.Hash
	return nil
}

func (t *Trailer) end(out io.Writer, sum hash.Hash, signer *Signer) error {
	sum.Sum(t.SHA256[:0])
	t.KeyID = signer.Public().ID
	text, err := canonical(t)
	if err != nil {
		return err
	}
	t.Signature = signer.sign(text)
	line, err := canonical(trailerLine{Trailer: t})
	if err != nil {
		return err
	}
	if _, err := out.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write export: %w", err)
	}
	return nil
}

// head is the last signed head of the chain, as the store has it.
func (x *Export) head(ctx context.Context, state State) (*Head, error) {
	if state.HeadSeq <= x.after {
		return nil, nil //nolint:nilnil // no head covers a line
	}
	body, err := x.service.Verifier.Files.Get(ctx, fileOf(headsOf(x.OrgID), state.HeadSeq))
	if fault.Is(err, fault.NotFound) {
		return nil, nil //nolint:nilnil // it is gone, which a verification finds
	}
	if err != nil {
		return nil, err
	}
	h, err := x.service.Verifier.Ring.open(kindHead, x.OrgID, state.HeadSeq, body)
	if err != nil {
		return nil, nil //nolint:nilerr,nilnil // likewise
	}
	return &h, nil
}

// The reasons for which a file is refused, besides those of a chain.
const (
	ExportCut     Reason = "export_cut"     // it has no trailer, or something after it
	ExportChanged Reason = "export_changed" // it is not what the trailer was signed for
)

// maxLine is the longest line that is read, in bytes.
const maxLine = 16 << 20

// VerifyExport checks an export without the platform, line by line, by a public
// key that was got elsewhere. Errors are those of reading; flaws are findings.
func VerifyExport(r io.Reader, ring Ring) (Report, *Trailer, error) {
	x := &exportReader{ring: ring, sum: sha256.New()}
	err := x.read(r)
	if f, ok := errors.AsType[*flaw](err); ok {
		x.report.FirstBad, err = &f.Finding, nil
	}
	return x.report, x.trailer, err
}

type exportReader struct {
	ring    Ring
	sum     hash.Hash
	report  Report
	org     string
	prev    Hash // of the first line
	last    Link
	trailer *Trailer
	seals   []seal // of all lines: the signed head comes after them
}

// seal is what a line says of its place.
type seal struct {
	hash Hash
	at   time.Time
}

func (x *exportReader) read(r io.Reader) error {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, exportBuffer), maxLine)
	in.Split(wholeLines)
	for in.Scan() {
		line := in.Bytes()
		switch {
		case x.trailer != nil:
			return bad(0, "", ExportCut, "there is something after the trailer")
		case bytes.HasPrefix(line, []byte(`{"trailer":`)):
			if err := x.end(line); err != nil {
				return err
			}
		default:
			if err := x.line(line); err != nil {
				return err
			}
		}
	}
	if err := in.Err(); err != nil {
		return fmt.Errorf("read export: %w", err)
	}
	if x.trailer == nil {
		return bad(0, "", ExportCut, "the export ends after record %d without its trailer", x.last.Seq)
	}
	return nil
}

// wholeLines splits at line feeds, which stay: all bytes are signed.
func wholeLines(data []byte, atEOF bool) (advance int, token []byte, err error) { //nolint:revive // the form that bufio asks for
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i+1], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

func (x *exportReader) line(line []byte) error {
	seq := x.last.Seq + 1
	var l exportLine
	if err := jsonv2.Unmarshal(line, &l, jsonv2.RejectUnknownMembers(true)); err != nil {
		return bad(seq, "", ExportChanged, "the line after record %d is not one of an export", x.last.Seq)
	}
	var d linkDocument
	if err := jsonv2.Unmarshal(l.Link, &d, jsonv2.RejectUnknownMembers(true)); err != nil {
		return bad(seq, "", ExportChanged, "the line after record %d is not one of an export", x.last.Seq)
	}
	text, err := canonical(l.Link)
	auditID := ""
	if d.Record != nil {
		auditID = d.Record.ID
	}
	first := x.report.Checked == 0
	switch {
	case err != nil || d.Version != Version:
		return bad(d.Seq, auditID, ExportChanged, "record %d has a form that is not known here", d.Seq)
	case !first && (d.Seq != seq || d.OrgID != x.org):
		return bad(seq, "", LinkMissing, "the export goes from record %d to %d", x.last.Seq, d.Seq)
	case !first && d.Prev != x.last.Hash:
		return bad(d.Seq, auditID, LinkMoved, "record %d does not follow on record %d", d.Seq, x.last.Seq)
	case d.Record == nil:
		return bad(d.Seq, "", RecordMissing, "record %d was gone when it was exported", d.Seq)
	case sha256.Sum256(text) != l.Hash:
		return bad(d.Seq, auditID, RecordChanged, "record %d is not what was sealed", d.Seq)
	}
	if first {
		x.org, x.prev, x.report.From = d.OrgID, d.Prev, d.Seq
	}
	sealedAt, err := time.Parse(timeForm, d.SealedAt)
	if err != nil {
		return bad(d.Seq, auditID, ExportChanged, "record %d has a form that is not known here", d.Seq)
	}
	x.seals = append(x.seals, seal{l.Hash, sealedAt})
	if sealedAt.Sub(recorded(d.Record)) > LateAfter {
		x.report.Late++
	}
	x.last = Link{OrgID: d.OrgID, Seq: d.Seq, Hash: l.Hash, Source: d.Source}
	x.report.To = d.Seq
	x.report.Checked++
	_, _ = x.sum.Write(line) // never fails
	return nil
}

// end checks the trailer against what came before it.
func (x *exportReader) end(line []byte) error {
	var l trailerLine
	if err := jsonv2.Unmarshal(line, &l, jsonv2.RejectUnknownMembers(true)); err != nil || l.Trailer == nil {
		return bad(0, "", ExportChanged, "the trailer can't be read")
	}
	t := l.Trailer
	x.trailer = t
	bare := *t
	bare.Signature = nil
	text, err := canonical(bare)
	var sum Hash
	x.sum.Sum(sum[:0])
	switch {
	case err != nil || t.Type != kindExport || t.Version != Version || !x.ring.verify(t.KeyID, text, t.Signature):
		return bad(0, "", ExportChanged, "the trailer was not signed by this key")
	case t.Count != x.report.Checked || t.From != x.report.From || t.To != x.report.To || t.SHA256 != sum:
		return bad(0, "", ExportChanged, "lines were added, removed or written anew after the trailer was signed")
	case t.Count > 0 && (t.OrgID != x.org || t.Prev != x.prev || t.Hash != x.last.Hash):
		return bad(0, "", ExportChanged, "the lines are not those of the trailer")
	}
	return x.head(t)
}

// head checks the signed head against the line of its place: a chain that was
// computed anew hangs together, and only this tells. A chain without a head that
// should have had one by then is not proven.
func (x *exportReader) head(t *Trailer) error {
	covered := t.From - 1
	if h := t.Head; h != nil {
		switch {
		case !x.ring.signed(*h) || h.Type != kindHead || h.OrgID != t.OrgID:
			return bad(max(h.Seq, 0), "", HeadForged, "the signed head of record %d is not one that a known key has signed for this chain", h.Seq)
		case h.Seq > t.To:
			return bad(t.To+1, "", TailCut, "the export ends at record %d, and a signed head says that the chain went to %d", t.To, h.Seq)
		case t.Count == 0 || h.Seq < t.From:
			return bad(0, "", ExportChanged, "the signed head covers no line")
		case x.seals[h.Seq-t.From].hash != h.Hash:
			return bad(t.From, "", ChainRewritten, "of the records %d to %d one was changed after record %d was signed, and the chain computed anew", t.From, h.Seq, h.Seq)
		}
		covered = h.Seq
	}
	x.report.Head = t.Head
	if t.Count > 0 && covered < t.To {
		if at := x.seals[covered+1-t.From].at; at.Before(t.At.Add(-HeadGrace)) {
			return bad(covered+1, "", HeadMissing, "no signed head covers record %d, which was sealed at %s", covered+1, timeText(at))
		}
	}
	return nil
}

// recorded is the time that a record names; the zero time is none that can be read.
func recorded(r *recordDocument) time.Time {
	at, err := time.Parse(timeForm, r.At)
	if err != nil {
		return time.Time{}
	}
	return at
}
