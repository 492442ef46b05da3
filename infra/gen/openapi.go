package main

import (
	"fmt"

	"github.com/aiaas/aiaas/functions/analytics"
	"github.com/aiaas/aiaas/functions/audit"
	"github.com/aiaas/aiaas/functions/budgets"
	"github.com/aiaas/aiaas/functions/identity"
	inference "github.com/aiaas/aiaas/functions/inference/openapi"
	"github.com/aiaas/aiaas/functions/invoices"
	"github.com/aiaas/aiaas/functions/keys"
	"github.com/aiaas/aiaas/functions/models"
	"github.com/aiaas/aiaas/functions/notifications"
	"github.com/aiaas/aiaas/functions/oauth"
	"github.com/aiaas/aiaas/functions/operations"
	"github.com/aiaas/aiaas/functions/organizations"
	"github.com/aiaas/aiaas/functions/portal"
	"github.com/aiaas/aiaas/functions/requests"
	"github.com/aiaas/aiaas/functions/signin"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/rest"
)

// version is the version of the API's contract.
const version = "1.0.0"

const description = "One API for every model, with keys, budgets and exact usage. " +
	"The routes under **Inference** speak OpenAI's protocol, so the stock OpenAI SDKs work with this server as their base URL (plus `/v1`). " +
	"Every error is a problem document (RFC 9457) whose `code` a program can branch on."

// openAPI describes the routes of all functions in one document. A function with
// routes that nobody describes is an error.
func openAPI(specs []function.Spec) ([]byte, error) {
	doc := rest.NewDocument("AIaaS", version, description,
		rest.Tag{Name: "Inference", Description: "Call models. Paid by tokens, at the price in force when the request was admitted."},
		rest.Tag{Name: "Usage", Description: "What was used, and its exact cost."},
		rest.Tag{Name: "Organizations", Description: "The own organization and its settings; and all of them, for the platform's administrators."},
		rest.Tag{Name: "Plans", Description: "Named sets of limits. For the platform's administrators."},
		rest.Tag{Name: "API keys", Description: "Hand out and revoke keys."},
		rest.Tag{Name: "Sign-in", Description: "Come in by a password, a passkey or single sign-on; forgotten and changed passwords."},
		rest.Tag{Name: "Invitations", Description: "Ask people into the organization, and come in by an invitation."},
		rest.Tag{Name: "Second factors", Description: "Your authenticator app, passkeys and recovery codes."},
		rest.Tag{Name: "Single sign-on", Description: "Sign in at the organization's own issuer of OpenID Connect; its domains and connections."},
		rest.Tag{Name: "Sessions", Description: "Where you are signed in, and signing out."},
		rest.Tag{Name: "Members", Description: "The people of an organisation, and the programs that act for it."},
		rest.Tag{Name: "Roles", Description: "What members may do: built-in roles, and those that an organisation makes."},
		rest.Tag{Name: "Projects", Description: "Projects, and who works in them."},
		rest.Tag{Name: "Access", Description: "Who the caller is, what anybody may do, and why."},
		rest.Tag{Name: "OAuth", Description: "Let programs act for people, and service accounts for themselves: OAuth 2 and OpenID Connect."},
		rest.Tag{Name: "Budgets", Description: "Limit what is spent, by organisation, project, key or model."},
		rest.Tag{Name: "Invoices", Description: "What is to be paid for a month, as JSON, CSV and PDF; who is billed, and who bills."},
		rest.Tag{Name: "Events", Description: "What happened, and the catalogue of all that can."},
		rest.Tag{Name: "Webhooks", Description: "Addresses that hear of events, signed as Standard Webhooks have it."},
		rest.Tag{Name: "Mails", Description: "What became of the mails of the organization."},
		rest.Tag{Name: "Catalogue", Description: "Models, backends and prices. For the platform's administrators."},
		rest.Tag{Name: "Audit", Description: "Who did what, and who was refused what: append-only, chained, signed, verifiable."},
		rest.Tag{Name: "Jobs", Description: "What runs by schedule, what it did, and starting it by hand. For the platform's administrators."},
		rest.Tag{Name: "Pages", Description: "On which people sign in, keep their account, and let programs act for them. Public: they ask the routes above."},
		rest.Tag{Name: "Operations", Description: "Health and this reference. Public."},
	)
	for _, s := range specs {
		switch {
		case len(s.Routes) == 0:
		case s.Name == "inference":
			if err := inference.Describe(doc, s); err != nil {
				return nil, fmt.Errorf("describe %s: %w", s.Name, err)
			}
		default:
			describe, ok := describers()[s.Name]
			if !ok {
				return nil, fmt.Errorf("describe %s: it has routes and no description", s.Name)
			}
			describe(doc)
		}
	}
	return doc.JSON()
}

func describers() map[string]func(*rest.Document) {
	return map[string]func(*rest.Document){
		"analytics": analytics.Describe, "identity": identity.Describe, "audit": audit.Describe, "budgets": budgets.Describe, "invoices": invoices.Describe, "keys": keys.Describe,
		"models": models.Describe, "notifications": notifications.Describe, "oauth": oauth.Describe, "operations": operations.Describe, "organizations": organizations.Describe, "portal": portal.Describe, "requests": requests.Describe,
		"signin": signin.Describe,
	}
}
