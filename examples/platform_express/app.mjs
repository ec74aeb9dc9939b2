// A platform with a "Connect" button: Express, refreshd's API for consent, Redis for tokens. Node 20 and later.
//
//     npm ci && node app.mjs
//
// Its key may open Connect sessions and read accounts' states. No key and no token ever reaches the browser.

import { randomBytes } from "node:crypto";
import express from "express";
import { createClient } from "redis";
import { Webhook, WebhookVerificationError } from "standardwebhooks";

const { PLATFORM_URL, PORT, CRM_URL, REFRESHD_API_URL, REFRESHD_API_KEY, REFRESHD_REDIS_URL, REFRESHD_WEBHOOK_SECRET } = process.env;
const webhook = new Webhook(REFRESHD_WEBHOOK_SECRET);
const RECONNECT = ["reauthorize", "connected", "reconnected", "recovered"];

const redis = await createClient({ url: REFRESHD_REDIS_URL }).on("error", (error) => console.error(`Redis: ${error.message}`)).connect();
// Your database's, in a real platform: who is logged in, and who is connected. true: the account has to consent again.
const customers = new Map();
const opened = new Map();
const connected = new Map();

async function api(method, path, body) {
  const response = await fetch(REFRESHD_API_URL + path, {
    method,
    headers: { authorization: `Bearer ${REFRESHD_API_KEY}`, "content-type": "application/json" },
    body: body && JSON.stringify(body),
    redirect: "error",
    signal: AbortSignal.timeout(30_000),
  });
  const answer = await response.json();
  if (!response.ok) throw Object.assign(new Error(`${answer.status} ${answer.title}: ${answer.detail}`), { status: answer.status });
  return answer;
}

// What webhooks said while this app was down.
for (let cursor = ""; cursor !== null; ) {
  const page = await api("GET", `/v1/accounts?status=reauthorize&limit=500${cursor && `&cursor=${cursor}`}`);
  for (const account of page.accounts) connected.set(account.id, true);
  cursor = page.next_cursor;
}

const app = express();
app.disable("x-powered-by");

app.use((request, response, next) => {
  const login = /(?:^|; )login=([\w-]+)/.exec(request.headers.cookie ?? "")?.[1];
  Object.assign(request, { login, customer: customers.get(login) });
  if (request.customer || ["/", "/webhooks"].includes(request.path)) next();
  else response.status(401).send("log in first");
});

app.get("/", (request, response) => {
  let { customer } = request;
  if (!customer) { // a real platform has a login page
    const login = randomBytes(24).toString("base64url");
    customers.set(login, (customer = `customer-${randomBytes(4).toString("hex")}`));
    response.cookie("login", login, { httpOnly: true, sameSite: "lax", secure: PLATFORM_URL.startsWith("https:") });
  }
  const [status, words] = new Map([
    [undefined, ["not connected", "Connect CRM"]], [true, ["to be reconnected", "Reconnect CRM"]], [false, ["connected", "Connect again"]],
  ]).get(connected.get(customer));
  response.send(`<!doctype html><title>Platform</title><h1>${customer}: ${status}</h1>
<form method="post" action="/connect"><button>${words}</button></form><p><a href="/crm">What the CRM says</a>`);
});

app.post("/connect", async ({ login, customer }, response) => {
  const session = await api("POST", "/v1/connect/sessions", {
    account: customer, client: "crm", return_url: `${PLATFORM_URL}/connected`, labels: { tenant: customer },
  });
  opened.set(login, session.id);
  response.redirect(303, session.url);
});

app.get("/connected", async ({ login, customer, query }, response) => {
  const session = opened.get(login);
  opened.delete(login);
  if (!session || query.session !== session) { // anybody can type this address
    return response.status(400).send("This browser did not begin that connection.");
  }
  const found = await api("GET", `/v1/connect/sessions/${session}`);
  if (found.status !== "connected") return response.status(400).send(`Not connected: ${found.reason}. <a href="/">Try again</a>`);
  connected.set(customer, false);
  response.redirect(303, "/");
});

app.post("/webhooks", express.raw({ type: "*/*", limit: "256kb" }), async (request, response) => {
  let message;
  try {
    message = webhook.verify(request.body.toString(), request.headers);
  } catch (error) {
    if (error instanceof WebhookVerificationError) return response.sendStatus(401);
    throw error;
  }
  // Messages may come twice, and late: what they say is looked up, not believed.
  const { account, accounts } = message.data;
  for (const id of RECONNECT.includes(message.type) ? accounts ?? [account].filter(Boolean) : []) {
    try {
      connected.set(id, (await api("GET", `/v1/accounts/${encodeURIComponent(id)}`)).status === "reauthorize");
    } catch (error) {
      if (error.status !== 404) throw error;
      connected.delete(id); // it was removed since
    }
  }
  response.sendStatus(204);
});

app.get("/crm", async ({ customer }, response) => {
  // docs/redis.md has all that a connector may read; examples/connectors/connector.mjs also reports refused tokens.
  const token = await redis.hGetAll(`refreshd:token:{${customer}}`);
  if (!token.access_token) return response.status(409).send('No token. <a href="/">Connect</a>');
  const answer = await fetch(`${CRM_URL}/api/me`, { headers: { authorization: `Bearer ${token.access_token}` } });
  response.type("html").send(`${answer.status} with token ${token.generation}: ${await answer.text()}`);
});

app.use((error, request, response, next) => {
  console.error(error.message);
  response.status(502).send("That did not work; the log says why.");
});

app.listen(PORT, "127.0.0.1", () => console.log(`listening at ${PLATFORM_URL}`));
