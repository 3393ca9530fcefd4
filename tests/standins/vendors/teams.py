"""A webhook of Teams' Workflows app. It answers 202 once the workflow has started, also for a card that is then never posted.

Pages: "Create incoming webhooks with Workflows for Microsoft Teams" (support.microsoft.com), "Create an Incoming Webhook" (the body: type
message, one attachment, contentType application/vnd.microsoft.card.adaptive). Cards are read by Microsoft's own reader
(teams_cards.mjs). Error codes of the Request trigger, as public integrations handle them: TriggerInputSchemaMismatch and
WorkflowTriggerIsNotEnabled (400), DirectApiAuthorizationRequired (401).
"""

import json
import os
import subprocess

from fields import problems
from standin import Refused, Vendor, serve

PATH = "/workflows/0a1b2c3d/triggers/manual/paths/invoke"
QUERY = {
    "api-version": "1",
    "sp": "/triggers/manual/run",
    "sv": "1.0",
    "sig": "s1gnatur3-s1gnatur3-s1gnatur3-s1gnatur3",
}
BODY = {"type!": {"message"}, "attachments!": [{"contentType!": str, "contentUrl": str, "content!": dict}]}


def no(status, code, message):
    return Refused(status, {"error": {"code": code, "message": message}})


class Teams(Vendor):
    def __init__(self):
        super().__init__()
        # It ends when its stdin does, which ends with this process.
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "teams_cards.mjs")
        self.cards = subprocess.Popen(["node", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.cards.stdout.readline() != "{}\n":
            raise SystemExit("the reader of adaptive cards is not there; tests/standins/setup installs it")

    def shown(self, attachment):
        """True if Teams can show it: an adaptive card in which Microsoft's own reader finds nothing wrong."""
        if (
            attachment["contentType"] != "application/vnd.microsoft.card.adaptive"
            or attachment["content"].get("type") != "AdaptiveCard"
        ):
            return False
        self.cards.stdin.write(json.dumps(attachment["content"]) + "\n")
        self.cards.stdin.flush()
        return json.loads(self.cards.stdout.readline())["problems"] == []

    def handle(self, request):
        if request.path != PATH:
            raise no(404, "WorkflowNotFound", "The workflow could not be found.")
        if "sig" not in request.query:
            raise no(
                401, "DirectApiAuthorizationRequired", "The request must be authenticated only by Shared Access scheme."
            )
        if request.query != QUERY:
            raise no(401, "AuthorizationFailed", "The authentication credentials are not valid.")
        if request.method != "POST":
            raise no(405, "MethodNotAllowed", "The trigger takes POST.")
        body = request.json(no(400, "InvalidRequestContent", "The request content is not valid JSON."))
        wrong = problems(body, BODY)
        if wrong:
            at, what = wrong[0]
            raise no(
                400,
                "TriggerInputSchemaMismatch",
                f"The input body for trigger 'manual' of type 'Request' did not match its schema definition. '{at}' {what}.",
            )
        if len(request.raw) <= 28 * 1024:
            # From here on it is the workflow's own matter: what it cannot post fails in its history; the answer is 202.
            for attachment in filter(self.shown, body["attachments"]):
                texts = [one.get("text") for one in attachment["content"].get("body", [])]
                self.effects.append({"card": attachment["content"], "texts": texts})
        return 202, None, {"x-ms-workflow-run-id": "08584000000000000000000000000CU00"}


serve(Teams())
