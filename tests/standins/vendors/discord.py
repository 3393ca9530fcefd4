"""A Discord webhook. What comes is judged by Discord's own schemas (discord_schemas.mjs); what is done with it is as the pages "Webhook
Resource", "Rate Limits" and "Opcodes and Status Codes" of discord.com/developers/docs say.
"""

import json
import os
import subprocess

from standin import Refused, Vendor, serve

ID, TOKEN = "1180000000000000001", "t0k3nT0k3nT0k3nT0k3nT0k3nT0k3nT0k3n"
CHANNEL = "1180000000000000777"
# Of Discord's own document: Execute Webhook and Edit Webhook Message.
EXECUTE, EDIT = "IncomingWebhookRequestPartialSchema", "IncomingWebhookUpdateRequestPartialSchema"


def no(status, code, message, **more):
    return Refused(status, {"message": message, "code": code, **more})


class Discord(Vendor):
    made = 0

    def __init__(self):
        super().__init__()
        # It ends when its stdin does, which ends with this process.
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "discord_schemas.mjs")
        self.schemas = subprocess.Popen(["node", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.schemas.stdout.readline() != "{}\n":
            raise SystemExit("Discord's schemas are not there; tests/standins/setup installs them")

    def problems(self, value, schema):
        self.schemas.stdin.write(json.dumps({"schema": schema, "value": value}) + "\n")
        self.schemas.stdin.flush()
        return json.loads(self.schemas.stdout.readline())["problems"]

    def handle(self, request):
        parts = request.segments
        if parts[:2] != ["api", "webhooks"] or len(parts) not in (4, 6):
            raise no(404, 0, "404: Not Found")
        if parts[2] != ID:
            raise no(404, 10015, "Unknown Webhook")
        if parts[3] != TOKEN:
            raise no(401, 50027, "Invalid Webhook Token")
        if len(parts) == 4 and request.method == "GET":
            # "Get Webhook with Token": "does not require authentication and returns no user in the webhook object".
            return 200, {
                "id": ID,
                "type": 1,
                "name": "Captain Hook",
                "channel_id": CHANNEL,
                "guild_id": "1180000000000000009",
                "token": TOKEN,
            }
        if len(parts) == 4 and request.method == "POST":
            return self.execute(request)
        if len(parts) == 6 and parts[4] == "messages" and request.method in ("PATCH", "DELETE"):
            return self.message(request, parts[5])
        raise no(405, 0, "405: Method Not Allowed")

    def body(self, request, schema):
        body = request.json(no(400, 50109, "The request body contains invalid JSON."))
        wrong = self.problems(body, schema)
        if wrong:
            raise no(
                400,
                50035,
                "Invalid Form Body",
                errors={at: {"_errors": [{"code": "BASE_TYPE", "message": what}]} for at, what in wrong},
            )
        return body

    def execute(self, request):
        if set(request.query) - {"wait", "thread_id", "with_components"}:
            raise no(400, 50035, "Invalid Form Body", errors={})
        body = self.body(request, EXECUTE)
        # "you must provide a value for at least one of content, embeds, …"
        saved = bool(body.get("content") or body.get("embeds"))
        if request.query.get("wait") != "true":
            # "when false a message that is not saved does not return an error".
            if saved:
                self.add(body)
            return 204, None
        if not saved:
            raise no(400, 50006, "Cannot send an empty message")
        return 200, self.add(body)

    def add(self, body):
        Discord.made += 1
        message = {
            "id": str(1180000000000001000 + Discord.made),
            "channel_id": CHANNEL,
            "webhook_id": ID,
            "type": 0,
            "embeds": [],
            **body,
        }
        self.effects.append(message)
        return message

    def message(self, request, wanted):
        found = [one for one in self.effects if one["id"] == wanted]
        if not found:
            raise no(404, 10008, "Unknown Message")
        if request.method == "DELETE":
            self.effects.remove(found[0])
            return 204, None
        found[0].update(self.body(request, EDIT))
        return 200, found[0]


serve(Discord())
