"""A Slack incoming webhook. It speaks in plain words: `ok`, or what is wrong, with the status that says which kind.

Pages: "Sending messages using incoming webhooks" of docs.slack.dev, and the changelog's "Improving error conditions for Incoming Webhooks"
(400 invalid_payload, 403 action_prohibited, 404 channel_not_found, 410 channel_is_archived, 500 rollup_error).
"""

from fields import problems
from standin import Refused, Vendor, serve

SECRET = "/services/T0EXAMPLE/B0EXAMPLE/s3cr3tS3cr3tS3cr3tS3cr3t"
MESSAGE = {
    "text": str,
    "blocks": [{"type!": str, "text": dict, "block_id": str, "elements": list, "fields": list, "accessory": dict}],
    "thread_ts": str,
}


class SlackWebhook(Vendor):
    def handle(self, request):
        if request.target != SECRET:
            # A slash at the end or a query is another address.
            raise Refused(404, "no_service")
        if request.method != "POST":
            raise Refused(405, "method_not_allowed")
        message = request.json(Refused(400, "invalid_payload"))
        wrong = problems(message, MESSAGE)
        if any(at.startswith("blocks") for at, _ in wrong):
            raise Refused(400, "invalid_blocks")
        if wrong:
            raise Refused(400, "invalid_payload")
        if not message.get("text") and not message.get("blocks"):
            raise Refused(400, "no_text")
        self.effects.append(message)
        return 200, "ok"


serve(SlackWebhook())
