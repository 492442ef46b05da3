// Command lambda runs the function notifications on AWS Lambda.
package main

import (
	"github.com/aiaas/aiaas/adapters/lambda"
	"github.com/aiaas/aiaas/functions/notifications"
	"github.com/aiaas/aiaas/functions/notifications/wire"
)

func main() { lambda.Start(notifications.Spec(), wire.Wire) }
