package lambda

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"

	"github.com/awslabs/aws-lambda-go-api-proxy/httpadapter"

	"github.com/aiaas/aiaas/shared/fault"
)

var errNoHTTP = errors.New("function has routes but no HTTP handler")

// buffer answers an exchange as a whole.
func (h *Host) buffer(ctx context.Context, ex exchange) (any, error) {
	call, cancel, _ := deadlines(ctx)
	defer cancel(nil)
	var failed error
	adapter := httpadapter.New(http.HandlerFunc(func(to http.ResponseWriter, r *http.Request) {
		w := &writer{header: http.Header{}, body: to, commit: func(status int, header http.Header) {
			maps.Copy(to.Header(), header)
			to.WriteHeader(status)
		}}
		failed = h.serve(ex.handler, w, withPeer(r))
		w.Flush()
	}))
	answer, err := adapter.ProxyWithContext(call, ex.event)
	if err != nil {
		return nil, fmt.Errorf("proxy request: %w", err)
	}
	if failed != nil { // nothing has left yet, so whatever was written is dropped
		return h.buffer(ctx, h.refuse(ctx, ex, fault.Wrap(fault.Internal, "serve request", failed)))
	}
	return answer, nil
}

// serve runs a handler; its panic is an error.
func (h *Host) serve(handler http.Handler, w http.ResponseWriter, r *http.Request) (err error) {
	defer h.recovered(r.Context(), &err)
	handler.ServeHTTP(w, r)
	return nil
}
