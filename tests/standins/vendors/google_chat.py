"""A Google Chat space's webhook. Requests are held to Google's own description of spaces.messages.create (chat.v1 of its discovery
documents); errors are {"error": {code, message, status}}.

Pages: "Build a Google Chat app as a webhook" (key and token in the query; one message a second for a space), "Method:
spaces.messages.create" (requestId makes the request idempotent: what it has made is returned, "not fully populated"; 32,000 bytes), "Usage
limits" (429).
"""

from discovery import Discovery
from standin import Refused, Vendor, serve

SPACE, KEY, TOKEN = "spaces/AAAAexample", "AIzaSyExampleExampleExampleExampleExample", "t0k3nT0k3nT0k3nT0k3nT0k3nT0k3n"


def no(code, status, message):
    return Refused(code, {"error": {"code": code, "message": message, "status": status}})


class GoogleChat(Vendor):
    def __init__(self):
        super().__init__()
        self.api = Discovery("chat.v1")
        self.create = self.api.method("spaces", "messages", "create")

    def handle(self, request):
        query = request.query
        if request.path != f"/v1/{SPACE}/messages":
            raise Refused(
                404,
                b"<!DOCTYPE html><html><title>Error 404 (Not Found)!!1</title></html>",
                {"Content-Type": "text/html; charset=UTF-8"},
            )
        if query.get("key") != KEY:
            raise no(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.")
        if query.get("token") != TOKEN:
            raise no(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        if request.method != "POST":
            raise no(404, "NOT_FOUND", "Method not found.")
        # `token` is the webhook's own; all else is of the API.
        unknown = self.api.unknown_query(self.create, set(query) - {"token"})
        if unknown:
            what = f'Invalid JSON payload received. Unknown name "{unknown}": Cannot bind query parameter.'
            raise no(400, "INVALID_ARGUMENT", what)
        message = request.json(no(400, "INVALID_ARGUMENT", "Invalid JSON payload received."))
        wrong = self.api.problems(message, "Message")
        if wrong:
            what = f"Invalid JSON payload received. \"{wrong[0][0]}\" at 'message' {wrong[0][1]}."
            raise no(400, "INVALID_ARGUMENT", what)
        if not message.get("text") and not message.get("cardsV2"):
            raise no(400, "INVALID_ARGUMENT", "Message cannot be empty. Discarding empty create message request.")
        if len(request.raw) > 32000:
            raise no(400, "INVALID_ARGUMENT", "The message is too long.")
        for known in self.effects:
            if query.get("requestId") and known["requestId"] == query["requestId"]:
                # "not fully populated; the API echoes the message in your request with the system-assigned resource names".
                made = known["message"]
                return 200, {**message, "name": made["name"], "thread": made["thread"], "space": made["space"]}
        option = query.get("messageReplyOption", "MESSAGE_REPLY_OPTION_UNSPECIFIED")
        if self.api.problems(option, self.create["parameters"]["messageReplyOption"]):
            raise no(400, "INVALID_ARGUMENT", "Invalid value at 'message_reply_option'.")
        # "Default. Starts a new thread. Using this option ignores any thread ID or threadKey that's included."
        key = message.get("thread", {}).get("threadKey") if option != "MESSAGE_REPLY_OPTION_UNSPECIFIED" else None
        number = len(self.effects) + 1
        made = {
            "name": f"{SPACE}/messages/m{number}",
            "text": message.get("text", ""),
            "thread": {"name": f"{SPACE}/threads/{key or f't{number}'}"},
            "space": {"name": SPACE},
            "createTime": "2026-01-05T09:00:00Z",
        }
        self.effects.append(
            {
                "requestId": query.get("requestId"),
                "message": made,
                "text": made["text"],
                "thread": made["thread"]["name"],
            }
        )
        return 200, made


serve(GoogleChat())
