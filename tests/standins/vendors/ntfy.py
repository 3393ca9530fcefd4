"""An ntfy server with one topic that needs a token. Errors are {code, http, error, link} (server/errors.go).

Pages: "Publishing" of docs.ntfy.sh: "Publish as JSON" (to the root; posted to a topic, JSON is the message itself), "Message priority",
"Action buttons" (three at most), "Authentication", "Limitations". A notification with a sequence_id that was seen replaces the one shown.
"""

import re

from fields import problems
from standin import Refused, Vendor, serve

TOKEN = "tk_0123456789abcdefghijklmnopqrs"
# docs.ntfy.sh, "Publish as JSON": the fields.
MESSAGE = {
    "topic!": str,
    "message": str,
    "title": str,
    "tags": [str],
    "priority": {1, 2, 3, 4, 5},
    "actions": [dict],
    "click": str,
    "attach": str,
    "markdown": bool,
    "icon": str,
    "filename": str,
    "delay": str,
    "email": str,
    "call": str,
    "sequence_id": str,
}


def no(status, code, error):
    return Refused(status, {"code": code, "http": status, "error": error, "link": "https://ntfy.sh/docs/publish/"})


class Ntfy(Vendor):
    made = 0

    def handle(self, request):
        given = request.headers.get("authorization")
        if given is not None and given != f"Bearer {TOKEN}":
            raise no(401, 40101, "unauthorized")
        if request.method == "GET" and request.path == "/v1/account":
            return 200, {"username": "millstream" if given else "*", "role": "user" if given else "anonymous"}
        if request.method not in ("POST", "PUT"):
            raise no(404, 40401, "page not found")
        if request.path != "/":
            # Whatever is posted to a topic is the text of a message, also JSON: it works, and is not what was meant.
            return self.show({"topic": request.segments[0], "message": request.raw.decode("utf-8", "replace")}, given)
        # The media type is not asked for; what is no JSON is refused.
        request.headers["content-type"] = "application/json"
        message = request.json(no(400, 40017, "invalid request: request body must be message JSON"))
        wrong = problems(message, MESSAGE)
        if any(at == "priority" for at, _ in wrong):
            raise no(400, 40007, "invalid priority parameter")
        if wrong:
            raise no(400, 40017, f"invalid request: request body must be message JSON, {wrong[0][0]} {wrong[0][1]}")
        if not re.fullmatch(r"[-_A-Za-z0-9]{1,64}", message["topic"]):
            raise no(400, 40009, "invalid request: topic invalid")
        if message["topic"] in ("docs", "static", "file", "app", "account", "settings", "signup", "login"):
            raise no(400, 40010, "invalid request: topic name is disallowed")
        if len(message.get("actions", [])) > 3:
            raise no(400, 40018, "invalid request: actions invalid, only 3 actions allowed")
        return self.show(message, given)

    def show(self, message, given):
        if message["topic"] == "alerts" and not given:
            raise no(403, 40301, "forbidden")
        Ntfy.made += 1
        message = {"id": f"m{Ntfy.made:011}", "time": 1767600000, "event": "message", **message}
        key = message.get("sequence_id")
        self.effects[:] = [
            one
            for one in self.effects
            if not (key and one.get("sequence_id") == key and one["topic"] == message["topic"])
        ]
        self.effects.append(message)
        return 200, message


serve(Ntfy())
