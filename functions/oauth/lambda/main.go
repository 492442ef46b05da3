// Command lambda runs the function oauth on AWS Lambda.
package main

import (
	"github.com/aiaas/aiaas/adapters/lambda"
	"github.com/aiaas/aiaas/functions/oauth"
	"github.com/aiaas/aiaas/functions/oauth/wire"
)

func main() { lambda.Start(oauth.Spec(), wire.Wire) }
