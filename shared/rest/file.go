package rest

import (
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// File is an answer in another form than JSON: a document, or rows that were
// written already.
type File struct {
	MediaType string // with its parameters
	Name      string // under which a browser keeps it: ASCII without quotes
	Content   []byte
}

// Filed is implemented by bodies that may be answered as a file. A nil file means
// JSON. Operations choose by [Prefer].
type Filed interface{ AsFile() *File }

// Prefer is the one of the offered media types ("application/pdf") that an Accept
// header prefers to JSON, or "" for JSON: where it says nothing, wants both alike,
// or wants what nobody offers.
func Prefer(accept string, offers ...string) string {
	best, chosen := preferenceFor(accept, "application", "json"), ""
	for _, offer := range offers {
		family, kind, _ := strings.Cut(offer, "/")
		if p := preferenceFor(accept, family, kind); p.before(best) {
			best, chosen = p, offer
		}
	}
	return chosen
}

// before reports whether a type is preferred to one that was offered before.
func (p preference) before(o preference) bool {
	switch {
	case p.quality == 0: // refused, or not mentioned
		return false
	case p.quality != o.quality:
		return p.quality > o.quality
	case p.specific != o.specific:
		return p.specific > o.specific
	}
	return p.place < o.place
}

// answer writes the file in the place of the body.
func (f *File) answer(ctx huma.Context) csvBody {
	ctx.SetHeader("Content-Type", f.MediaType)
	ctx.SetHeader("Content-Disposition", `attachment; filename="`+f.Name+`"`)
	ctx.SetHeader("Content-Length", strconv.Itoa(len(f.Content)))
	return csvBody(f.Content)
}
