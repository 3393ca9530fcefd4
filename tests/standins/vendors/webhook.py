"""A receiver of webhooks that trusts nobody: the reference implementation of Standard Webhooks (PyPI standardwebhooks) verifies each one.

"Standard Webhooks", the specification: verifying signatures (time within five minutes), webhook-id as an idempotency
key, delivery success and failure.
"""

import json
import pathlib
import sys

import child

# The stand-ins' packages, whichever Python runs this.
sys.path.extend(str(folder) for folder in pathlib.Path(child.INSTALLED).glob("venv/lib/python*/site-packages"))

from standardwebhooks.webhooks import Webhook, WebhookVerificationError  # noqa: E402

from standin import Refused, Vendor, serve  # noqa: E402

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Receiver(Vendor):
    def __init__(self):
        super().__init__()
        self.known = set()

    def handle(self, request):
        # The URL is the customer's, to the letter: a slash more is another one.
        if request.target != "/hooks/7":
            raise Refused(404, "no such hook")
        if request.method != "POST":
            raise Refused(405, "webhooks are POSTed")
        if request.media() != "application/json":
            raise Refused(415, "webhooks are JSON")
        try:
            event = Webhook(SECRET).verify(request.raw.decode(), request.headers)
        except WebhookVerificationError as why:
            raise Refused(401, f"{why}") from None
        # Payload structure: type, timestamp and data.
        if not isinstance(event.get("type"), str) or not isinstance(event.get("data"), dict) or not isinstance(event.get("timestamp"), str):
            raise Refused(400, "an event has type, timestamp and data")
        if set(event) != {"type", "timestamp", "data"}:
            raise Refused(400, f"unknown: {json.dumps(sorted(event))}")
        if event["data"].get("order") == "gone":
            raise Refused(410, "This order is no longer wanted")
        if request.headers["webhook-id"] in self.known:
            return 200, "known already"
        self.known.add(request.headers["webhook-id"])
        self.effects.append({"id": request.headers["webhook-id"], **event})
        return 200, "thanks"


if __name__ == "__main__":
    serve(Receiver())
