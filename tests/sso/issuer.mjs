// An issuer of OpenID Connect: oidc-provider as it comes, with a log-in that asks
// nobody. Who signs in follows from login_hint; what is known of him from what the test
// has told by PUT /people. Prints its address when it listens, and ends with its input.

import Provider from "oidc-provider";
import { createServer } from "node:http";

const people = new Map(); // by e-mail address

const server = createServer();
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: [
    { client_id: "aiaas", client_secret: "a-secret-of-the-issuer", redirect_uris: ["http://127.0.0.1/nobody"], ...clientBase() },
    { client_id: "aiaas-public", token_endpoint_auth_method: "none", redirect_uris: ["http://127.0.0.1/nobody"], ...clientBase() },
  ],
  pkce: { required: () => true },
  cookies: { keys: ["for the tests only"] },
  claims: { openid: ["sub", "acr", "amr", "auth_time"], email: ["email", "email_verified"], profile: ["name", "groups"] },
  features: { devInteractions: { enabled: false } },
  interactions: { url: (_, i) => `/interaction/${i.uid}` },
  findAccount: (_, sub) => ({
    accountId: sub,
    claims: () => {
      const [email, { amr, acr, ...rest }] = [...people].find(([, p]) => p.sub === sub) || [sub, {}];
      return { email, email_verified: true, name: email, ...rest, sub };
    },
  }),
});

function clientBase() {
  return { grant_types: ["authorization_code"], response_types: ["code"] };
}

// Where clients may be sent back to is known once the platform has made connections.
const redirects = new Set();
provider.Client.prototype.redirectUriAllowed = (uri) => redirects.has(uri);

async function interact(request, response) {
  const { prompt, params, session } = await provider.interactionDetails(request, response);
  const email = params.login_hint?.toLowerCase();
  const person = people.get(email) || {};
  if (person.refuses) {
    return provider.interactionFinished(request, response, { error: "access_denied", error_description: "<b>No.</b>" });
  }
  if (prompt.name === "login") {
    return provider.interactionFinished(request, response, { login: { accountId: person.sub || email, amr: person.amr, acr: person.acr } });
  }
  const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope("openid email profile");
  return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } });
}

async function told(request) {
  let text = "";
  for await (const part of request) text += part;
  return JSON.parse(text);
}

const callback = provider.callback();
server.on("request", async (request, response) => {
  try {
    if (request.method === "PUT" && request.url === "/people") {
      for (const [email, person] of Object.entries(await told(request))) people.set(email, person);
      return response.end();
    }
    if (request.method === "PUT" && request.url === "/redirects") {
      for (const uri of await told(request)) redirects.add(uri);
      return response.end();
    }
    if (request.url.startsWith("/interaction/")) return await interact(request, response);
  } catch (error) {
    response.statusCode = 500;
    return response.end(String(error));
  }
  return callback(request, response);
});

process.stdin.on("end", () => process.exit()).resume();
console.log(issuer);
