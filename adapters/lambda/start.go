package lambda

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/aiaas/aiaas/shared/function"
)

// closeWithin is how long closing may take: the platform kills the process
// 500 ms after it asked it to end.
const closeWithin = 400 * time.Millisecond

// Start runs a function as the process's Lambda function and does not return.
// It reads the process's environment, and logs JSON lines to stderr. When the
// platform ends the sandbox, what the function opened is closed first.
func Start(spec function.Spec, wire function.Wire) {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	slog.SetDefault(log) // the runtime's own lines take the same form
	env := &function.Env{
		Now:    func() time.Time { return time.Now().UTC() },
		Log:    log,
		Getenv: os.Getenv,
	}
	host := NewHost(spec, wire, env)
	env.Fatal = host.Fatal
	lambda.StartWithOptions(host.Invoke, lambda.WithEnableSIGTERM(func() { end(host, log) }))
}

// end closes the host and leaves: a process whose environment is closed can
// answer nothing more.
func end(host *Host, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	code := 0
	if err := host.Close(ctx); err != nil {
		log.ErrorContext(ctx, "close function", "error", err)
		code = 1
	}
	os.Exit(code) //nolint:gocritic // the deferred cancel has nothing left to free
}
