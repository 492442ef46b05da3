package process_test

import (
	"testing"
	"time"

	"github.com/aiaas/aiaas/tests/harness"
)

func TestZZ(t *testing.T) {
	g := harness.Start(t, harness.Options{})
	time.Sleep(4 * time.Second)
	t.Log(g.Stdout())
}
