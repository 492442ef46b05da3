package rest_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/rest"
)

// A route whose standard demands a form takes that and nothing else, within the same
// bounds; all others take JSON.
func TestAFormIsTakenWhereAStandardDemandsIt(t *testing.T) {
	api := rest.New(function.Spec{Name: "f", Routes: []function.Route{
		{Method: http.MethodPost, Path: "/form", OperationID: "form", Form: true}, {Method: http.MethodPost, Path: "/json", OperationID: "json"},
	}}, nil, slog.New(slog.DiscardHandler))
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	api.HandleHTTP("form", "application/json", echo)
	api.HandleHTTP("json", "application/json", echo)
	const form, object = "application/x-www-form-urlencoded", "application/json"
	for name, c := range map[string]struct {
		path, media, body string
		want              int
	}{
		"a form":             {"/form", form, "a=b", 200},
		"with a charset":     {"/form", form + "; charset=utf-8", "a=b", 200},
		"another charset":    {"/form", form + "; charset=latin1", "a=b", 415},
		"an object":          {"/form", object, "{}", 415},
		"nothing said":       {"/form", "", "a=b", 415},
		"nothing sent":       {"/form", "", "", 200},
		"many parts":         {"/form", "multipart/form-data; boundary=x", "--x--", 415},
		"a form for objects": {"/json", form, "a=b", 415},
		"too long":           {"/form", form, strings.Repeat("a", rest.MaxBody+1), 413},
	} {
		r := httptest.NewRequest(http.MethodPost, c.path, strings.NewReader(c.body))
		if c.media != "" {
			r.Header.Set("Content-Type", c.media)
		}
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		if w.Code != c.want || c.want == 200 && w.Body.String() != c.body {
			t.Errorf("%s: %d %s; want %d", name, w.Code, w.Body, c.want)
		}
	}
}
