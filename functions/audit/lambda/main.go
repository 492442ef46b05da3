// Command lambda runs the function audit on AWS Lambda.
package main

import (
	"github.com/aiaas/aiaas/adapters/lambda"
	"github.com/aiaas/aiaas/functions/audit"
	"github.com/aiaas/aiaas/functions/audit/wire"
)

func main() { lambda.Start(audit.Spec(), wire.Wire) }
