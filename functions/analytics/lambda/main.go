// Command lambda runs the function analytics on AWS Lambda.
package main

import (
	"github.com/aiaas/aiaas/adapters/lambda"
	"github.com/aiaas/aiaas/functions/analytics"
	"github.com/aiaas/aiaas/functions/analytics/wire"
)

func main() { lambda.Start(analytics.Spec(), wire.Wire) }
