package notifications

import (
	"context"
	"net/http"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/mail"
	"github.com/aiaas/aiaas/shared/rest"
)

// The jobs about mail.
const (
	JobMails      = "mails"       // sends what is queued
	JobReminders  = "reminders"   // announces keys that are to be rotated
	JobPruneMails = "prune-mails" // removes what is older than its retention
)

// MailJobs are the function's jobs about mail.
func MailJobs(c *mail.Courier, r *mail.Reminders) map[string]function.Job {
	return map[string]function.Job{JobMails: c.Run, JobReminders: r.Run, JobPruneMails: c.Prune}
}

// mailSchedules say when they run. Reminders look every hour, so that a start at
// any time of the day is early enough; each is sent once all the same.
func mailSchedules() []function.Schedule {
	return []function.Schedule{
		{Job: JobMails, Every: time.Second},
		{Job: JobReminders, Every: time.Hour},
		{Job: JobPruneMails, Every: 24 * time.Hour},
	}
}

func mailRoutes() []function.Route {
	const tag = "Mails"
	return []function.Route{
		{
			Method: http.MethodGet, Path: "/v1/mails", OperationID: "listMails", Tag: tag, Scope: string(authz.SettingsRead),
			Summary:     "List the mails of the organization",
			Description: "What became of each, of the last 90 days, the newest first. What they say is not kept.",
		},
		{
			Method: http.MethodGet, Path: "/v1/mails/{id}", OperationID: "getMail", Tag: tag, Scope: string(authz.SettingsRead),
			Summary: "Show what became of a mail",
		},
		{
			Method: http.MethodPost, Path: "/v1/mails/test", OperationID: "sendTestMail", Tag: tag, Scope: string(authz.SettingsWrite),
			Status: http.StatusAccepted, Summary: "Send a test mail",
			Description: "To the technical contact, or to the member or contact whose address is named; to nobody else. `getMail` tells how it ends. Ten an hour.",
		},
	}
}

func registerMails(api *rest.API, h *mailHandlers) {
	rest.Handle(api, "listMails", h.list)
	rest.Handle(api, "getMail", h.get, rest.ResponseExample(exampleMail()))
	rest.Handle(api, "sendTestMail", h.test, rest.Fails(fault.RateLimited), rest.RequestExample(TestMail{To: "ada@example.com"}))
}

type mailHandlers struct{ svc *mail.Service }

// Mail is what became of a mail.
type Mail struct {
	ID            string     `json:"id"`
	Kind          string     `json:"kind" example:"budget.threshold_reached"`
	Recipient     string     `json:"recipient"`
	Status        string     `json:"status" enum:"queued,sent,failed,suppressed" doc:"Sent: a mail server has accepted it for delivery. Failed: it was refused, or not accepted within two days. Suppressed: its recipient had too many of its kind within the hour."`
	Attempts      int        `json:"attempts"`
	LastError     *string    `json:"last_error" doc:"Why the last attempt did not succeed: the answer of the mail server, if there was one."`
	CreatedAt     time.Time  `json:"created_at"`
	NextAttemptAt *time.Time `json:"next_attempt_at" doc:"Null unless it is queued."`
	FinishedAt    *time.Time `json:"finished_at" doc:"When it was sent or given up."`
}

func showMail(m mail.Mail) Mail {
	v := Mail{
		ID: m.ID, Kind: string(m.Kind), Recipient: m.Recipient, Status: string(m.Status), Attempts: m.Attempts,
		CreatedAt: m.CreatedAt.Truncate(time.Microsecond), NextAttemptAt: mailTime(m.NextAt), FinishedAt: mailTime(m.FinishedAt),
	}
	if m.LastError != "" {
		v.LastError = &m.LastError
	}
	return v
}

func mailTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return new(t.Truncate(time.Microsecond))
}

func exampleMail() Mail {
	return Mail{
		ID: "mail_0199c0b2f3a47c1e8d6a5b4c3d2e1f00", Kind: string(mail.KindBudget), Recipient: "billing@example.com", Status: "sent",
		Attempts: 1, CreatedAt: time.Date(2026, 10, 12, 9, 0, 0, 0, time.UTC), FinishedAt: new(time.Date(2026, 10, 12, 9, 0, 1, 0, time.UTC)),
	}
}

type listMailsInput struct {
	rest.Paging
	Status    string `query:"status" enum:"queued,sent,failed,suppressed" doc:"Only those."`
	Kind      string `query:"kind" maxLength:"100" doc:"Only of a kind."`
	Recipient string `query:"recipient" maxLength:"254" doc:"Only to an address."`
}

type listMailsOutput struct{ Body rest.List[Mail] }

func (h *mailHandlers) list(ctx context.Context, p authz.Principal, in *listMailsInput) (*listMailsOutput, error) {
	before, err := in.After(mail.ID)
	if err != nil {
		return nil, err
	}
	f := mail.Filter{Status: mail.Status(in.Status), Kind: mail.Kind(in.Kind), Recipient: in.Recipient}
	list, err := h.svc.List(ctx, p, f, before, in.Fetch())
	if err != nil {
		return nil, err
	}
	return &listMailsOutput{Body: rest.Page(in.Paging, list, func(m mail.Mail) string { return m.ID }, showMail)}, nil
}

type mailInput struct {
	ID string `path:"id" maxLength:"100"`
}

type mailOutput struct{ Body Mail }

func (h *mailHandlers) get(ctx context.Context, p authz.Principal, in *mailInput) (*mailOutput, error) {
	m, err := h.svc.Get(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	return &mailOutput{Body: showMail(m)}, nil
}

// TestMail says who gets a test mail.
type TestMail struct {
	To string `json:"to,omitempty" maxLength:"254" doc:"The address of a member or a contact; left out: the technical contact's, or else the caller's own."`
}

type testMailInput struct{ Body TestMail }

func (h *mailHandlers) test(ctx context.Context, p authz.Principal, in *testMailInput) (*mailOutput, error) {
	m, err := h.svc.Test(ctx, p, in.Body.To)
	if err != nil {
		return nil, err
	}
	return &mailOutput{Body: showMail(m)}, nil
}
