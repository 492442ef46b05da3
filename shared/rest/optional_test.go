package rest_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/rest"
)

// caller is an authenticator that answers as it is told.
type caller struct {
	who authz.Principal
	err error
}

func (c caller) Authenticate(*http.Request) (authz.Principal, error) { return c.who, c.err }
func (c caller) Locate(*http.Request) string                         { return "192.0.2.7" }

func TestWhoCallsAPublicRoute(t *testing.T) {
	ada := authz.Principal{OrgID: "org_1", KeyID: "ses_1", OwnerID: "user_1", Role: authz.Developer, Address: "192.0.2.7"}
	for name, c := range map[string]struct {
		optional bool
		caller   caller
		status   int
		who      string
	}{
		"one that asks nobody":              {false, caller{who: ada}, http.StatusOK, ""},
		"somebody":                          {true, caller{who: ada}, http.StatusOK, "user_1"},
		"nobody":                            {true, caller{err: fault.New(fault.Unauthenticated, "")}, http.StatusOK, ""},
		"two credentials":                   {true, caller{err: fault.New(fault.Invalid, "")}, http.StatusOK, ""},
		"one who passes no check":           {true, caller{who: authz.Principal{OwnerID: "user_1"}}, http.StatusOK, ""},
		"somebody, and it can't be told":    {true, caller{err: fault.New(fault.Unavailable, "")}, http.StatusServiceUnavailable, ""},
		"one that asks nobody, or can't be": {false, caller{err: fault.New(fault.Unavailable, "")}, http.StatusOK, ""},
	} {
		t.Run(name, func(t *testing.T) {
			route := function.Route{Method: "GET", Path: "/open", OperationID: "open", Tag: "T", Summary: "s", Optional: c.optional}
			api := rest.New(function.Spec{Name: "open", Routes: []function.Route{route}}, c.caller, slog.New(slog.NewTextHandler(t.Output(), nil)))
			var seen *authz.Principal
			rest.Handle(api, "open", func(_ context.Context, p authz.Principal, _ *struct{}) (*struct{}, error) {
				seen = &p
				return &struct{}{}, nil
			})
			w := httptest.NewRecorder()
			api.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/open", http.NoBody))
			if c.status != http.StatusOK {
				if w.Code != c.status || seen != nil {
					t.Errorf("%d, and it ran: %v", w.Code, seen != nil)
				}
				return
			}
			if seen == nil || seen.OwnerID != c.who || seen.Somebody() != (c.who != "") || seen.Address != "192.0.2.7" {
				t.Errorf("%d: it saw %+v; want %q", w.Code, seen, c.who)
			}
		})
	}
}
