package naming_test

import (
	"strings"
	"testing"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/naming"
)

func TestWhatPeopleMayCallThings(t *testing.T) {
	for name, fine := range map[string]bool{
		"Search":                          true,
		"Æther & Söhne <GmbH>":            true,
		"می\u200cخواهم":                   true, // joined as Persian needs it
		"👩\u200d👧":                        true,
		strings.Repeat("ü", 100):          true,
		strings.Repeat("ü", 101):          false,
		"":                                false,
		"  ":                              false,
		" a":                              false,
		"a ":                              false,
		"a\u00a0":                         false,
		"a\nb":                            false,
		"a\rb":                            false,
		"a\x00b":                          false,
		"a\x1b[2Jb":                       false,
		"a\x7fb":                          false,
		"a\u0085b":                        false,
		"a\u202eb":                        false, // what follows runs the other way
		"a\u2066b":                        false,
		"a\u200eb":                        false,
		"a\u200bb":                        false, // a space without width
		"a\u2028b":                        false,
		"a\ufeffb":                        false,
		"a\u3164b":                        false, // a letter without ink
		"a\ue000b":                        false, // shown as anybody likes
		"a\xc3b":                          false,
		"a" + string(rune(0xe0041)) + "b": false, // a tag
	} {
		err := naming.Name("name", name)
		if (err == nil) != fine {
			t.Errorf("%q: %v; fine should be %v", name, err, fine)
		}
		if err != nil && (!fault.Is(err, fault.Unprocessable) || fault.From(err).Param != "name") {
			t.Errorf("%q: %v names no member", name, err)
		}
	}
	if err := naming.Line("reason", "", 5); err != nil {
		t.Errorf("a line may be empty: %v", err)
	}
	if naming.Line("reason", "123456", 5) == nil {
		t.Error("a line of six characters passes a limit of five")
	}
}
