// Command lambda runs the function budgets on AWS Lambda.
package main

import (
	"github.com/aiaas/aiaas/adapters/lambda"
	"github.com/aiaas/aiaas/functions/budgets"
	"github.com/aiaas/aiaas/functions/budgets/wire"
)

func main() { lambda.Start(budgets.Spec(), wire.Wire) }
