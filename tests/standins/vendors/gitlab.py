"""GitLab's REST API, as far as the connector goes: "Issues API", "Notes API", "Troubleshooting the REST API"."""

from standin import Refused, Vendor, serve

TOKEN = "glpat-test"
PROJECTS = {"acme/site": 42, "acme/tools": 43}
#: "Issues API", new issue: parameters and their types. What is not listed is passed over by GitLab, and refused here.
ISSUE = {
    "title": str, "description": str, "labels": str, "assignee_ids": list, "assignee_id": int, "milestone_id": int,
    "due_date": str, "issue_type": str, "confidential": bool, "created_at": str, "iid": int,
}
CHANGE = {**ISSUE, "state_event": str, "add_labels": str, "remove_labels": str}


def failed(status, message):
    return Refused(status, {"message": message})


class GitLab(Vendor):
    def __init__(self):
        super().__init__()
        self.notes = 0

    def handle(self, request):
        # "REST API authentication": PRIVATE-TOKEN, or a bearer token. No token at all and a wrong one are both 401.
        shown = request.headers.get("private-token") or request.headers.get("authorization", "").removeprefix("Bearer ")
        if shown != TOKEN:
            raise failed(401, "401 Unauthorized")
        if request.segments[:2] != ["api", "v4"]:
            raise Refused(404, {"error": "404 Not Found"})
        path = request.segments[2:]
        if path == ["user"] and request.method == "GET":
            return 200, {"id": 1, "username": "millstream", "state": "active"}
        if path == ["projects"] and request.method == "GET":
            return 200, [{"id": number, "path_with_namespace": path} for path, number in PROJECTS.items()], {"x-next-page": ""}
        if len(path) < 3 or path[0] != "projects":
            raise Refused(404, {"error": "404 Not Found"})
        # "REST API", path parameters: a project by its number, or its path as one segment with %2F.
        number = PROJECTS.get(path[1]) or (int(path[1]) if path[1].isdigit() and int(path[1]) in PROJECTS.values() else None)
        if number is None:
            raise failed(404, "404 Project Not Found")
        mine = [one for one in self.effects if one["project_id"] == number]
        if path[2:] == ["issues"] and request.method == "GET":
            return self.listed(request, mine)
        if path[2:] == ["issues"] and request.method == "POST":
            return self.created(request, number, mine)
        if path[2:] == ["pipeline"] and request.method == "POST":
            given = self.given(request, {"ref": str, "variables": list})
            if not given.get("ref"):
                raise Refused(400, {"error": "ref is missing"})
            if given["ref"] != "main":
                raise failed(400, {"base": ["Reference not found"]})
            return 201, {"id": 5, "status": "created", "ref": "main", "web_url": "https://gitlab.com/acme/site/-/pipelines/5"}
        if path[2] == "issues" and len(path) > 3:
            issue = next((one for one in mine if str(one["iid"]) == path[3]), None)
            if issue is None:
                raise failed(404, "404 Issue Not Found" if path[4:] == [] else "404 Not found")
            if path[4:] == [] and request.method == "PUT":
                return self.changed(request, issue)
            if path[4:] == ["notes"] and request.method == "POST":
                given = self.given(request, {"body": str, "internal": bool, "created_at": str})
                if not given.get("body"):
                    raise Refused(400, {"error": "body is missing"})
                self.notes += 1
                return 201, {"id": self.notes, "body": given["body"], "noteable_iid": issue["iid"]}
        raise Refused(404, {"error": "404 Not Found"})

    def given(self, request, known):
        given = request.json(Refused(400, {"error": "The request body could not be parsed as JSON"}))
        for name, value in given.items():
            if name not in known:
                raise Refused(400, {"error": f"{name} is unknown (stand-in: GitLab would pass it over)"})
            if value is None or not isinstance(value, known[name]) or (known[name] is int and isinstance(value, bool)):
                raise Refused(400, {"error": f"{name} is invalid"})
        return given

    def created(self, request, number, mine):
        given = self.given(request, ISSUE)
        # "Troubleshooting the REST API", status code 400: a missing attribute is `error`, one that does not hold `message`.
        if "title" not in given:
            raise Refused(400, {"error": "title is missing"})
        if not given["title"].strip():
            raise failed(400, {"title": ["can't be blank"]})
        if len(given["title"]) > 255:
            raise failed(400, {"title": ["is too long (maximum is 255 characters)"]})
        if given.get("issue_type", "issue") not in ("issue", "incident", "test_case", "task"):
            raise Refused(400, {"error": "issue_type does not have a valid value"})
        if "iid" in given and any(one["iid"] == given["iid"] for one in mine):
            # "Issue create via API with manual IID: 500 instead of 409" (issue 196172): a duplicate is a server error.
            raise failed(500, "500 Internal Server Error")
        iid = given.get("iid", len(mine) + 1)
        issue = {
            "id": 80 + len(self.effects) + 1, "iid": iid, "project_id": number, "title": given["title"], "state": "opened",
            "description": given.get("description"), "labels": [name.strip() for name in given.get("labels", "").split(",") if name.strip()],
            "issue_type": given.get("issue_type", "issue"), "web_url": f"https://gitlab.com/acme/site/-/issues/{iid}",
        }
        self.effects.append(issue)
        return 201, issue

    def changed(self, request, issue):
        given = self.given(request, CHANGE)
        if not given:
            # "Edit an issue": at least one of its parameters is required.
            raise Refused(400, {"error": "assignee_id, title, … are missing, at least one parameter must be provided"})
        if "state_event" in given:
            issue["state"] = {"close": "closed", "reopen": "opened"}.get(given["state_event"], issue["state"])
        added = [name for name in given.get("add_labels", "").split(",") if name and name not in issue["labels"]]
        removed = given.get("remove_labels", "").split(",")
        issue["labels"] = [name for name in issue["labels"] + added if name not in removed]
        issue.update({name: given[name] for name in ("title", "description", "due_date") if name in given})
        return 200, issue

    def listed(self, request, mine):
        # "REST API", pagination: a Link header with the next page, made by the server.
        state = request.query.get("state", "all")
        found = [one for one in reversed(mine) if state in ("all", one["state"])]
        size, page = int(request.query.get("per_page", 20)), int(request.query.get("page", 1))
        headers = {}
        if page * size < len(found):
            others = "&".join(f"{name}={value}" for name, value in request.query.items() if name != "page")
            target = request.target.split("?")[0]
            headers["Link"] = f'<http://{request.headers["host"]}{target}?{others}&page={page + 1}>; rel="next"'
        return 200, found[(page - 1) * size : page * size], headers


if __name__ == "__main__":
    serve(GitLab())
