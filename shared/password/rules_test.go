package password_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/trustelem/zxcvbn/frequency"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/password"
)

func TestCheck(t *testing.T) {
	who := []string{"Jane Doe-Smith", "jane.doe@widgets.example", "Acme Corporation"}
	for _, c := range []struct{ text, why string }{
		{"eleven purple herons", ""},
		{"xkDj3!kk29zq", ""},
		{"ich mag blaue Autos", ""},
		{"Зелёный чай в пять", ""},
		{"緑茶を五時に飲むのが好きです", ""},
		{strings.Repeat("eleven purple herons ", 13)[:256], ""},
		{"Jane walks eleven purple herons", ""}, // more than the name
		{"", "short"},
		{"xkDj3!kk29z", "short"},
		{"ééééééééééé", "short"},                 // 22 bytes, 11 characters
		{strings.Repeat("e\u0301", 11), "short"}, // as typed on another keyboard
		{strings.Repeat("eleven purple herons ", 13)[:257], "long"},
		{"eleven\x00purple herons", "unreadable"},
		{"eleven purple\nherons", "unreadable"},
		{"eleven \xff purple herons", "unreadable"},
		{"123456789012", "common"},
		{"password1234", "common"},
		{"P@ssw0rd!2024", "common"},
		{"qwertyuiop123", "common"},
		{"mnbvcxzlkjhgf", "common"},
		{"aaaaaaaaaaaaaaaa", "common"},
		{"abcdefghijklmnop", "common"},
		{"passwordpassword", "common"},
		{"letmeinletmein1", "common"},
		{strings.Repeat("password1", 28), "common"},
		{"jane.doe@widgets.example", "personal"},
		{"JaneDoeSmith1", "personal"},
		{"AcmeCorporation2026!", "personal"},
		{"acme-jane-doe", "personal"},
		{"widgetswidgets", "personal"},
	} {
		err := password.Check(c.text, who...)
		switch {
		case c.why == "" && err != nil:
			t.Errorf("%.40q: %v", c.text, err)
		case c.why != "" && (!fault.Is(err, fault.Unprocessable) || fault.From(err).Members["reason"] != c.why):
			t.Errorf("%.40q: %v; want it refused as %s", c.text, err, c.why)
		case strings.Contains(fault.From(err).Detail, c.text) && c.text != "":
			t.Errorf("%.40q is in the answer", c.text)
		}
	}
}

// TestTheListOfCommonPasswords tries all that are long enough to get that far.
func TestTheListOfCommonPasswords(t *testing.T) {
	tried := 0
	for _, common := range frequency.FrequencyLists["passwords"] {
		if utf8.RuneCountInString(common) < password.MinLength {
			continue
		}
		tried++
		for _, text := range []string{common, strings.ToUpper(common), common + "1"} {
			if err := password.Check(text); fault.From(err).Members["reason"] != "common" {
				t.Errorf("%q: %v", text, err)
			}
		}
	}
	if tried < 50 {
		t.Errorf("only %d were tried", tried)
	}
}
