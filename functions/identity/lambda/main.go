// Command lambda runs the function identity on AWS Lambda.
package main

import (
	"github.com/aiaas/aiaas/adapters/lambda"
	"github.com/aiaas/aiaas/functions/identity"
	"github.com/aiaas/aiaas/functions/identity/wire"
)

func main() { lambda.Start(identity.Spec(), wire.Wire) }
