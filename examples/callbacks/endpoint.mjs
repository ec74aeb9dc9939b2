// A callback behind an HTTP endpoint, in Node without any package: verify the signature, refresh, answer.
//
//   CALLBACK_SECRET=whsec_... PORT=8080 node endpoint.mjs
//
// refreshd signs by Standard Webhooks (https://www.standardwebhooks.com); the npm package `standardwebhooks` does what
// verify() does here. Put TLS in front of it: refreshd sends credentials to https:// only.

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const { CALLBACK_SECRET, PORT } = process.env;
if (!CALLBACK_SECRET) throw new Error("CALLBACK_SECRET is not set: the one that refreshd has, base64");
const key = Buffer.from(CALLBACK_SECRET.replace(/^whsec_/, ""), "base64");
const TOLERANCE_S = 5 * 60;

function verify(headers, body) {
  const { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signatures } = headers;
  if (!id || !timestamp || !signatures) return false;
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE_S) return false;
  const expected = createHmac("sha256", key).update(`${id}.${timestamp}.${body}`).digest();
  return signatures.split(" ").some((one) => {
    const [version, signature] = one.split(",");
    const given = Buffer.from(signature ?? "", "base64");
    return version === "v1" && given.length === expected.length && timingSafeEqual(given, expected);
  });
}

// The inputs have the names that every callback's have; so has the answer. See docs/callbacks.md.
async function refresh(inputs) {
  const response = await fetch(inputs.access_token_refresh_url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ client: inputs.consumer_id, token: inputs.refresh_token }),
  });
  const body = await response.json();
  if (body.error) return { errorResponse: { error: body.error, error_description: body.message } };
  return { access_token: body.access_token, refresh_token: body.refresh_token, expires_in: body.expires_in };
}

const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks).toString();
  const answer = (status, content) => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(content));
  };
  if (request.method !== "POST" || !verify(request.headers, body)) return answer(401, { detail: "not signed" });
  try {
    answer(200, await refresh(JSON.parse(body)));
  } catch (error) {
    answer(502, { detail: error.message }); // a failed run: refreshd tries again later
  }
});
server.listen(Number(PORT ?? 8080), "127.0.0.1", () => {
  console.log(`http://127.0.0.1:${server.address().port}/`);
});
