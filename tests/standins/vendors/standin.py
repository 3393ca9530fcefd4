"""What all stand-ins of this folder share: one HTTP server with a door for tests.

A stand-in is a file of its own: `python tests/standins/vendors/NAME.py` says {"port": ...} on stdout once it listens on
127.0.0.1, and ends when its stdin does. It answers as the vendor's documentation says, names the page for each
behaviour, and refuses what the vendor would refuse.

/standin/next     POST one thing or a list of them, for the requests to come (those `Vendor.scripted` says count):
                  {"status", "headers", "body"}   is the answer, and nothing is done; "then": "close" ends the connection instead
                  {"hang": true}                  the request is carried out, and its answer never comes
/standin/effects  GET what was done, a list: one entry for each message, row or record there is now
/standin/seen     GET the requests that came: method, path, query, headers (names in lower case), body, status
"""

import json
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Refused(Exception):
    """An answer that ends the handling of a request."""

    def __init__(self, status, body=None, headers=None):
        super().__init__(status)
        self.answer = (status, body, headers or {})


class Request:
    """One request: `path` is decoded and without the query; `segments` are decoded one by one."""

    def __init__(self, method, target, headers, raw):
        url = urllib.parse.urlsplit(target)
        self.method = method
        self.target = target
        self.path = urllib.parse.unquote(url.path)
        self.segments = [urllib.parse.unquote(part) for part in url.path.split("/")[1:]]
        self.query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        self.headers = {name.lower(): value for name, value in headers}
        self.raw = raw

    def media(self):
        return self.headers.get("content-type", "").split(";")[0].strip().lower()

    def json(self, refuse):
        """The body as JSON; `refuse` is raised where it is none."""
        if self.media() != "application/json" and not self.media().endswith("+json"):
            raise refuse
        try:
            return json.loads(self.raw)
        except ValueError:
            raise refuse from None

    def form(self, refuse):
        if self.media() != "application/x-www-form-urlencoded":
            raise refuse
        return dict(urllib.parse.parse_qsl(self.raw.decode(), keep_blank_values=True))


class Vendor:
    """Subclass it: `handle` answers (status, body, headers) and puts what it has done into `self.effects`.

    A body that is None is empty, bytes go as they are, str as text/plain, all else as JSON. Calls come one at a time.
    """

    def __init__(self):
        self.effects = []

    def handle(self, request):
        raise NotImplementedError

    def scripted(self, request):
        """False for requests that what tests put into /standin/next is not meant for, as those for a token."""
        return True


def proxy(request, base, replace_host=True):
    """Sends a request on to a real server at `base` (http://host:port) and returns its answer."""
    headers = {name: value for name, value in request.headers.items() if name not in ("connection", "content-length")}
    if replace_host:
        headers.pop("host", None)
    sent = urllib.request.Request(base + request.target, data=request.raw or None, method=request.method, headers=headers)
    if request.method in ("POST", "PUT", "PATCH") and not request.raw:
        sent.data = b""
    try:
        with urllib.request.urlopen(sent, timeout=20) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as answer:
        return answer.code, answer.read(), dict(answer.headers)


def serve(vendor, more=None):
    """Runs the stand-in until stdin ends. `more` is told beside the port."""
    lock = threading.Lock()
    script, seen = [], []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self, status, body, headers):
            headers = {name: str(value) for name, value in (headers or {}).items()}
            known = {name.lower() for name in headers}
            if body is None:
                payload = b""
            elif isinstance(body, bytes):
                payload = body
            elif isinstance(body, str):
                payload = body.encode()
                if "content-type" not in known:
                    headers["Content-Type"] = "text/plain; charset=utf-8"
            else:
                payload = json.dumps(body).encode()
                if "content-type" not in known:
                    headers["Content-Type"] = "application/json; charset=utf-8"
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "connection", "transfer-encoding", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            if self.command != "HEAD" and status != 204:
                self.wfile.write(payload)

        def body(self):
            if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
                whole = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    whole += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return whole
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def any(self):
            request = Request(self.command, self.path, self.headers.items(), self.body())
            if request.path.startswith("/standin/"):
                return self.door(request)
            with lock:
                step = script.pop(0) if script and vendor.scripted(request) else None
                note = {
                    "method": request.method, "path": request.path, "query": request.query, "headers": request.headers,
                    "body": request.raw.decode("utf-8", "replace"), "status": None,
                }
                seen.append(note)
                if step and "status" in step:
                    answer = (step["status"], step.get("body"), step.get("headers"))
                elif step and step.get("then") == "close":
                    self.close_connection = True
                    return None
                else:
                    try:
                        answer = vendor.handle(request)
                    except Refused as refused:
                        answer = refused.answer
                note["status"] = answer[0]
            if step and step.get("hang"):
                time.sleep(60)
                self.close_connection = True
                return None
            status, body, headers = (*answer, None)[:3]
            return self.answer(status, body, headers)

        def door(self, request):
            with lock:
                if request.path == "/standin/next" and request.method == "POST":
                    step = json.loads(request.raw)
                    script.extend(step if isinstance(step, list) else [step])
                    return self.answer(204, None, None)
                if request.path == "/standin/effects":
                    effects = vendor.effects() if callable(vendor.effects) else vendor.effects
                    return self.answer(200, effects, None)
                if request.path == "/standin/seen":
                    return self.answer(200, seen, None)
                return self.answer(404, "no such door", None)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = do_MERGE = any

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"port": server.server_port, **(more or {})}), flush=True)
    sys.stdin.read()
