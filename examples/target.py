"""A stand-in for the systems that the examples call: CRM, mail, chat, payments and so on. It is none of them.

It is there so that each example can be tried on one machine, without an account anywhere. It is strict (credentials,
needed fields, known paths) and remembers what it was sent, so that a `try` script can tell whether a flow did its work.

usage: python3 target.py    Says {"url": …} once it listens on 127.0.0.1, and ends when its stdin does.

Each system is the first part of a path, as in /crm/contacts. A call needs `Authorization: Bearer SYSTEM-token` unless the
system is OPEN. A POST with an `Idempotency-Key` that it knows is answered as the first time, and does nothing again.

/_seen?after=N   every call after the first N, a line each
/_hold           POST true or false: whether what takes time (/erp/orders) waits until it is let go
/_next           POST {"POST /mail/messages": [503, "drop"]}: the next answers there. "drop" does what was asked, and then
                 closes the connection without an answer
"""

import json
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

# What a POST must bring; each makes a thing with an id, which GET and DELETE then know.
COLLECTIONS = {
    "/crm/contacts": ["email"],
    "/crm/deals": ["name", "amount"],
    "/erp/orders": ["number", "customer"],
    "/lists/subscribers": ["email"],
    "/mail/messages": ["to", "subject", "text"],
    "/partners/leads": ["email", "country"],
    "/pay/charges": ["amount", "currency", "order"],
    "/reports/jobs": ["month"],
    "/tracker/events": ["event", "repository"],
}
# Public services, which ask for no credential.
OPEN = {"login", "register", "weather"}
CUSTOMERS = [{"id": f"c{n}", "name": f"Customer {n}", "country": "DE" if n % 2 else "CH"} for n in range(1, 9)]
EXPORTS = [{"id": "e1", "created": "2020-01-05"}, {"id": "e2", "created": "2020-02-09"}, {"id": "e3", "created": "2999-01-01"}]
LEAD_COLUMNS = {"subject", "firstname", "lastname", "emailaddress1", "companyname", "address1_country"}
# /erp/orders works on so many at once; one more is refused.
ERP_AT_ONCE = 2


class Target:
    def __init__(self):
        self.lock = threading.Lock()
        self.seen = []
        self.next = {}
        self.things = {f"/files/exports/{export['id']}": export for export in EXPORTS}
        self.answered = {}
        self.asked = {}
        self.working = 0
        self.going = threading.Event()
        self.going.set()

    def answer(self, method, path, query, headers, body):
        """Status and body, by the rules above; the names of the systems are those of the examples' connections."""
        system = path.split("/")[1]
        if system not in OPEN and headers.get("Authorization") != f"Bearer {system}-token":
            # Slack says so with a good status.
            return (200, {"ok": False, "error": "invalid_auth"}) if system == "slack" else (401, {"error": "no valid token"})
        key = (path, headers.get("Idempotency-Key"))
        if method == "POST" and key[1] and key in self.answered:
            status, known = self.answered[key]
            return status, {**known, "again": True}
        if method == "POST" and path in COLLECTIONS:
            missing = [name for name in COLLECTIONS[path] if not isinstance(body, dict) or body.get(name) in (None, "")]
            if missing:
                return 422, {"error": f"missing: {', '.join(missing)}"}
            thing = {**body, "id": f"{path.split('/')[-1]}-{1 + sum(at.startswith(path + '/') for at in self.asked)}"}
            self.things[f"{path}/{thing['id']}"] = thing
            self.asked[f"{path}/{thing['id']}"] = 0
            self.answered[key] = 201, {"id": thing["id"]}
            return self.answered[key]
        if path in self.things and method == "GET":
            return 200, self.thing(path)
        if path in self.things and method == "DELETE":
            del self.things[path]
            return 204, None
        return self.special(method, path, query, headers, body)

    def thing(self, path):
        """A job of /reports is ready when it is asked about for the third time."""
        if not path.startswith("/reports/jobs/"):
            return self.things[path]
        self.asked[path] += 1
        if self.asked[path] < 3:
            return {"state": "running"}
        return {"state": "ready", "file": "/files/" + path.split("/")[-1]}

    def special(self, method, path, query, headers, body):
        if (method, path) == ("POST", "/login"):
            return 200, {"access_token": "dynamics-token", "token_type": "Bearer", "expires_in": 3600}
        if method == "PATCH" and re.fullmatch(r"/dynamics/leads\([0-9a-f-]{36}\)", path):
            unknown = set(body) - LEAD_COLUMNS
            if unknown or headers.get("If-None-Match") != "*":
                return 400, {"error": {"code": "0x80048d19", "message": f"not a column of lead: {sorted(unknown)}"}}
            if path in self.things:
                return 412, {"error": {"code": "0x80060882", "message": "a record with this id exists"}}
            self.things[path] = body
            return 201, body
        if (method, path) == ("POST", "/slack/chat.postMessage"):
            if not body.get("channel") or not body.get("text"):
                return 200, {"ok": False, "error": "no_text"}
            return 200, {"ok": True, "channel": body["channel"], "ts": f"1700000000.{len(self.seen):06}"}
        if (method, path) == ("GET", "/shop/customers"):
            start = int(query.get("cursor", "0"))
            more = start + 3 < len(CUSTOMERS)
            return 200, {"customers": CUSTOMERS[start : start + 3], "next": str(start + 3) if more else None}
        if (method, path) == ("GET", "/files/exports"):
            old = [thing for at, thing in self.things.items() if at.startswith("/files/exports/")]
            return 200, {"exports": [export for export in old if export["created"] < query.get("before", "")]}
        if method == "GET" and path.startswith("/reports/files/jobs-"):
            return 200, {"revenue": 48210.5, "orders": 312}
        if (method, path) == ("GET", "/register/companies"):
            return 200, {"name": "Müller GmbH", "employees": 120} if query.get("domain") == "mueller.example" else None
        if (method, path) == ("GET", "/people/profiles"):
            return 200, {"title": "Head of Purchasing"}
        if (method, path) == ("GET", "/weather/today"):
            return 200, {"city": query.get("city"), "degrees": 21}
        return 404, {"error": f"{method} {path} is not known"}


class Handler(BaseHTTPRequestHandler):
    target = Target()

    def work(self):
        url = urlsplit(self.path)
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        target = self.target
        if url.path == "/_seen":
            with target.lock:
                lines = target.seen[int(query.get("after", "0")) :]
            return self.send(200, "".join(line + "\n" for line in lines), "text/plain; charset=utf-8")
        if url.path == "/_hold":
            target.going.clear() if json.loads(text) else target.going.set()
            return self.send(204, None)
        if url.path == "/_next":
            with target.lock:
                for place, answers in json.loads(text).items():
                    target.next.setdefault(place, []).extend(answers)
            return self.send(204, None)
        try:
            body = json.loads(text) if text and "json" in self.headers.get("Content-Type", "") else text or None
        except ValueError:
            return self.send(400, {"error": "not JSON"})
        planned, status, answer = None, 503, {"error": "too many at once"}
        slow = self.command == "POST" and url.path == "/erp/orders"
        with target.lock:
            waiting = target.next.get(f"{self.command} {url.path}")
            planned = waiting.pop(0) if waiting else None
            target.working += slow
            refused = slow and target.working > ERP_AT_ONCE
        if slow and not refused:
            target.going.wait(60)
            time.sleep(0.1)  # how long the work takes
        with target.lock:
            if isinstance(planned, int):
                status, answer = planned, {"error": f"planned: {planned}"}
            elif not refused:
                status, answer = target.answer(self.command, url.path, query, self.headers, body)
            target.working -= slow
            again = isinstance(answer, dict) and answer.get("again")
            end = "no answer" if planned == "drop" else f"{status}{' (known key: nothing done again)' if again else ''}"
            shown = json.dumps(body, ensure_ascii=False, separators=(",", ":")) if isinstance(body, dict) else ""
            hidden = "" if url.path == "/login" else shown
            target.seen.append(re.sub(r"  +", " ", f"{self.command} {self.path} {hidden} -> {end}"))
        if planned == "drop":
            self.close_connection = True
            return None
        return self.send(status, answer)

    def send(self, status, body, kind="application/json"):
        data = b"" if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        if body is not None:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = do_DELETE = work

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"url": f"http://127.0.0.1:{server.server_address[1]}"}), flush=True)
    sys.stdin.read()
