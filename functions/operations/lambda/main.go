// Command lambda runs the function operations on AWS Lambda.
package main

import (
	"github.com/aiaas/aiaas/adapters/lambda"
	"github.com/aiaas/aiaas/functions/operations"
	"github.com/aiaas/aiaas/functions/operations/wire"
)

func main() { lambda.Start(operations.Spec(), wire.Wire) }
