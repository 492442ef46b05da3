// Command lambda runs the function invoices on AWS Lambda.
package main

import (
	"github.com/aiaas/aiaas/adapters/lambda"
	"github.com/aiaas/aiaas/functions/invoices"
	"github.com/aiaas/aiaas/functions/invoices/wire"
)

func main() { lambda.Start(invoices.Spec(), wire.Wire) }
