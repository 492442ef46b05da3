// Command lambda is the Lambda bootstrap of the metering function.
package main

import (
	"github.com/aiaas/aiaas/adapters/lambda"
	"github.com/aiaas/aiaas/functions/metering"
	"github.com/aiaas/aiaas/functions/metering/wire"
)

func main() { lambda.Start(metering.Spec(), wire.Wire) }
