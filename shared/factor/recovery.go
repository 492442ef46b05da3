package factor

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// codeLetters are those of Crockford's base 32: none looks like another.
const codeLetters = "0123456789abcdefghjkmnpqrstvwxyz"

const codeLength = codeBytes * 8 / 5

// newCodes makes recovery codes, and what is kept of them.
func newCodes(userID string) (codes []string, hashes [][]byte) {
	for range RecoveryCodes {
		raw := make([]byte, codeBytes)
		_, _ = rand.Read(raw) // never fails: it ends the process instead
		text := base32.NewEncoding(codeLetters).EncodeToString(raw)
		hash, _ := hashCode(userID, text)
		hashes = append(hashes, hash)
		codes = append(codes, grouped(text))
	}
	return codes, hashes
}

func grouped(text string) string {
	var parts []string
	for i := 0; i < len(text); i += codeGroup {
		parts = append(parts, text[i:i+codeGroup])
	}
	return strings.Join(parts, "-")
}

// hashCode is what is kept of a person's code, however it was typed. A text that can
// be none is not ok.
func hashCode(userID, typed string) (hash []byte, ok bool) {
	if len(typed) > maxTypedLength {
		return nil, false
	}
	text := strings.NewReplacer("-", "", " ", "", "o", "0", "i", "1", "l", "1").Replace(strings.ToLower(typed))
	if len(text) != codeLength || strings.Trim(text, codeLetters) != "" {
		return nil, false
	}
	sum := sha256.Sum256([]byte(userID + ":" + text))
	return sum[:], true
}
