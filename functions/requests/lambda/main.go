// Command lambda is the Lambda bootstrap of the function requests.
package main

import (
	"github.com/aiaas/aiaas/adapters/lambda"
	"github.com/aiaas/aiaas/functions/requests"
	"github.com/aiaas/aiaas/functions/requests/wire"
)

func main() { lambda.Start(requests.Spec(), wire.Wire) }
