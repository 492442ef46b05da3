// Command lambda runs the function models on AWS Lambda.
package main

import (
	"github.com/aiaas/aiaas/adapters/lambda"
	"github.com/aiaas/aiaas/functions/models"
	"github.com/aiaas/aiaas/functions/models/wire"
)

func main() { lambda.Start(models.Spec(), wire.Wire) }
