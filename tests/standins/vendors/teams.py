"""A webhook of Teams' Workflows app. It answers 202 once the workflow has started, also for a card that is then never posted.

Pages: "Create incoming webhooks with Workflows for Microsoft Teams" (support.microsoft.com), "Create an Incoming Webhook" (the body: type
message, one attachment, contentType application/vnd.microsoft.card.adaptive), "Adaptive Cards schema". Error codes of the Request
trigger, as public integrations handle them: TriggerInputSchemaMismatch, WorkflowTriggerIsNotEnabled (400), DirectApiAuthorizationRequired (401).
"""

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
BLOCK = {
    "type!": {"TextBlock"},
    "text!": str,
    "size": {"Small", "Default", "Medium", "Large", "ExtraLarge"},
    "weight": {"Lighter", "Default", "Bolder"},
    "wrap": bool,
    "isVisible": bool,
    "color": str,
}
FACTS = {"type!": {"FactSet"}, "facts!": [{"title!": str, "value!": str}], "isVisible": bool}
CARD = {
    "type!": {"AdaptiveCard"},
    "version!": {"1.0", "1.1", "1.2", "1.3", "1.4", "1.5"},
    "$schema": str,
    "body": [(BLOCK, FACTS)],
    "actions": list,
    "msteams": dict,
}


def no(status, code, message):
    return Refused(status, {"error": {"code": code, "message": message}})


class Teams(Vendor):
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
            # From here on it is the workflow's own matter: what it cannot post fails in its history, and the answer is 202 all the same.
            for attachment in body["attachments"]:
                if attachment["contentType"] == "application/vnd.microsoft.card.adaptive" and not problems(
                    attachment["content"], CARD
                ):
                    self.effects.append(
                        {
                            "card": attachment["content"],
                            "texts": [one.get("text") for one in attachment["content"].get("body", [])],
                        }
                    )
        return 202, None, {"x-ms-workflow-run-id": "08584000000000000000000000000CU00"}


serve(Teams())
