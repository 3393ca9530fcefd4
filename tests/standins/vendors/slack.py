"""Slack's Web API as far as messages need it. Slack says no with status 200: the body's `ok` decides.

Pages: "chat.postMessage", "chat.update", "reactions.add", "users.lookupByEmail", "conversations.list", "Pagination" and "Rate limits" of
docs.slack.dev.
"""

from fields import problems
from standin import Refused, Vendor, serve

TOKEN = "xoxb-test-0123456789"
CHANNELS = [
    {"id": "C0LEADS01", "name": "leads", "is_archived": False, "is_member": True},
    {"id": "C0OLDNEWS", "name": "old-news", "is_archived": True, "is_member": True},
    {"id": "C0BOARD01", "name": "board", "is_archived": False, "is_member": False},
]
USERS = [{"id": "U0ADA0001", "name": "ada", "real_name": "Ada Lovelace", "profile": {"email": "ada@example.com"}}]
METHODS = {
    "auth.test": ("POST", {}),
    "chat.postMessage": (
        "POST",
        {
            "channel!": str,
            "text": str,
            "blocks": [
                {"type!": str, "text": dict, "block_id": str, "elements": list, "fields": list, "accessory": dict}
            ],
            "thread_ts": str,
            "reply_broadcast": bool,
            "unfurl_links": bool,
            "unfurl_media": bool,
            "mrkdwn": bool,
            "metadata": dict,
        },
    ),
    "chat.update": ("POST", {"channel!": str, "ts!": str, "text": str, "blocks": list}),
    "reactions.add": ("POST", {"channel!": str, "timestamp!": str, "name!": str}),
    "users.lookupByEmail": ("GET", {"email!": str}),
    "conversations.list": ("GET", {"cursor": str, "limit": str, "exclude_archived": str, "types": str}),
}


def no(error, **more):
    return Refused(200, {"ok": False, "error": error, **more})


class Slack(Vendor):
    def handle(self, request):
        name = request.path.removeprefix("/api/")
        if not request.path.startswith("/api/") or name not in METHODS:
            raise no("unknown_method", req_method=name)
        method, shape = METHODS[name]
        # "Tokens should be passed as an HTTP Authorization header" (chat.postMessage, Required arguments).
        token = request.headers.get("authorization")
        if token is None:
            raise no("not_authed")
        if token != f"Bearer {TOKEN}":
            raise no("invalid_auth")
        if method == "GET":
            # Methods that only read take no JSON ("chat.postMessage", JSON POST support: "and other Web API write methods").
            given = request.query
        elif name == "auth.test" and not request.raw:
            given = {}
        else:
            given = request.json(no("invalid_post_type" if "json" not in request.media() else "invalid_json"))
        wrong = problems(given, shape)
        if wrong:
            raise no(
                "invalid_arguments", response_metadata={"messages": [f"[ERROR] {at} {what}" for at, what in wrong]}
            )
        return 200, {"ok": True, **getattr(self, name.replace(".", "_"))(given)}

    def auth_test(self, _):
        return {
            "url": "https://example.slack.com/",
            "team": "Example",
            "user": "millstream",
            "team_id": "T0EXAMPLE",
            "user_id": "U0BOT0001",
        }

    def channel(self, wanted):
        found = [one for one in CHANNELS if wanted in (one["id"], one["name"], f"#{one['name']}")]
        if not found:
            raise no("channel_not_found")
        if found[0]["is_archived"]:
            raise no("is_archived")
        return found[0]

    def message(self, channel, ts):
        found = [one for one in self.effects if one["channel"] == channel and one["ts"] == ts]
        if not found:
            raise no("message_not_found")
        return found[0]

    def chat_postMessage(self, given):
        channel = self.channel(given["channel"])
        if not channel["is_member"]:
            raise no("not_in_channel")
        if not given.get("text") and not given.get("blocks"):
            raise no("no_text")
        if "thread_ts" in given:
            self.message(channel["id"], given["thread_ts"])
        ts = f"1767600000.{len(self.effects) + 1:06}"
        self.effects.append({**given, "channel": channel["id"], "ts": ts, "reactions": []})
        return {
            "channel": channel["id"],
            "ts": ts,
            "message": {"type": "message", "text": given.get("text", ""), "ts": ts},
        }

    def chat_update(self, given):
        message = self.message(self.channel(given["channel"])["id"], given["ts"])
        message.update(text=given.get("text", ""), blocks=given.get("blocks", []))
        return {"channel": message["channel"], "ts": message["ts"], "text": message["text"]}

    def reactions_add(self, given):
        message = self.message(self.channel(given["channel"])["id"], given["timestamp"])
        if given["name"].startswith(":"):
            raise no("invalid_name")
        if given["name"] in message["reactions"]:
            raise no("already_reacted")
        message["reactions"].append(given["name"])
        return {}

    def users_lookupByEmail(self, given):
        found = [one for one in USERS if one["profile"]["email"] == given["email"].lower()]
        if not found:
            raise no("users_not_found")
        return {"user": found[0]}

    def conversations_list(self, given):
        # "Pagination": limit is a maximum, so one at a time is right; "an empty, null, or non-existent next_cursor": no further results.
        listed = [one for one in CHANNELS if not (given.get("exclude_archived") == "true" and one["is_archived"])]
        start = int(given.get("cursor") or 0)
        following = str(start + 1) if start + 1 < len(listed) else ""
        return {"channels": listed[start : start + 1], "response_metadata": {"next_cursor": following}}


serve(Slack())
