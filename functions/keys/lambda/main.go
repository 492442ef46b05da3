// Command lambda runs the function keys on AWS Lambda.
package main

import (
	"github.com/aiaas/aiaas/adapters/lambda"
	"github.com/aiaas/aiaas/functions/keys"
	"github.com/aiaas/aiaas/functions/keys/wire"
)

func main() { lambda.Start(keys.Spec(), wire.Wire) }
