"""A real SMTP server (aiosmtpd) for the tests of `smtp.send`. Mails are read back by Python's own parser.

Usage: smtp.py starttls|tls|open CERT KEY. Says {"port": N} on its first line; takes commands on stdin, a line each:
  next CODE TEXT   the next mail is answered so, and not kept
  hang             the next mail is kept, and never answered
  mails            prints what was kept, as one line of JSON
It ends with its stdin. Addresses: refused@… is 550, later@… is 451. The password of `ada` is `geheim-und-lang`."""

import asyncio
import email
import email.policy
import json
import ssl
import sys
import threading

from aiosmtpd.smtp import SMTP, AuthResult

MODE, CERT, KEY = sys.argv[1:4]
mails = []
scripted = []


def read_back(envelope):
    message = email.message_from_bytes(envelope.content, policy=email.policy.default)
    parts = []
    for part in message.walk():
        if part.is_multipart():
            continue
        content = part.get_content()
        parts.append({
            "type": part.get_content_type(),
            "filename": part.get_filename(),
            "content": content if isinstance(content, str) else content.hex(),
        })
    return {
        "from": envelope.mail_from,
        "to": envelope.rcpt_tos,
        "headers": [[name, str(value)] for name, value in message.items()],
        "kind": message.get_content_type(),
        "parts": parts,
        "ascii": envelope.content.isascii(),
    }


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("refused@"):
            return "550 5.1.1 no such mailbox here"
        if address.startswith("later@"):
            return "451 4.7.1 greylisted, come again"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server, session, envelope):
        said = scripted.pop(0) if scripted else ""
        if said.startswith("next "):
            return said[5:]
        mails.append(read_back(envelope))
        if said == "hang":
            await asyncio.sleep(3600)
        return f"250 2.0.0 kept as {len(mails)}"


def authenticate(server, session, envelope, mechanism, data):
    good = data.login == b"ada" and data.password == b"geheim-und-lang"
    return AuthResult(success=good, handled=False)


def listen():
    for line in sys.stdin:
        line = line.strip()
        if line == "mails":
            print(json.dumps(mails), flush=True)
        else:
            scripted.append(line)
            print(json.dumps("heard " + line), flush=True)
    import os
    os._exit(0)


async def main():
    context = None
    if MODE != "open":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERT, KEY)
    options = {"authenticator": authenticate, "hostname": "localhost"}
    if MODE != "open":
        options["auth_required"] = True
    if MODE == "starttls":
        options |= {"tls_context": context, "require_starttls": True}
    if MODE == "tls":
        options["auth_require_tls"] = False
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(Handler(), **options), "127.0.0.1", 0, ssl=context if MODE == "tls" else None
    )
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    threading.Thread(target=listen, daemon=True).start()
    await server.serve_forever()


asyncio.run(main())
