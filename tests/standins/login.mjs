// A vendor's sign-in: a real OAuth 2 server (oauth2-mock-server), which checks PKCE (RFC 7636) by itself, and around it what
// it does not check: client, redirect, and that each refresh token is the one that it gave last.
//
// usage: node login.mjs PARTS CLIENT_ID CLIENT_SECRET, where PARTS is the folder that tests/standins/setup filled.
// Says {"port": …} on stdout once it listens. Each line on stdin changes what comes next, and is answered when it was heard:
// `refuse` (the person says no), `other_state` (the answer is of another login), `revoke` (no refresh token is good any more),
// `short` (tokens live for a second). Ends when stdin does.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [parts, clientId, clientSecret] = process.argv.slice(2);
const require = createRequire(parts + '/package.json');
const { OAuth2Server } = await import(pathToFileURL(require.resolve('oauth2-mock-server')).href);

const server = new OAuth2Server();
await server.issuer.keys.generate('RS256');
await server.start(0, '127.0.0.1');
const { port } = server.address();
server.issuer.url = `http://127.0.0.1:${port}`;

let next = '';
let short = false;
let last;
const redirects = new Map();

// RFC 6749 §4.1.2.1: the person says no.
server.service.on('beforeAuthorizeRedirect', (redirect, request) => {
  const asked = request.query;
  redirects.set(redirect.url.searchParams.get('code'), asked.redirect_uri);
  const wrong = asked.client_id !== clientId || asked.code_challenge_method !== 'S256' || asked.access_type !== 'offline';
  if (next === 'refuse' || wrong) {
    redirect.url.searchParams.delete('code');
    redirect.url.searchParams.set('error', wrong ? 'invalid_request' : 'access_denied');
    redirect.url.searchParams.set('error_description', 'The user did not consent');
  }
  if (next === 'other_state') redirect.url.searchParams.set('state', 'another');
  next = '';
});

// RFC 6749 §5.2.
server.service.on('beforeResponse', (response, request) => {
  const refuse = (statusCode, error, description) => {
    response.statusCode = statusCode;
    response.body = { error, error_description: description };
  };
  const asked = request.body;
  if (asked.client_id !== clientId || asked.client_secret !== clientSecret) {
    refuse(401, 'invalid_client', 'Client authentication failed.');
  } else if (asked.grant_type === 'authorization_code') {
    const known = redirects.get(asked.code);
    redirects.delete(asked.code);
    if (!known || known !== asked.redirect_uri) refuse(400, 'invalid_grant', 'The code or its redirect URI is not known.');
    else if (!asked.code_verifier) refuse(400, 'invalid_request', 'A code_verifier is needed.');
    else last = response.body.refresh_token;
  } else if (asked.grant_type === 'refresh_token') {
    if (!last || asked.refresh_token !== last) refuse(400, 'invalid_grant', 'The refresh token is revoked or was replaced.');
    else last = response.body.refresh_token;
  }
  if (short && response.statusCode === 200) response.body.expires_in = 1;
});

createInterface({ input: process.stdin })
  .on('line', (line) => {
    if (line === 'revoke') last = undefined;
    else if (line === 'short') short = true;
    else next = line;
    console.log(JSON.stringify({ heard: line }));
  })
  .on('close', () => process.exit(0));

console.log(JSON.stringify({ port }));
