// Command lambda runs the function signin on AWS Lambda.
package main

import (
	"github.com/aiaas/aiaas/adapters/lambda"
	"github.com/aiaas/aiaas/functions/signin"
	"github.com/aiaas/aiaas/functions/signin/wire"
)

func main() { lambda.Start(signin.Spec(), wire.Wire) }
