package mail_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/event"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/mail"
)

func noon() time.Time { return time.Date(2026, 10, 12, 12, 0, 0, 0, time.UTC) }

// happened is the event of an audited act.
func happened(t *testing.T, action, target string, detail map[string]any) event.Event {
	t.Helper()
	e, ok, err := event.Of(audit.Record{OrgID: "org_1", ID: id.New(id.Audit), At: noon(), Actor: "key_actor", Action: action, Target: target, Detail: detail})
	if err != nil || !ok {
		t.Fatalf("%s is no event: %v", action, err)
	}
	return e
}

func directory() mail.Directory {
	return mail.Directory{
		Name:     "Analytical Engines",
		Contacts: map[string]string{"billing": "billing@example.com", "security": "security@example.com", "technical": "technical@example.com"},
		People: []mail.Person{
			{ID: "user_o", Address: "owner@example.com", Role: authz.Owner},
			{ID: "user_o2", Address: "second@example.com", Role: authz.Owner},
			{ID: "user_a", Address: "admin@example.com", Role: authz.Admin},
			{ID: "user_f", Address: "finance@example.com", Role: authz.Finance},
			{ID: "user_d", Address: "dev@example.com", Role: authz.Developer},
		},
	}
}

func planner(t *testing.T) *mail.Planner {
	t.Helper()
	return mail.NewPlanner(slog.New(slog.NewTextHandler(t.Output(), nil)))
}

func personal() *mail.Key {
	return &mail.Key{KeyFacts: mail.KeyFacts{ID: "key_1", Name: "k", Fingerprint: "abcd"}, OwnerID: "user_d"}
}

func service() *mail.Key {
	return &mail.Key{KeyFacts: mail.KeyFacts{ID: "key_1", Name: "k"}, OwnerID: "sa_1", Service: true}
}

func TestWhoIsToldWhat(t *testing.T) {
	only := func(people ...int) mail.Directory {
		d := directory()
		d.Contacts = nil
		all := d.People
		d.People = nil
		for _, i := range people {
			d.People = append(d.People, all[i])
		}
		return d
	}
	for _, c := range []struct {
		name   string
		action string
		target string
		key    *mail.Key
		who    mail.Directory
		kind   mail.Kind
		want   string
	}{
		{"a personal key", "key.create", "key_1", personal(), directory(), mail.KindKeyCreated, "dev security"},
		{"a service key", "key.create", "key_1", service(), directory(), mail.KindKeyCreated, "technical security"},
		{"a key whose owner has left", "key.revoke", "key_1", personal(), only(0, 2), mail.KindKeyRevoked, "owner"},
		{"a key that is gone", "key.revoke", "key_1", nil, directory(), mail.KindKeyRevoked, "technical security"},
		{"a leaked key", "key.revoke_leaked", "key_1", personal(), directory(), mail.KindKeyLeaked, "dev security owner second admin"},
		{"a key that is due", "key.expiring", "key_1", personal(), directory(), mail.KindKeyRotation, "dev"},
		{"a service key that is due", "key.expiring", "key_1", service(), directory(), mail.KindKeyRotation, "technical"},
		{"a service key, and no technical contact", "key.expiring", "key_1", service(), only(0, 4), mail.KindKeyRotation, "owner"},
		{"a budget", "budget.threshold", "bud_1", nil, directory(), mail.KindBudget, "billing owner second"},
		{"a budget, and no contacts", "budget.threshold", "bud_1", nil, only(0, 4), mail.KindBudget, "owner"},
		{"suspension", "organization.suspend", "org_1", nil, directory(), mail.KindOrgSuspended, "owner second admin technical"},
		{"activation", "organization.activate", "org_1", nil, directory(), mail.KindOrgActivated, "owner second admin technical"},
		{"a new member", "member.add", "user_d", nil, directory(), mail.KindMemberAdded, "dev"},
		{"a new member who is gone again", "member.add", "user_d", nil, only(0), "", ""},
		{"a webhook", "webhook.disable", "wh_1", nil, directory(), mail.KindWebhookStopped, "technical admin"},
		{"an invoice", "invoice.issue", "inv_1", nil, directory(), mail.KindInvoiceIssued, "billing finance"},
		{"an invoice, and nobody for it", "invoice.issue", "inv_1", nil, only(1, 4), mail.KindInvoiceIssued, "second"},
		{"nobody at all", "invoice.issue", "inv_1", nil, mail.Directory{}, "", ""},
		{"what is not told", "key.update", "key_1", personal(), directory(), "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, d := range planner(t).Plan(t.Context(), happened(t, c.action, c.target, nil), c.who, c.key) {
				name, _, _ := strings.Cut(d.Recipient, "@")
				got = append(got, name)
				if d.Kind != c.kind || d.OrgID != "org_1" || !id.Valid(mail.ID, d.ID) {
					t.Errorf("%+v; want the kind %s", d, c.kind)
				}
				if _, err := renderer(t).Render(mail.Queued{ID: d.ID, Kind: d.Kind, Recipient: d.Recipient, Data: d.Data}); err != nil {
					t.Error(err)
				}
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("told %q; want %q", s, c.want)
			}
		})
	}
}

func TestWhatIsToldIsInTheCatalogue(t *testing.T) {
	known := map[string]bool{}
	for _, e := range event.Types() {
		known[e.Name] = true
	}
	for _, name := range mail.Told() {
		if !known[name] {
			t.Errorf("%s is no event", name)
		}
	}
	if len(mail.Told()) != 10 {
		t.Errorf("%d events are told: is the new one in the test above?", len(mail.Told()))
	}
}

func TestNobodyIsToldTwice(t *testing.T) {
	d := directory()
	d.Contacts["billing"] = "OWNER@example.com" // one person, in two parts
	d.People = append(d.People, mail.Person{ID: "user_x", Address: "not an address", Role: authz.Owner})
	var got []string
	for _, one := range planner(t).Plan(t.Context(), happened(t, "budget.threshold", "bud_1", nil), d, nil) {
		got = append(got, one.Recipient)
	}
	if want := []string{"OWNER@example.com", "second@example.com"}; !slices.Equal(got, want) {
		t.Errorf("told %v; want %v", got, want)
	}
}

func TestNobodyIsToldOfTheFounding(t *testing.T) {
	e, _, err := event.Of(audit.Record{OrgID: "org_1", ID: id.New(id.Audit), At: noon(), Actor: "bootstrap", Action: "key.create", Target: "key_1"})
	if err != nil {
		t.Fatal(err)
	}
	if got := planner(t).Plan(t.Context(), e, directory(), personal()); len(got) != 0 {
		t.Errorf("told %v", got)
	}
}

func TestOneMailForACause(t *testing.T) {
	keys := func(action, target string, detail map[string]any) []string {
		var out []string
		for _, d := range planner(t).Plan(t.Context(), happened(t, action, target, detail), directory(), personal()) {
			out = append(out, d.Key)
		}
		return out
	}
	threshold := map[string]any{"threshold": 80, "window_start": "2026-10-01T00:00:00Z"}
	for name, c := range map[string]struct {
		action, target string
		a, b           map[string]any
		same           bool
	}{
		"a threshold in its window":      {"budget.threshold", "bud_1", threshold, threshold, true},
		"another threshold":              {"budget.threshold", "bud_1", threshold, map[string]any{"threshold": 100, "window_start": "2026-10-01T00:00:00Z"}, false},
		"a threshold in the next window": {"budget.threshold", "bud_1", threshold, map[string]any{"threshold": 80, "window_start": "2026-11-01T00:00:00Z"}, false},
		"a due date":                     {"key.expiring", "key_1", map[string]any{"rotate_by": "2026-10-18T12:00:00Z"}, map[string]any{"rotate_by": "2026-10-18T12:00:00Z"}, true},
		"another stage of a date":        {"key.expiring", "key_1", map[string]any{"rotate_by": "2026-10-18T12:00:00Z"}, map[string]any{"rotate_by": "2026-10-13T11:00:00Z"}, false},
		"the same act again":             {"key.create", "key_1", nil, nil, false},
	} {
		if a, b := keys(c.action, c.target, c.a), keys(c.action, c.target, c.b); slices.Equal(a, b) != c.same || len(a) == 0 {
			t.Errorf("%s: %v and %v", name, a, b)
		}
	}
}

func TestAMailSaysWhatHappened(t *testing.T) {
	for name, c := range map[string]struct {
		event event.Event
		key   *mail.Key
		want  []string
	}{
		"budget": {happened(t, "budget.threshold", "bud_1", map[string]any{
			"threshold": 80, "unit": "money", "currency": "EUR", "spent": "8.00", "amount": "10.00", "action": "block",
			"window_start": "2026-10-01T00:00:00Z", "window_end": "2026-11-01T00:00:00Z",
		}), nil, []string{"80 %", "8.00 of 10.00 EUR are spent", "1 October 2026, 00:00 UTC to 1 November 2026", "bud_1", "requests that it covers are refused"}},
		"key due": {
			happened(t, "key.expiring", "key_1", map[string]any{"rotate_by": "2026-10-13T11:00:00Z"}), personal(),
			[]string{"“k” within a day", "13 October 2026, 11:00 UTC", "aiaas key rotate key_1", "abcd", "the owner of the key and a member of Analytical Engines"},
		},
		"key leaked": {
			happened(t, "key.revoke_leaked", "key_1", map[string]any{"source": "a public repository"}), personal(),
			[]string{"has leaked", "a public repository", "aiaas request list --key key_1"},
		},
		"invoice": {
			happened(t, "invoice.issue", "inv_1", map[string]any{"number": "2026-0001", "period": "2026-10", "total": "12.50", "currency": "USD"}), nil,
			[]string{"Invoice 2026-0001: 12.50 USD", "Period: 2026-10"},
		},
		"suspension": {happened(t, "organization.suspend", "org_1", map[string]any{"reason": "unpaid"}), nil, []string{"Reason: unpaid"}},
		"member":     {happened(t, "member.add", "user_d", map[string]any{"role": "developer"}), nil, []string{"added to “Analytical Engines”", "Role: developer", "key_actor"}},
		"webhook":    {happened(t, "webhook.disable", "wh_1", map[string]any{"url": "https://hooks.example.com/x", "reason": "The receiver answered 410: it wants no more."}), nil, []string{"hooks[.]example[.]com/x", "disabled, for the reason below", "Reason: The receiver answered 410: it wants no more."}},
	} {
		d := planner(t).Plan(t.Context(), c.event, directory(), c.key)
		if len(d) == 0 {
			t.Errorf("%s: nobody is told", name)
			continue
		}
		m, err := renderer(t).Render(mail.Queued{ID: d[0].ID, Kind: d[0].Kind, Recipient: d[0].Recipient, Data: d[0].Data})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range c.want {
			if !strings.Contains(m.Text, want) {
				t.Errorf("%s: it does not say %q:\n%s", name, want, m.Text)
			}
		}
	}
}

func TestAnEventThatCanNotBeReadKeepsNothingWaiting(t *testing.T) {
	var log bytes.Buffer
	p := mail.NewPlanner(slog.New(slog.NewJSONHandler(&log, nil)))
	for _, payload := range []string{"", "[]", `{"data":7}`} {
		if got := p.Plan(t.Context(), event.Event{ID: "evt_1", OrgID: "org_1", Type: "key.created", Payload: []byte(payload)}, directory(), nil); len(got) != 0 {
			t.Errorf("%q: %v", payload, got)
		}
	}
	if n := strings.Count(log.String(), "event is not told by mail"); n != 3 {
		t.Errorf("%d lines in the log: %s", n, log.String())
	}
	odd := happened(t, "budget.threshold", "bud_1", map[string]any{"threshold": "many", "spent": 7, "amount": nil, "window_start": []int{1}})
	if got := p.Plan(t.Context(), odd, directory(), nil); len(got) == 0 {
		t.Error("details of another type keep it from being told")
	}
}

func TestDataHoldsTextAsItIs(t *testing.T) {
	d := planner(t).Plan(t.Context(), happened(t, "organization.suspend", "org_1", map[string]any{"reason": "a\x00b <i>"}), directory(), nil)
	var letter map[string]any
	if err := json.Unmarshal(d[0].Data, &letter); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(d[0].Data, []byte(`\u0000`)) {
		t.Errorf("no database holds a NUL: %s", d[0].Data)
	}
	if want := []string{"content", "organization", "why"}; !slices.Equal(slices.Sorted(maps.Keys(letter)), want) {
		t.Errorf("the letter has %v", letter)
	}
}

func TestWhatAMemberDoesWithout(t *testing.T) {
	all := []mail.Group{"reminders", "budgets", "invoices", "operations"}
	if !slices.Equal(all, mail.Groups()) {
		t.Fatalf("there are %v", mail.Groups())
	}
	for _, c := range []struct {
		name, action, target string
		key                  *mail.Key
		want                 string
	}{
		{"budgets: the contact stays", "budget.threshold", "bud_1", nil, "billing"},
		{"reminders: nobody is asked instead", "key.expiring", "key_1", personal(), ""},
		{"invoices", "invoice.issue", "inv_1", nil, "billing"},
		{"operations", "webhook.disable", "wh_1", nil, "technical"},
		{"a key that leaked can't be done without", "key.revoke_leaked", "key_1", personal(), "dev security owner second admin"},
		{"a new key neither", "key.create", "key_1", personal(), "dev security"},
		{"the end of everything neither", "organization.suspend", "org_1", nil, "owner second admin technical"},
	} {
		d := directory()
		for i := range d.People {
			d.People[i].Unwanted = all
		}
		var got []string
		for _, draft := range planner(t).Plan(t.Context(), happened(t, c.action, c.target, nil), d, c.key) {
			name, _, _ := strings.Cut(draft.Recipient, "@")
			got = append(got, name)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v; want %q", c.name, got, c.want)
		}
	}
}

func TestEachIsDoneWithoutByItself(t *testing.T) {
	for _, g := range mail.Groups() {
		d := directory()
		d.Contacts = nil
		for i := range d.People {
			d.People[i].Unwanted = []mail.Group{g}
		}
		for group, action := range map[mail.Group]string{"reminders": "key.expiring", "budgets": "budget.threshold", "invoices": "invoice.issue", "operations": "webhook.disable"} {
			n := len(planner(t).Plan(t.Context(), happened(t, action, "x_1", nil), d, personal()))
			if (n == 0) != (group == g) {
				t.Errorf("without %s there are %d mails of %s", g, n, group)
			}
		}
	}
}
