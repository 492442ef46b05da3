// Command lambda runs the function portal on AWS Lambda.
package main

import (
	"github.com/aiaas/aiaas/adapters/lambda"
	"github.com/aiaas/aiaas/functions/portal"
	"github.com/aiaas/aiaas/functions/portal/wire"
)

func main() { lambda.Start(portal.Spec(), wire.Wire) }
