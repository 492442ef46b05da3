// Command lambda runs the function organizations on AWS Lambda.
package main

import (
	"github.com/aiaas/aiaas/adapters/lambda"
	"github.com/aiaas/aiaas/functions/organizations"
	"github.com/aiaas/aiaas/functions/organizations/wire"
)

func main() { lambda.Start(organizations.Spec(), wire.Wire) }
