// Microsoft Entra ID's token endpoint, as far as client credentials need it: a real OAuth 2 server (oauth2-mock-server)
// that checks what it does not check by itself.
//
// usage: node entra.mjs PARTS CLIENT_ID CLIENT_SECRET, where PARTS is the folder that tests/standins/setup filled.
// Says {"port": …} on stdout once it listens. Each line on stdin changes it: `expired` makes the next token one that
// has ended already; it answers when it has heard. Ends when stdin does.
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

let expired = false;

// "OAuth 2.0 client credentials flow on the Microsoft identity platform": the scope is the resource with /.default
// appended, and the token's audience is that resource.
server.service.on('beforeTokenSigning', (token, request) => {
  const now = Math.floor(Date.now() / 1000);
  token.payload.aud = String(request.body.scope ?? '').replace(/\/\.default$/, '');
  token.payload.appid = request.body.client_id;
  if (expired) {
    token.payload.iat = now - 7200;
    token.payload.nbf = now - 7200;
    token.payload.exp = now - 3600;
    expired = false;
  }
});

// "Microsoft Entra authentication and authorization error codes": AADSTS7000215, AADSTS700016, AADSTS70011.
server.service.on('beforeResponse', (response, request) => {
  const refuse = (statusCode, error, description) => {
    response.statusCode = statusCode;
    response.body = { error, error_description: description };
  };
  const { client_id: id, client_secret: secret, scope } = request.body;
  if (id !== clientId) refuse(400, 'unauthorized_client', `AADSTS700016: Application '${id}' was not found.`);
  else if (secret !== clientSecret) refuse(401, 'invalid_client', 'AADSTS7000215: Invalid client secret provided.');
  else if (!/^https?:\/\/.+\/\.default$/.test(scope ?? '')) refuse(400, 'invalid_scope', 'AADSTS70011: The scope is not valid.');
});

createInterface({ input: process.stdin })
  .on('line', (line) => {
    if (line === 'expired') expired = true;
    console.log(JSON.stringify({ heard: line }));
  })
  .on('close', () => process.exit(0));

console.log(JSON.stringify({ port }));
