"""A Mattermost server's posts. Errors are {id, message, detailed_error, request_id, status_code}.

Pages: "Create a post", "Patch a post" (posts.yaml), channels.yaml and introduction.yaml of the Mattermost API Reference. From the server's
source (app/post.go): a post whose pending_post_id was seen within 30 seconds is answered with the post that is there; while that one is still being
made, with 500 and api.post.deduplicate_create_post.pending.
"""

import time

from fields import problems
from standin import Refused, Vendor, serve

TOKEN = "t0k3n0123456789abcdefghijk"
CHANNELS = [
    {
        "id": "ch4nn3l0000000000000000001",
        "team_id": "t3am0000000000000000000001",
        "type": "O",
        "name": "alerts",
        "display_name": "Alerts",
    },
    {
        "id": "ch4nn3l0000000000000000002",
        "team_id": "t3am0000000000000000000001",
        "type": "P",
        "name": "board",
        "display_name": "Board",
    },
]
MEMBER_OF = {CHANNELS[0]["id"]}
# posts.yaml; pending_post_id is a field of the Post in definitions.yaml.
POST = {
    "channel_id!": str,
    "message!": str,
    "root_id": str,
    "file_ids": [str],
    "props": dict,
    "metadata": dict,
    "pending_post_id": str,
}
PATCH = {"message": str, "is_pinned": bool, "file_ids": [str], "has_reactions": bool, "props": dict}


def no(status, id_, message):
    return Refused(
        status,
        {
            "id": id_,
            "message": message,
            "detailed_error": "",
            "request_id": "r3qu3st00000000000000000001",
            "status_code": status,
        },
    )


class Mattermost(Vendor):
    def __init__(self):
        super().__init__()
        self.pending = {}

    def handle(self, request):
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            raise no(401, "api.context.session_expired.app_error", "Invalid or expired session, please login again.")
        route, parts = (request.method, request.path), request.segments
        if route == ("GET", "/api/v4/users/me"):
            return 200, {"id": "b0t00000000000000000000001", "username": "millstream", "is_bot": True}
        if route == ("GET", "/api/v4/users/me/channels"):
            return 200, [one for one in CHANNELS if one["id"] in MEMBER_OF]
        if (
            request.method == "GET"
            and parts[:4] == ["api", "v4", "teams", "name"]
            and parts[5:7] == ["channels", "name"]
        ):
            found = [one for one in CHANNELS if parts[4] == "example" and one["name"] == parts[7]]
            if not found:
                raise no(404, "app.channel.get_by_name.missing.app_error", "Channel does not exist.")
            return 200, found[0]
        if route == ("POST", "/api/v4/posts"):
            return self.create(self.body(request, POST))
        if request.method == "PUT" and parts[:3] == ["api", "v4", "posts"] and parts[4:] == ["patch"]:
            found = [one for one in self.effects if one["id"] == parts[3]]
            if not found:
                raise no(404, "app.post.get.app_error", "Unable to get the post.")
            found[0].update(self.body(request, PATCH))
            return 200, found[0]
        raise no(404, "api.context.404.app_error", "Sorry, we could not find the page.")

    def body(self, request, shape):
        wrong_body = no(400, "api.context.invalid_body_param.app_error", "Invalid or missing post in request body.")
        body = request.json(wrong_body)
        wrong = problems(body, shape)
        if wrong:
            raise no(
                400,
                "api.context.invalid_body_param.app_error",
                f"Invalid or missing {wrong[0][0]} in request body: it {wrong[0][1]}.",
            )
        return body

    def create(self, given):
        if given["channel_id"] not in MEMBER_OF:
            raise no(403, "api.context.permissions.app_error", "You do not have the appropriate permissions.")
        if len(given["message"]) > 16383:
            raise no(
                400,
                "model.post.is_valid.message_length.app_error",
                "Post Message property is longer than the maximum permitted length.",
            )
        if given.get("root_id") and not any(one["id"] == given["root_id"] for one in self.effects):
            raise no(400, "api.post.create_post.root_id.app_error", "Invalid RootId parameter.")
        key = given.get("pending_post_id")
        seen = self.pending.get(key)
        if key and seen and time.monotonic() - seen[0] < 30:
            return 201, seen[1]
        post = {
            "id": f"p0st{len(self.effects) + 1:022}",
            "create_at": 1767600000000,
            "user_id": "b0t00000000000000000000001",
            **given,
        }
        self.effects.append(post)
        if key:
            self.pending[key] = (time.monotonic(), post)
        return 201, post


serve(Mattermost())
