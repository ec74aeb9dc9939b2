// Call an API with an account's token, and have a refused token replaced: Node 18 and later, no packages.
//
//     REFRESHD_REDIS_URL=redis://refreshd-connector:PASSWORD@HOST:6379/0 node connector.mjs ACCOUNT URL
//
// docs/redis.md is what this follows. A real connector takes a Redis client; the little one below is here so
// that nothing needs to be installed.

import net from "node:net";
import tls from "node:tls";

const WAIT_MS = 10_000; // for a newer token, after the API refused one
const LOOK_AGAIN_MS = 500; // an announcement may be lost with its connection
const SETTLED = ["reauthorize", "misconfigured", "disabled"]; // waiting does not help

async function main(account, url) {
  const redis = await Redis.connect(process.env.REFRESHD_REDIS_URL);
  try {
    const token = await readToken(redis, account);
    let response = await call(url, token);
    if (response.status === 401) {
      const newer = await replacement(redis, account, token);
      if (newer) response = await call(url, newer);
    }
    console.log(response.status, await response.text());
    return response.ok ? 0 : 1;
  } finally {
    redis.close();
  }
}

function call(url, token) {
  const type = token.token_type || "Bearer";
  const scheme = type.toLowerCase() === "bearer" ? "Bearer" : type; // many an API minds the case
  return fetch(url, { headers: { Authorization: `${scheme} ${token.access_token}` } });
}

async function readToken(redis, account) {
  const token = await hash(redis, `refreshd:token:{${account}}`);
  if (token) return token;
  const state = await hash(redis, `refreshd:account:{${account}}`);
  throw new Error(state ? `${account}: no token: ${state.status} ${state.reason}` : `${account}: unknown account`);
}

// Report the refused token, and wait until a newer generation is there. Listen first, then report, then look: a
// newer token can't slip through between.
async function replacement(redis, account, refused) {
  const ears = await Redis.connect(process.env.REFRESHD_REDIS_URL);
  try {
    let announced = ears.nextPush();
    await ears.command("SUBSCRIBE", "refreshd:announce");
    await redis.command(
      "XADD", "refreshd:rejected", "MAXLEN", "~", "100000", "*",
      "account", account, "generation", refused.generation, "http_status", "401",
    );
    const endsAt = Date.now() + WAIT_MS;
    for (;;) {
      const token = await hash(redis, `refreshd:token:{${account}}`);
      if (token && BigInt(token.generation) > BigInt(refused.generation)) return token;
      const state = await hash(redis, `refreshd:account:{${account}}`);
      if (Date.now() >= endsAt || SETTLED.includes(state?.status)) return null;
      await Promise.race([announced, new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS))]);
      announced = ears.nextPush();
    }
  } finally {
    ears.close();
  }
}

async function hash(redis, key) {
  const flat = await redis.command("HGETALL", key);
  if (flat.length === 0) return null;
  const fields = {};
  for (let i = 0; i < flat.length; i += 2) fields[flat[i]] = flat[i + 1];
  return fields;
}

// RESP2 (redis.io/docs/reference/protocol-spec): what this example needs of it.
class Redis {
  static async connect(address) {
    const url = new URL(address);
    const at = { host: url.hostname, port: Number(url.port || 6379) };
    const socket = url.protocol === "rediss:" ? tls.connect({ ...at, servername: url.hostname }) : net.connect(at);
    const redis = new Redis(socket);
    const database = url.pathname.slice(1) || "0";
    try {
      if (url.password) {
        const user = decodeURIComponent(url.username) || "default";
        await redis.command("AUTH", user, decodeURIComponent(url.password));
      }
      if (database !== "0") await redis.command("SELECT", database);
    } catch (error) {
      redis.close(); // an open socket keeps the process
      throw error;
    }
    return redis;
  }

  constructor(socket) {
    this.socket = socket;
    this.received = Buffer.alloc(0);
    this.waiting = [];
    this.onPush = () => {};
    socket.on("data", (chunk) => this.#take(chunk));
    socket.on("error", (error) => this.#fail(error));
    socket.on("close", () => this.#fail(new Error("Redis closed the connection")));
  }

  command(...words) {
    const parts = words.map(String).map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`);
    return new Promise((resolve, reject) => {
      this.waiting.push({ resolve, reject });
      this.socket.write(`*${words.length}\r\n${parts.join("")}`);
    });
  }

  nextPush() {
    return new Promise((resolve) => (this.onPush = resolve));
  }

  close() {
    this.waiting = [];
    this.socket.destroy();
  }

  #take(chunk) {
    this.received = Buffer.concat([this.received, chunk]);
    for (let reply; (reply = parse(this.received, 0)); ) {
      this.received = this.received.subarray(reply.end);
      const { value } = reply;
      if (Array.isArray(value) && value[0] === "message") this.onPush(value);
      else if (value instanceof Error) this.waiting.shift()?.reject(value);
      else this.waiting.shift()?.resolve(value);
    }
  }

  #fail(error) {
    for (const { reject } of this.waiting.splice(0)) reject(error);
  }
}

// Give { value, end } of the reply that begins at `start`, or null while it is incomplete.
function parse(buffer, start) {
  const lineEnd = buffer.indexOf("\r\n", start);
  if (lineEnd < 0) return null;
  const line = buffer.toString("utf8", start + 1, lineEnd);
  let end = lineEnd + 2;
  switch (String.fromCharCode(buffer[start])) {
    case "+": return { value: line, end };
    case "-": return { value: new Error(line), end };
    case ":": return { value: Number(line), end };
    case "$": {
      const length = Number(line);
      if (length < 0) return { value: null, end };
      if (buffer.length < end + length + 2) return null;
      return { value: buffer.toString("utf8", end, end + length), end: end + length + 2 };
    }
    case "*": {
      const value = [];
      for (let i = 0; i < Number(line); i++) {
        const item = parse(buffer, end);
        if (!item) return null;
        value.push(item.value);
        end = item.end;
      }
      return { value, end };
    }
    default: throw new Error(`not a RESP2 reply: ${line}`);
  }
}

main(...process.argv.slice(2)).then(
  (code) => { process.exitCode = code; },
  (error) => { console.error(error.message); process.exitCode = 1; },
);
