"""A Google Chat space's webhook. Errors are {"error": {code, message, status}}.

Pages: "Build a Google Chat app as a webhook" (key and token in the query; one message a second for a space), "Method:
spaces.messages.create" (requestId: "Specifying an existing request ID returns the message created with that ID instead of creating a new
message"; messageReplyOption; 32,000 bytes), "Usage limits" (429).
"""

from fields import problems
from standin import Refused, Vendor, serve

SPACE, KEY, TOKEN = "spaces/AAAAexample", "AIzaSyExampleExampleExampleExampleExample", "t0k3nT0k3nT0k3nT0k3nT0k3nT0k3n"
MESSAGE = {
    "text": str,
    "cardsV2": [{"cardId": str, "card!": dict}],
    "thread": {"name": str, "threadKey": str},
    "accessoryWidgets": list,
}
REPLY = {"MESSAGE_REPLY_OPTION_UNSPECIFIED", "REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD", "REPLY_MESSAGE_OR_FAIL"}


def no(code, status, message):
    return Refused(code, {"error": {"code": code, "message": message, "status": status}})


class GoogleChat(Vendor):
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
        unknown = set(query) - {"key", "token", "requestId", "messageId", "messageReplyOption", "threadKey"}
        if unknown:
            raise no(
                400,
                "INVALID_ARGUMENT",
                f'Invalid JSON payload received. Unknown name "{sorted(unknown)[0]}": Cannot bind query parameter.',
            )
        message = request.json(no(400, "INVALID_ARGUMENT", "Invalid JSON payload received."))
        wrong = problems(message, MESSAGE)
        if wrong:
            raise no(
                400, "INVALID_ARGUMENT", f"Invalid JSON payload received. \"{wrong[0][0]}\" at 'message' {wrong[0][1]}."
            )
        if not message.get("text") and not message.get("cardsV2"):
            raise no(400, "INVALID_ARGUMENT", "Message cannot be empty. Discarding empty create message request.")
        if len(request.raw) > 32000:
            raise no(400, "INVALID_ARGUMENT", "The message is too long.")
        for known in self.effects:
            if query.get("requestId") and known["requestId"] == query["requestId"]:
                return 200, known["message"]
        option = query.get("messageReplyOption", "MESSAGE_REPLY_OPTION_UNSPECIFIED")
        if option not in REPLY:
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
