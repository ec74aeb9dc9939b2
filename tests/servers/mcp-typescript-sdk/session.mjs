// An MCP client's session with the tokens that stand in Redis, as docs/mcp.md has it: a tool is called for each line of
// standard input.
//
// node session.mjs URL REDIS_URL ACCOUNT

import { createInterface } from 'node:readline';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { createClient } from 'redis';

const [url, redisUrl, account] = process.argv.slice(2);
const redis = await createClient({ url: redisUrl }).connect();
const fresh = async (input, init) => {
  const { access_token } = await redis.hGetAll(`refreshd:token:{${account}}`);
  const headers = new Headers(init?.headers);
  headers.set('authorization', `Bearer ${access_token}`);
  return fetch(input, { ...init, headers });
};
const client = new Client({ name: 'agent', version: '1' });
await client.connect(new StreamableHTTPClientTransport(new URL(url), { fetch: fresh }));
for await (const _ of createInterface({ input: process.stdin })) {
  const { content } = await client.callTool({ name: 'whoami', arguments: {} });
  console.log(content[0].text);
}
await client.close();
await redis.quit();
