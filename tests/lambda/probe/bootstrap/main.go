// Command bootstrap is the probe as a Lambda function.
package main

import (
	"github.com/aiaas/aiaas/adapters/lambda"
	"github.com/aiaas/aiaas/tests/lambda/probe"
)

func main() { lambda.Start(probe.Spec(), probe.Wire) }
