// Command lambda is the Lambda bootstrap of the inference function.
package main

import (
	"github.com/aiaas/aiaas/adapters/lambda"
	"github.com/aiaas/aiaas/functions/inference"
	"github.com/aiaas/aiaas/functions/inference/wire"
)

func main() { lambda.Start(inference.Spec(), wire.Wire) }
