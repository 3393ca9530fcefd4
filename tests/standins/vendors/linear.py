"""Linear's GraphQL API. Queries and variables are judged by graphql-core over the types that Linear's own SDK is made with.

@linear/sdk has the schema as TypeScript types; of these a schema is made that holds what the connector can touch.
"Getting started" (endpoint, keys, errors), "Rate limiting". A second entity with an id that is taken: as people have
recorded it, see the connector's `unverified`.
"""

import json
import pathlib
import re
import sys

import child

# The stand-ins' packages, whichever Python runs this.
sys.path.extend(str(folder) for folder in pathlib.Path(child.INSTALLED).glob("venv/lib/python*/site-packages"))

from graphql import GraphQLError, build_schema, graphql_sync  # noqa: E402

from standin import Refused, Vendor, serve  # noqa: E402

KEY = "lin_api_standin"
TEAM = {"id": "9cfb482a-81e3-4154-b5b9-2c805e70a02d", "key": "ENG", "name": "Engineering"}
STATE = {"id": "b1a5a2c7-54c0-4f4f-8a31-9f6e2d1c7a10", "name": "Backlog"}
#: Types of answers that are kept; a field that leads elsewhere is left out.
KEPT = [
    "Issue", "IssuePayload", "IssueConnection", "Comment", "CommentPayload", "Team", "TeamConnection", "WorkflowState", "PageInfo", "User",
]
ROOTS = {"Query": ["issue", "issues", "teams", "viewer"], "Mutation": ["issueCreate", "issueUpdate", "commentCreate"]}


class Types:
    """TypeScript types, as the SDK has them, told as a GraphQL schema."""

    def __init__(self, text):
        self.blocks = dict(re.findall(r"^type (\w+) = (?:Node & )?\{\n(.*?)^\};", text, re.S | re.M))
        self.enums = dict(re.findall(r"^declare enum (\w+) \{\n(.*?)^\}", text, re.S | re.M))
        self.scalars, self.seen = set(), {}

    def fields(self, name):
        """(name, TypeScript type, whether it may be left out)."""
        text = re.sub(r"/\*\*.*?\*/", "", self.blocks[name], flags=re.S)
        return [(field, kind, bool(may)) for field, may, kind in re.findall(r"^\s*(\w+)(\??): (.+);$", text, re.M) if field != "__typename"]

    def told(self, kind, needed=True):
        """`InputMaybe<Array<Scalars["String"]>>` → `[String!]`; None if a type is not kept."""
        kind = kind.strip()
        maybe = re.fullmatch(r"(?:Input)?Maybe<(.+)>", kind)
        if maybe:
            return self.told(maybe[1], False)
        inner = re.fullmatch(r"Array<(.+)>", kind)
        if inner:
            name = self.told(inner[1])
            text = name and f"[{name}]"
        else:
            scalar = re.fullmatch(r'Scalars\["(\w+)"\]', kind)
            text = scalar[1] if scalar else kind
            if scalar:
                self.scalars.add(text)
            elif not self.known(text):
                return None
        return text and text + ("!" if needed else "")

    def known(self, name):
        if name in self.enums:
            values = re.findall(r'= "(\w+)"', self.enums[name])
            self.seen.setdefault(name, f"enum {name} {{ {' '.join(values)} }}")
            return True
        if name in KEPT:
            return True
        if name in self.blocks and re.search(r"(Input|Filter|Comparator|Sort)$", name):
            self.input(name)
            return True
        return False

    def input(self, name):
        if name in self.seen:
            return
        self.seen[name] = ""
        fields = [(field, self.told(kind, not may)) for field, kind, may in self.fields(name)]
        self.seen[name] = f"input {name} {{ {' '.join(f'{field}: {kind}' for field, kind in fields if kind)} }}"

    def arguments(self, owner, field):
        name = f"{owner}{field[0].upper()}{field[1:]}Args"
        if name not in self.blocks:
            return ""
        told = [(argument, self.told(kind, not may)) for argument, kind, may in self.fields(name)]
        return "(" + " ".join(f"{argument}: {kind}" for argument, kind in told if kind) + ")"

    def object(self, name, only=None):
        fields = []
        for field, kind, may in self.fields(name):
            if (only is None or field in only) and (told := self.told(kind, not may)):
                fields.append(f"{field}{self.arguments(name, field)}: {told}")
        self.seen[name] = f"type {name} {{ {' '.join(fields)} }}"

    def schema(self):
        for name in KEPT:
            self.object(name)
        for name, only in ROOTS.items():
            self.object(name, only)
        scalars = [f"scalar {name}" for name in self.scalars - {"String", "Int", "Float", "Boolean", "ID"}]
        return build_schema("\n".join([*self.seen.values(), *scalars]))


def refused(message, shown, code="INPUT_ERROR", kind="invalid input"):
    extensions = {"type": kind, "code": code, "statusCode": 400, "userError": True, "userPresentableMessage": shown}
    return GraphQLError(message, extensions=extensions)


class Linear(Vendor):
    def __init__(self):
        super().__init__()
        text = (child.INSTALLED / "specs" / "linear.d.mts").read_text()
        self.schema = Types(text).schema()
        self.comments = []

    def handle(self, request):
        if request.path != "/graphql" or request.method != "POST":
            raise Refused(404, "Not Found")
        # "Getting started": a personal key stands alone in the header; with Bearer it is an OAuth token, and not known.
        if request.headers.get("authorization") != KEY:
            error = {
                "message": "Authentication required, not authenticated",
                "extensions": {"type": "authentication error", "code": "AUTHENTICATION_ERROR", "statusCode": 401, "userError": True},
            }
            raise Refused(401, {"errors": [error]})
        given = request.json(Refused(400, {"errors": [{"message": "POST body missing, invalid Content-Type, or JSON object has no keys."}]}))
        variables = given.get("variables") or {}
        answer = graphql_sync(self.schema, given.get("query", ""), root_value=self, variable_values=variables)
        errors = [one.formatted for one in answer.errors or []]
        # What does not fit the schema is a 400; what went wrong while it was carried out a 200.
        invalid = errors and answer.data is None and not any("extensions" in one for one in errors)
        for one in errors:
            one.setdefault("extensions", {"code": "GRAPHQL_VALIDATION_FAILED", "type": "graphql error"})
        body = {"data": answer.data, **({"errors": errors} if errors else {})}
        return (400 if invalid else 200), body

    # The resolvers, which graphql-core calls by the names of the fields.

    def viewer(self, _):
        return {"id": "u-1", "name": "Millstream"}

    def teams(self, _, **__):
        return {"nodes": [TEAM], "pageInfo": {"hasNextPage": False, "hasPreviousPage": False}}

    def new(self, given, kind, known):
        id = given.get("id")
        # IssueCreateInput.id: "The identifier in UUID v4 format".
        if id is not None and not re.fullmatch("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", id):
            raise refused("Argument Validation Error", "id must be a UUID.")
        if any(one["id"] == id for one in known):
            raise refused(f"conflict on insert of {kind}", f"Entity {kind} with id {id} already exists.")
        return id or f"00000000-0000-4000-8000-{len(known):012}"

    def issueCreate(self, _, input):
        if input["teamId"] != TEAM["id"]:
            raise refused("Entity not found: Team", "Could not find referenced Team.")
        if not (input.get("title") or "").strip():
            raise refused("Argument Validation Error", "title should not be empty.")
        if not 0 <= input.get("priority", 0) <= 4:
            raise refused("Argument Validation Error", "priority must not be greater than 4.")
        id = self.new(input, "Issue", self.effects)
        identifier = f"ENG-{len(self.effects) + 1}"
        issue = {"id": id, "identifier": identifier, "title": input["title"], "priority": input.get("priority", 0), "team": "ENG"}
        issue.update(description=input.get("description"), url=f"https://linear.app/acme/issue/{identifier}")
        self.effects.append(issue)
        return {"success": True, "lastSyncId": 1.0, "issue": self.shown(issue)}

    def issueUpdate(self, _, id, input):
        issue = self.find(id)
        issue.update({name: input[name] for name in ("title", "description", "priority") if name in input})
        return {"success": True, "lastSyncId": 2.0, "issue": self.shown(issue)}

    def commentCreate(self, _, input):
        issue = self.find(input.get("issueId"))
        comment = {"id": self.new(input, "Comment", self.comments), "body": input.get("body"), "url": f"{issue['url']}#comment"}
        self.comments.append(comment)
        return {"success": True, "lastSyncId": 3.0, "comment": comment}

    def issue(self, _, id):
        return self.shown(self.find(id))

    def issues(self, _, first=50, after=None, **__):
        start = int(after or 0)
        shown = [self.shown(one) for one in self.effects[start : start + first]]
        end = str(start + len(shown)) if shown else None
        return {"nodes": shown, "pageInfo": {"hasNextPage": start + first < len(self.effects), "hasPreviousPage": start > 0, "endCursor": end}}

    def find(self, id):
        for issue in self.effects:
            if id in (issue["id"], issue["identifier"]):
                return issue
        raise refused("Entity not found: Issue", "Could not find referenced Issue.")

    def shown(self, issue):
        return {**issue, "team": TEAM, "state": STATE}


if __name__ == "__main__":
    serve(Linear())
