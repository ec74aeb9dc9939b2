// An MCP server with a tool, and its own authorization server: @modelcontextprotocol/sdk's router and demonstration
// provider, to which this adds the refresh that it leaves out. Clients register themselves, everybody consents, a refresh
// token is spent by its use. The tool `whoami` tells which of the tokens it was called with.

import { randomUUID } from 'node:crypto';
import { DemoInMemoryAuthProvider } from '@modelcontextprotocol/sdk/examples/server/demoInMemoryOAuthProvider.js';
import { InvalidGrantError, InvalidTargetError } from '@modelcontextprotocol/sdk/server/auth/errors.js';
import { requireBearerAuth } from '@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js';
import { getOAuthProtectedResourceMetadataUrl, mcpAuthRouter } from '@modelcontextprotocol/sdk/server/auth/router.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import express from 'express';

const { PORT } = process.env;
const ORIGIN = `http://127.0.0.1:${PORT}`;
const RESOURCE = new URL(`${ORIGIN}/mcp`);
const serials = new Map();

class Provider extends DemoInMemoryAuthProvider {
  granted = new Map();

  async exchangeAuthorizationCode(client, code, verifier, ...rest) {
    return this.withRefreshToken(await super.exchangeAuthorizationCode(client, code, verifier, ...rest));
  }

  async exchangeRefreshToken(client, refreshToken, scopes, resource) {
    const found = this.granted.get(refreshToken);
    if (!found || found.clientId !== client.client_id) throw new InvalidGrantError('unknown refresh token');
    if (resource?.href !== RESOURCE.href) throw new InvalidTargetError(`no such resource: ${resource}`);
    this.granted.delete(refreshToken);
    const token = randomUUID();
    this.tokens.set(token, { ...found, token, expiresAt: Date.now() + 3_600_000 });
    return this.withRefreshToken({ access_token: token, token_type: 'bearer', expires_in: 3600 });
  }

  withRefreshToken(tokens) {
    const refreshToken = randomUUID();
    this.granted.set(refreshToken, this.tokens.get(tokens.access_token));
    serials.set(tokens.access_token, serials.size + 1);
    return { ...tokens, refresh_token: refreshToken };
  }
}

const provider = new Provider((resource) => resource?.href === RESOURCE.href);
const app = express();
app.use(express.json());
app.use(mcpAuthRouter({
  provider, issuerUrl: new URL(ORIGIN), resourceServerUrl: RESOURCE, scopesSupported: ['tools'],
}));
const guard = requireBearerAuth({
  verifier: provider, requiredScopes: ['tools'], resourceMetadataUrl: getOAuthProtectedResourceMetadataUrl(RESOURCE),
});
app.all('/mcp', guard, async (request, answer) => {
  const server = new McpServer({ name: 'notes', version: '1.0.0' });
  server.registerTool('whoami', { description: 'Tell which token this is.' }, (extra) => ({
    content: [{ type: 'text', text: `token ${serials.get(extra.authInfo.token)} for ${extra.authInfo.resource}` }],
  }));
  const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined });
  await server.connect(transport);
  await transport.handleRequest(request, answer, request.body);
});
app.listen(Number(PORT), '127.0.0.1', () => console.log('listening'));
