// Package functions lists the platform's functions. It is imported by the command,
// which mounts them all, and by the generators; a Lambda bootstrap imports its own
// function alone.
package functions

import (
	"github.com/aiaas/aiaas/functions/analytics"
	analyticswire "github.com/aiaas/aiaas/functions/analytics/wire"
	"github.com/aiaas/aiaas/functions/audit"
	auditwire "github.com/aiaas/aiaas/functions/audit/wire"
	"github.com/aiaas/aiaas/functions/budgets"
	budgetswire "github.com/aiaas/aiaas/functions/budgets/wire"
	"github.com/aiaas/aiaas/functions/identity"
	identitywire "github.com/aiaas/aiaas/functions/identity/wire"
	"github.com/aiaas/aiaas/functions/inference"
	inferencewire "github.com/aiaas/aiaas/functions/inference/wire"
	"github.com/aiaas/aiaas/functions/invoices"
	invoiceswire "github.com/aiaas/aiaas/functions/invoices/wire"
	"github.com/aiaas/aiaas/functions/keys"
	keyswire "github.com/aiaas/aiaas/functions/keys/wire"
	"github.com/aiaas/aiaas/functions/metering"
	meteringwire "github.com/aiaas/aiaas/functions/metering/wire"
	"github.com/aiaas/aiaas/functions/models"
	modelswire "github.com/aiaas/aiaas/functions/models/wire"
	"github.com/aiaas/aiaas/functions/notifications"
	notificationswire "github.com/aiaas/aiaas/functions/notifications/wire"
	"github.com/aiaas/aiaas/functions/oauth"
	oauthwire "github.com/aiaas/aiaas/functions/oauth/wire"
	"github.com/aiaas/aiaas/functions/operations"
	operationswire "github.com/aiaas/aiaas/functions/operations/wire"
	"github.com/aiaas/aiaas/functions/organizations"
	organizationswire "github.com/aiaas/aiaas/functions/organizations/wire"
	"github.com/aiaas/aiaas/functions/portal"
	portalwire "github.com/aiaas/aiaas/functions/portal/wire"
	"github.com/aiaas/aiaas/functions/requests"
	requestswire "github.com/aiaas/aiaas/functions/requests/wire"
	"github.com/aiaas/aiaas/functions/signin"
	signinwire "github.com/aiaas/aiaas/functions/signin/wire"
	"github.com/aiaas/aiaas/shared/function"
)

// Catalogue returns all functions.
func Catalogue() []function.Entry {
	return []function.Entry{
		{Spec: inference.Spec(), Wire: inferencewire.Wire},
		{Spec: models.Spec(), Wire: modelswire.Wire},
		{Spec: organizations.Spec(), Wire: organizationswire.Wire},
		{Spec: keys.Spec(), Wire: keyswire.Wire},
		{Spec: identity.Spec(), Wire: identitywire.Wire},
		{Spec: signin.Spec(), Wire: signinwire.Wire},
		{Spec: oauth.Spec(), Wire: oauthwire.Wire},
		{Spec: budgets.Spec(), Wire: budgetswire.Wire},
		{Spec: metering.Spec(), Wire: meteringwire.Wire},
		{Spec: analytics.Spec(), Wire: analyticswire.Wire},
		{Spec: invoices.Spec(), Wire: invoiceswire.Wire},
		{Spec: requests.Spec(), Wire: requestswire.Wire},
		{Spec: audit.Spec(), Wire: auditwire.Wire},
		{Spec: notifications.Spec(), Wire: notificationswire.Wire},
		{Spec: portal.Spec(), Wire: portalwire.Wire},
		{Spec: operations.Spec(), Wire: operationswire.Wire},
	}
}
