"""PagerDuty's Events API v2. 202 says that an event was taken; what has the dedup_key of an open alert adds to it.

Pages: "Send an Alert Event" (parameters and their lengths; Alert De-Duplication; Event Action Behavior), "Events API v2 Overview" (202, 400,
429; 512 KB), events-v2/openapiv3.json ({status, message, errors}).
"""

from fields import problems
from standin import Refused, Vendor, serve

KEY = "0123456789abcdef0123456789abcdef"
LINK = {"href!": str, "text": str}
PAYLOAD = {
    "summary!": str,
    "source!": str,
    "severity!": {"critical", "error", "warning", "info"},
    "timestamp": str,
    "component": str,
    "group": str,
    "class": str,
    "custom_details": dict,
}
EVENT = {
    "routing_key!": str,
    "event_action!": {"trigger", "acknowledge", "resolve"},
    "dedup_key": str,
    "payload": PAYLOAD,
    "client": str,
    "client_url": str,
    "links": [LINK],
    "images": [{"src!": str, "href": str, "alt": str}],
}
CHANGE = {
    "routing_key!": str,
    "payload!": {"summary!": str, "timestamp": str, "source": str, "custom_details": dict},
    "links": [LINK],
}


def no(*errors):
    return Refused(400, {"status": "invalid event", "message": "Event object is invalid", "errors": list(errors)})


class PagerDuty(Vendor):
    def handle(self, request):
        if request.method != "POST" or request.path not in ("/v2/enqueue", "/v2/change/enqueue"):
            raise Refused(404, "Not Found")
        if len(request.raw) > 512 * 1024:
            raise Refused(413, "Payload Too Large")
        event = request.json(
            Refused(
                400,
                {
                    "status": "Unrecognized object",
                    "message": "Event object format is unrecognized",
                    "errors": ["JSON parse error"],
                },
            )
        )
        change = request.path.startswith("/v2/change")
        wrong = problems(event, CHANGE if change else EVENT)
        if wrong:
            raise no(*(f"'{at}' {what}" for at, what in wrong))
        if len(event["routing_key"]) != 32:
            raise no("Length of 'routing_key' is incorrect (should be 32 characters)")
        if event["routing_key"] != KEY:
            raise no("Invalid routing key")
        if change:
            self.effects.append({"kind": "change", **event["payload"]})
            return 202, {"status": "success", "message": "Change event processed"}
        key = event.get("dedup_key")
        if event["event_action"] == "trigger":
            if "payload" not in event:
                raise no("'payload' is missing or blank")
            if len(event["payload"]["summary"]) > 1024:
                raise no("'payload.summary' is too long (maximum is 1024 characters)")
        elif not key:
            raise no("'dedup_key' is missing or blank")
        if key and len(key) > 255:
            raise no("'dedup_key' is too long (maximum is 255 characters)")
        key = key or f"generated-{len(self.effects) + 1}"
        open_ = [
            one
            for one in self.effects
            if one["kind"] == "alert" and one["dedup_key"] == key and one["state"] != "resolved"
        ]
        if event["event_action"] == "trigger":
            if open_:
                open_[0]["events"] += 1
            else:
                self.effects.append(
                    {"kind": "alert", "dedup_key": key, "state": "triggered", "events": 1, **event["payload"]}
                )
        elif open_:
            open_[0]["state"] = "acknowledged" if event["event_action"] == "acknowledge" else "resolved"
        # Otherwise the event is dropped, and the answer is the same.
        return 202, {"status": "success", "message": "Event processed", "dedup_key": key}


serve(PagerDuty())
