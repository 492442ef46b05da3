package command_test

import (
	"strings"
	"testing"

	"github.com/aiaas/aiaas/tests/harness"
)

func TestThePlatformKeepsOrganizations(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Options{})
	sh := of(g)
	sh.words(t, "plan set gold --name Gold --key-requests-per-minute 7 --max-keys 3").want(2) // nobody can be asked
	sh.words(t, "plan set gold --name Gold --key-requests-per-minute 7 --max-keys 3 --yes").want(0)
	made := sh.words(t, "org create --name Example --slug example --plan gold --owner-email ada@example.com --trial-ends 30d -o json").want(0).json()
	org, secret := text(made, "id"), text(made["key"], "key")
	if text(made, "status") != "trial" || text(made, "plan") != "gold" || !strings.HasPrefix(secret, "aiaas_live_") {
		t.Errorf("made %v", made)
	}
	shown := sh.words(t, "org create --name Shown --owner-email ada@example.com").want(0)
	if strings.Count(shown.stdout, "aiaas_live_") != 2 { // the key, and its fingerprint
		t.Errorf("a first key is shown: %s", shown.stdout)
	}
	for _, c := range []struct{ line, want string }{
		{"org list --status trial", "example"},
		{"org list --search EXAM -o csv", "id,name,slug,"},
		{"org get " + org, "trial_ends_at"},
		{"org activate " + org, "active"},
		{"org models " + org, "granted"},
		{"org set-models " + org + " --allowed demo -o json", `"demo"`},
		{"plan list", "KEY REQUESTS/MIN"},
	} {
		if r := sh.words(t, c.line).want(0); !strings.Contains(r.stdout, c.want) {
			t.Errorf("%s: %s; want it with %q", c.line, r.stdout, c.want)
		}
	}
	changed := sh.words(t, "org change "+org+" --key-requests-per-minute 9 --legal-hold -o json").want(0).json()
	limits, _ := changed["effective_limits"].(map[string]any)
	if limits["key_requests_per_minute"] != 9.0 || changed["legal_hold"] != true {
		t.Errorf("changed %v", changed)
	}
	sh.words(t, "org change "+org).want(2)
	if m := sh.words(t, "model restrict demo --yes -o json").want(0).json(); m["restricted"] != true {
		t.Errorf("restricted %v", m)
	}
	if m := sh.words(t, "model open demo -o json").want(0).json(); m["restricted"] != false {
		t.Errorf("open %v", m)
	}
	sh.words(t, "plan delete gold --yes").want(1) // it is in use

	theirs := &shell{env: map[string]string{"AIAAS_KEY": secret, "AIAAS_DATA_DIR": g.DataDir}}
	if r := theirs.words(t, "org show").want(0); !strings.Contains(r.stdout, "example") {
		t.Errorf("own: %s", r.stdout)
	}
	if r := theirs.words(t, "org set --allow-from 198.51.100.0/24").want(1); !strings.Contains(r.stderr, "lock you out") {
		t.Errorf("refused by %s", r.stderr)
	}
	theirs.words(t, "org set --name Exemplary --allow-from 127.0.0.0/8,::1 --key-max-days 90").want(0)
	own := theirs.words(t, "org show -o json").want(0).json()
	if settings, _ := own["settings"].(map[string]any); text(own, "name") != "Exemplary" || settings["key_max_days"] != 90.0 {
		t.Errorf("own %v", own)
	}
	sh.words(t, "org suspend "+org+" --reason unpaid").want(2)
	sh.words(t, "org suspend "+org+" --reason unpaid --yes").want(0)
	theirs.words(t, "org show").want(1)
	sh.words(t, "org activate "+org).want(0)
	theirs.words(t, "org delete wrong --yes").want(1)
	theirs.words(t, "org delete example --yes").want(0)
	theirs.words(t, "org show").want(1)
	sh.words(t, "org revoke-key "+org+" "+text(made["key"], "id")+" --reason leaked --yes").want(0)
}
