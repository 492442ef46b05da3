package id_test

import (
	"strings"
	"testing"

	"github.com/aiaas/aiaas/shared/id"
)

func TestNewIsValidUnderItsOwnPrefixOnly(t *testing.T) {
	prefixes := []string{
		id.Organization, id.Project, id.User, id.Key, id.Budget, id.Backend,
		id.Price, id.Request, id.Audit, id.Ledger,
	}
	for _, own := range prefixes {
		made := id.New(own)
		for _, asked := range prefixes {
			if got := id.Valid(asked, made); got != (asked == own) {
				t.Errorf("Valid(%q, %q) = %v", asked, made, got)
			}
		}
	}
}

func TestIDsSortByTimeOfCreation(t *testing.T) {
	last := ""
	for range 10_000 {
		next := id.New(id.Request)
		if next <= last {
			t.Fatalf("%s came after %s", next, last)
		}
		last = next
	}
}

// One person has one id in all organisations: it tells none of them since when.
func TestIDsOfPeopleAreRandom(t *testing.T) {
	for prefix, want := range map[string]byte{id.User: '4', id.ServiceAccount: '7', id.Organization: '7'} {
		made := id.New(prefix)
		if got := made[len(prefix)+1+12]; got != want {
			t.Errorf("%s is a UUIDv%c; want v%c", made, got, want)
		}
	}
	if a, b := id.New(id.User), id.New(id.User); a[:13] == b[:13] {
		t.Errorf("%s and %s begin alike", a, b)
	}
}

func TestValid(t *testing.T) {
	const hex = "0199c0b2f3a47c1e8d6a5b4c3d2e1f00"
	for in, want := range map[string]bool{
		"org_" + hex:                     true,
		"":                               false,
		"org":                            false,
		"org_":                           false,
		hex:                              false,
		"org" + hex:                      false,
		"key_" + hex:                     false,
		"xorg_" + hex:                    false,
		"org_" + hex[1:]:                 false,
		"org_" + hex + "0":               false,
		"org_" + strings.ToUpper(hex):    false,
		"org_" + hex[:31] + "g":          false,
		"org_" + hex[:31] + "'":          false,
		"org_" + hex[:31] + "\x00":       false,
		"org_" + hex[:30] + "é":          false,
		" org_" + hex:                    false,
		"org_" + hex + "\n":              false,
		"org__" + hex:                    false,
		"org_" + hex[:16] + "-" + hex:    false,
		"org_" + strings.Repeat("-", 32): false,
	} {
		if got := id.Valid(id.Organization, in); got != want {
			t.Errorf("Valid(%q) = %v; want %v", in, got, want)
		}
	}
}
