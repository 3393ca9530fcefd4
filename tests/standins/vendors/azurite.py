"""Azurite, Microsoft's own emulator of Azure Storage, as a child.

"Authorize with Shared Key" says what is signed, and how. The emulator's paths begin with the account, so that a signed
resource names it twice. Azurite takes SharedKeyLite for tables alone, though Azure takes it for blobs and queues too:
for those a signature is checked here, and the request signed anew for Azurite as SharedKey. The account and its key are
the emulator's well-known ones.
"""

import base64
import email.utils
import hashlib
import hmac
import time
import urllib.error
import urllib.parse
import urllib.request

import child
from standin import Refused, Vendor, proxy

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def digest(text):
    return base64.b64encode(hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()


def canonical_headers(headers):
    named = sorted((name, value) for name, value in headers.items() if name.startswith("x-ms-"))
    return "".join(f"{name}:{value.strip()}\n" for name, value in named)


def lite(service, method, target, headers):
    """The text to sign of SharedKeyLite; of the query only `comp` counts."""
    path, _, query = target.partition("?")
    comp = dict(urllib.parse.parse_qsl(query, keep_blank_values=True)).get("comp")
    resource = f"/{ACCOUNT}{path}" + (f"?comp={comp}" if comp else "")
    if service == "table":
        return f"{headers.get('x-ms-date') or headers.get('date', '')}\n{resource}"
    date = "" if "x-ms-date" in headers else headers.get("date", "")
    typed = headers.get("content-type", "")
    return f"{method}\n{headers.get('content-md5', '')}\n{typed}\n{date}\n{canonical_headers(headers)}{resource}"


def full(method, target, headers, length):
    """The text to sign of SharedKey, for blobs and queues."""
    path, _, query = target.partition("?")
    names = (
        "content-encoding", "content-language", "content-length", "content-md5", "content-type", "date",
        "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range",
    )
    known = {**headers, "content-length": str(length or "")}
    lines = "\n".join(known.get(name, "") for name in names)
    pairs = sorted((name.lower(), value) for name, value in urllib.parse.parse_qsl(query, keep_blank_values=True))
    resource = f"/{ACCOUNT}{path}" + "".join(f"\n{name}:{value}" for name, value in pairs)
    return f"{method}\n{lines}\n{canonical_headers(headers)}{resource}"


class Azurite(Vendor):
    """`service` is blob, queue or table."""

    def __init__(self, service, version):
        self.service, self.version = service, version
        port = child.free_port()
        script = child.INSTALLED / "node_modules" / "azurite" / "dist" / "src" / service / "main.js"
        command = ["node", script, f"--{service}Host", "127.0.0.1", f"--{service}Port", port, "--location", child.folder()]
        child.start([*command, "--silent", "--skipApiVersionCheck", "--disableTelemetry"], port)
        self.base = f"http://127.0.0.1:{port}"

    def handle(self, request):
        if self.service != "table":
            self.check(request)
            signed = full(request.method, request.target, request.headers, len(request.raw))
            request.headers = {**request.headers, "authorization": f"SharedKey {ACCOUNT}:{digest(signed)}"}
        return proxy(request, self.base)

    def check(self, request):
        given = request.headers.get("authorization", "")
        wrong = given != f"SharedKeyLite {ACCOUNT}:{digest(lite(self.service, request.method, request.target, request.headers))}"
        try:
            made = email.utils.parsedate_to_datetime(request.headers.get("x-ms-date") or request.headers.get("date"))
            # A request is refused a quarter of an hour after its date.
            wrong = wrong or abs(time.time() - made.timestamp()) > 900
        except (TypeError, ValueError):
            wrong = True
        if wrong or "x-ms-version" not in request.headers:
            text = "Server failed to authenticate the request. Make sure the value of the Authorization header is formed correctly including the signature."
            body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>AuthenticationFailed</Code><Message>{text}</Message></Error>'
            raise Refused(403, body, {"Content-Type": "application/xml", "x-ms-error-code": "AuthenticationFailed"})

    def ask(self, method, path, query="", body=None, headers=None):
        """A signed request of our own, below the account: (status, body)."""
        target = f"/{ACCOUNT}{path}" + (f"?{query}" if query else "")
        headers = {name.lower(): value for name, value in (headers or {}).items()}
        headers |= {"x-ms-date": email.utils.formatdate(usegmt=True), "x-ms-version": self.version}
        if self.service == "table":
            headers["authorization"] = f"SharedKeyLite {ACCOUNT}:{digest(lite('table', method, target, headers))}"
        else:
            headers["authorization"] = f"SharedKey {ACCOUNT}:{digest(full(method, target, headers, len(body or b'')))}"
        request = urllib.request.Request(self.base + target, data=body, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as answer:
            return answer.code, answer.read()

    def prepare(self, *asked, **more):
        status, body = self.ask(*asked, **more)
        if status not in (201, 204):
            raise SystemExit(f"Azurite answered {status} to {asked}: {body[:300]!r}")
