// Package process_test follows a mail through the command as a newcomer starts it:
// from what causes it to the file whose link the command prints.
package process_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aiaas/aiaas/shared/mail/mailtest"
	"github.com/aiaas/aiaas/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

var (
	said = regexp.MustCompile(`(?m)^Mail to (\S+): (.*)  (file://\S+)$`)
	href = regexp.MustCompile(`href="([^"]*)"`)
)

// link waits for the line about a mail whose subject begins so, and returns the path
// of its file.
func link(t *testing.T, g *harness.Gateway, subject string) (to, path string) {
	t.Helper()
	harness.Eventually(t, "mail "+subject, func() (bool, string) {
		for _, m := range said.FindAllStringSubmatch(g.Stdout(), -1) {
			if strings.HasPrefix(m[2], subject) {
				u, err := url.Parse(m[3])
				harness.Must(t, err)
				to, path = m[1], u.Path
				return true, ""
			}
		}
		return false, g.Stdout()
	})
	return to, path
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	harness.Must(t, err)
	return string(text)
}

// aiaas runs a client command.
func aiaas(t *testing.T, g *harness.Gateway, env []string, args ...string) (out string, err error) {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), harness.Binary(t), args...)
	cmd.Env = append([]string{"AIAAS_DATA_DIR=" + g.DataDir, "PATH=/usr/bin:/bin"}, env...)
	text, err := cmd.CombinedOutput()
	return string(text), err
}

func TestABudgetIsToldByAFileWhoseLinkIsPrinted(t *testing.T) {
	g := harness.Start(t, harness.Options{})
	budget := g.CreateBudget(t, map[string]any{"organization": true}, "requests", "2", "warn")
	a := g.Do(t.Context(), harness.Call{Key: g.APIKey, Body: `{"model":"demo","messages":[{"role":"user","content":"Hello"}]}`})
	if a.Status != http.StatusOK {
		t.Fatal(a)
	}
	if strings.Contains(g.Stdout(), "New API key") {
		t.Errorf("the first keys are told by mail too:\n%s", g.Stdout())
	}
	to, path := link(t, g, "Budget at 50 %: 1 of 2 requests")
	if to != "owner@localhost" || filepath.Dir(path) != filepath.Join(g.DataDir, "mail") {
		t.Errorf("to %s, in %s", to, path)
	}
	page := read(t, path)
	for _, want := range []string{budget, "50 %", "My organization", "an owner"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q:\n%s", want, page)
		}
	}
	raw := read(t, strings.TrimSuffix(path, ".html")+".eml")
	received, _ := mailtest.Parse(t, raw)
	if received.To != to || strings.TrimSpace(strings.ReplaceAll(received.HTML, "\r\n", "\n")) != strings.TrimSpace(page) {
		t.Errorf("the mail as it would be sent is another: %s", raw)
	}
	leads(t, g, page)

	out, err := aiaas(t, g, nil, "mail", "list", "--kind", "budget.threshold_reached", "-o", "json")
	harness.Must(t, err)
	var list struct {
		Data []struct{ ID, Status, Recipient string }
	}
	harness.Must(t, json.Unmarshal([]byte(out), &list))
	if len(list.Data) != 1 || list.Data[0].Status != "sent" || list.Data[0].Recipient != to || !strings.Contains(path, list.Data[0].ID) {
		t.Errorf("aiaas mail list says %s", out)
	}
	if out, err = aiaas(t, g, nil, "mail", "show", list.Data[0].ID); err != nil || !strings.Contains(out, "budget.threshold_reached") {
		t.Errorf("aiaas mail show: %v: %s", err, out)
	}

	if out, err = aiaas(t, g, nil, "mail", "test", "--to", "eve@evil.example.com"); err == nil {
		t.Errorf("a stranger gets a mail: %s", out)
	}
	out, err = aiaas(t, g, nil, "mail", "test", "--to", to)
	harness.Must(t, err)
	if !strings.Contains(out, "queued") {
		t.Errorf("aiaas mail test says %s", out)
	}
	_, path = link(t, g, "Test mail")
	leads(t, g, read(t, path))
}

// leads checks that the links of a page lead to places of this platform that are
// there.
func leads(t *testing.T, g *harness.Gateway, page string) {
	t.Helper()
	links := href.FindAllStringSubmatch(page, -1)
	if len(links) == 0 {
		t.Fatal("the page has no link")
	}
	for _, l := range links {
		rest, ok := strings.CutPrefix(l[1], g.BaseURL)
		if !ok {
			t.Fatalf("%s does not lead to %s", l[1], g.BaseURL)
		}
		path, anchor, _ := strings.Cut(rest, "#")
		a := g.Do(t.Context(), harness.Call{Method: http.MethodGet, Path: path, Header: http.Header{"Host": {"evil.example.com"}}})
		if a.Status != http.StatusOK || !strings.Contains(string(a.Body), `id="`+anchor+`"`) {
			t.Errorf("%s leads nowhere: %d", l[1], a.Status)
		}
	}
}

func TestTheDoctorTriesTheMailServer(t *testing.T) {
	g := harness.Start(t, harness.Options{})
	s := mailtest.Serve(t, mailtest.Options{NoTLS: true})
	const from = "?tls=none&from=no-reply@platform.example"
	check := func(mailURL string) string {
		t.Helper()
		out, _ := aiaas(t, g, []string{"MAIL_URL=" + mailURL}, "doctor") // what it found decides its exit code
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); len(f) > 1 && f[1] == "mail" {
				return strings.TrimSpace(line)
			}
		}
		t.Fatalf("the doctor says nothing about mail:\n%s", out)
		return ""
	}
	if got := check("smtp://" + s.Addr + from); !strings.HasPrefix(got, "ok") || len(s.Mails()) != 0 {
		t.Errorf("a server that is there: %s", got)
	}
	if got := check(""); !strings.HasPrefix(got, "ok") || !strings.Contains(got, "files in") {
		t.Errorf("the folder: %s", got)
	}
	s.Stop()
	if got := check("smtp://" + s.Addr + from); !strings.HasPrefix(got, "fail") {
		t.Errorf("a server that is gone: %s", got)
	}
	if got := check("smtp://u:S3CRET@mail.example.com"); !strings.HasPrefix(got, "fail") || strings.Contains(got, "S3CRET") {
		t.Errorf("a setting that can't be: %s", got)
	}
}
