"""Jira Cloud's REST API, as far as the connector goes: "The Jira Cloud platform REST API", Issues, Issue comments, Issue search."""

import base64

from standin import Refused, Vendor, serve

EMAIL, TOKEN = "automation@example.com", "jira-test-token"
PROJECTS = {"OPS": "Operations", "WEB": "Website"}
TYPES = {"Task", "Bug", "Story"}
PRIORITIES = {"Highest", "High", "Medium", "Low", "Lowest"}
TRANSITIONS = {"To Do": {"11": "In Progress"}, "In Progress": {"21": "Done"}, "Done": {"31": "To Do"}}


def failed(status, *messages, **errors):
    # ErrorCollection: errorMessages for the whole, errors by field.
    return Refused(status, {"errorMessages": list(messages), "errors": errors})


def plain(document, field):
    """The text of a document in the Atlassian Document Format; one that is not valid is refused."""
    wrong = failed(400, **{field: "Operation value must be an Atlassian Document (see the Atlassian Document Format)"})
    # "Atlassian Document Format", structure: a root node doc, version 1, of block nodes. API v3 takes no plain text.
    if not isinstance(document, dict) or document.get("type") != "doc" or document.get("version") != 1:
        raise wrong
    if set(document) != {"type", "version", "content"} or not isinstance(document["content"], list):
        raise wrong
    lines = []
    for block in document["content"]:
        if not isinstance(block, dict) or block.get("type") != "paragraph" or not isinstance(block.get("content", []), list):
            raise wrong
        for node in block.get("content", []):
            # Text nodes must not be empty.
            if node.get("type") != "text" or not isinstance(node.get("text"), str) or not node["text"]:
                raise failed(400, "INVALID_INPUT", **{field: "INVALID_INPUT"})
        lines.append("".join(node["text"] for node in block.get("content", [])))
    return "\n".join(lines)


class Jira(Vendor):
    def handle(self, request):
        # "Basic auth for REST APIs": email:token. A wrong pair is 401 with text; no pair at all is an anonymous visitor,
        # who is told that things are not there.
        shown = request.headers.get("authorization", "")
        if shown and shown != "Basic " + base64.b64encode(f"{EMAIL}:{TOKEN}".encode()).decode():
            body = "Client must be authenticated to access this resource."
            return 401, body, {"X-Seraph-LoginReason": "AUTHENTICATED_FAILED", "WWW-Authenticate": 'OAuth realm="https%3A%2F%2Facme.atlassian.net"'}
        if request.segments[:3] != ["rest", "api", "3"]:
            return 404, "<!DOCTYPE html><html><title>Oops, you&#39;ve found a dead link.</title></html>", {"Content-Type": "text/html"}
        path = request.segments[3:]
        if path == ["myself"]:
            if not shown:
                raise failed(401, "Client must be authenticated to access this resource.")
            return 200, {"accountId": "5b10", "displayName": "Automation", "emailAddress": EMAIL}
        if path == ["project", "search"]:
            listed = [{"id": str(at), "key": key, "name": name} for at, (key, name) in enumerate(PROJECTS.items(), 10000)]
            start = int(request.query.get("startAt", 0))
            return 200, {"startAt": start, "maxResults": 100, "total": len(listed), "isLast": True, "values": listed[start:] if shown else []}
        if path == ["issuetype"]:
            return 200, [{"id": str(at), "name": name} for at, name in enumerate(sorted(TYPES), 1)]
        if path == ["search", "jql"] and request.method == "POST":
            return self.found(request)
        # "Search for issues using JQL (POST)" of old is gone.
        if path == ["search"]:
            raise failed(410, "The requested API has been removed. Please migrate to the /rest/api/3/search/jql API.")
        if path == ["issue"] and request.method == "POST":
            return self.created(request, bool(shown))
        if path[0] == "issue" and len(path) > 1:
            return self.one(request, path[1:], bool(shown))
        raise failed(404, "dead link")

    def json(self, request):
        return request.json(Refused(415 if request.media() != "application/json" else 400, {"errorMessages": ["There was an error parsing JSON. Check that your request body is valid."]}))

    def fields(self, given, known):
        fields = given.get("fields")
        if not isinstance(fields, dict):
            raise failed(400, "No fields were given")
        errors, issue = {}, {}
        for name, value in fields.items():
            if name not in known:
                # "Field 'x' cannot be set. It is not on the appropriate screen, or unknown.": also for what is merely hidden.
                errors[name] = f"Field '{name}' cannot be set. It is not on the appropriate screen, or unknown."
            elif name == "project" and value.get("key") not in PROJECTS:
                errors["project"] = "Specify a valid project ID or key"
            elif name == "issuetype" and value.get("name") not in TYPES:
                errors["issuetype"] = "Specify a valid issue type"
            elif name == "priority" and value.get("name") not in PRIORITIES:
                errors["priority"] = "The priority selected is invalid."
            elif name == "summary" and (not isinstance(value, str) or not value.strip()):
                errors["summary"] = "You must specify a summary of the issue."
            elif name == "summary" and len(value) > 255:
                errors["summary"] = "Summary must be less than 255 characters."
            elif name == "summary" and "\n" in value:
                errors["summary"] = "The summary is invalid because it contains newline characters."
            elif name == "labels" and any(" " in label for label in value):
                errors["labels"] = "The label contains spaces which is invalid."
            elif name == "description":
                issue["text"] = plain(value, "description")
            else:
                issue[name] = value.get("name") or value.get("key") if isinstance(value, dict) else value
        return issue, errors

    def created(self, request, known):
        given = self.json(request)
        for name in given:
            if name not in ("fields", "update", "properties", "historyMetadata"):
                raise failed(400, f'Unrecognized field "{name}"')
        issue, errors = self.fields(given, {"project", "issuetype", "summary", "description", "labels", "assignee", "priority", "parent", "customfield_10010"})
        for name, message in (
            ("project", "Specify a valid project ID or key"), ("issuetype", "Specify an issue type"),
            ("summary", "You must specify a summary of the issue."),
        ):
            if name not in given["fields"]:
                errors[name] = message
        if not known:
            errors["project"] = "Specify a valid project ID or key"
        if errors:
            raise failed(400, **errors)
        number = 1 + sum(one["project"] == issue["project"] for one in self.effects)
        issue.update(id=str(10000 + len(self.effects)), key=f"{issue['project']}-{number}", status="To Do", comments=[])
        self.effects.append(issue)
        return 201, {"id": issue["id"], "key": issue["key"], "self": f"http://{request.headers['host']}/rest/api/3/issue/{issue['id']}"}

    def one(self, request, path, known):
        issue = next((one for one in self.effects if path[0] in (one["id"], one["key"])), None)
        if issue is None or not known:
            raise failed(404, "Issue does not exist or you do not have permission to see it.")
        asked = (request.method, *path[1:])
        if asked == ("GET",):
            shown = {"summary": issue["summary"], "status": {"name": issue["status"]}, "labels": issue.get("labels", [])}
            return 200, {"id": issue["id"], "key": issue["key"], "fields": shown}
        if asked == ("PUT",):
            change, errors = self.fields(self.json(request), {"summary", "description", "labels", "assignee", "priority", "customfield_10010"})
            if errors:
                raise failed(400, **errors)
            issue.update(change)
            return 204, None
        if asked == ("POST", "comment"):
            issue["comments"].append(plain(self.json(request).get("body"), "comment"))
            return 201, {"id": str(len(issue["comments"]))}
        ways = TRANSITIONS[issue["status"]]
        if asked == ("GET", "transitions"):
            return 200, {"expand": "transitions", "transitions": [{"id": number, "name": name} for number, name in ways.items()]}
        if asked == ("POST", "transitions"):
            number = self.json(request).get("transition", {}).get("id")
            # A transition that the present status has not: 400, also right after it was made.
            if number not in ways:
                raise failed(400, f"Transition id '{number}' is not valid for this issue.")
            issue["status"] = ways[number]
            return 204, None
        raise failed(405, "Method Not Allowed")

    def found(self, request):
        # "Search for issues using JQL enhanced search": tokens, no total; ids alone unless `fields` are asked for.
        given = self.json(request)
        for name in given:
            if name not in ("jql", "fields", "maxResults", "nextPageToken", "expand", "properties", "fieldsByKeys", "reconcileIssues"):
                raise failed(400, "Invalid request payload. Refer to the REST API documentation and try again.")
        if not given.get("jql"):
            raise failed(400, "Unbounded JQL queries are not allowed here. Please add a search restriction to your query.")
        start, size = int(given.get("nextPageToken", 0)), given.get("maxResults", 50)
        found = [{"id": one["id"], **({"key": one["key"], "fields": {"summary": one["summary"]}} if given.get("fields") else {})} for one in self.effects]
        last = start + size >= len(found)
        return 200, {"issues": found[start : start + size], "isLast": last, **({} if last else {"nextPageToken": str(start + size)})}


if __name__ == "__main__":
    serve(Jira())
