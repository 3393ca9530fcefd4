"""Notion: one data source with the properties Name, Email and Seats."""

import re
import uuid

from standin import Refused, Vendor, serve

TOKEN = "ntn_test"
SOURCE = "d9824bdc-8445-4327-be8b-5b47500af6ce"
PROPERTIES = {"Name": "title", "Email": "email", "Seats": "number"}


def error(status, code, message):
    # "Error (schema)" and "Status codes".
    body = {"object": "error", "status": status, "code": code, "message": message, "request_id": str(uuid.uuid4())}
    return Refused(status, body)


def invalid(message):
    return error(400, "validation_error", message)


class Notion(Vendor):
    def __init__(self):
        self.pages = {}

    def effects(self):
        def plain(value):
            texts = value.get("title")
            return "".join(text["text"]["content"] for text in texts) if texts else value.get("email", value.get("number"))

        kept = [page for page in self.pages.values() if not page["in_trash"]]
        return [{name: plain(value) for name, value in page["properties"].items()} for page in kept]

    def handle(self, request):
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            raise error(401, "unauthorized", "API token is invalid.")
        # "Upgrading to 2025-09-03": each request names the version.
        version = request.headers.get("notion-version")
        if version is None:
            raise error(400, "missing_version", "Notion-Version header should be defined.")
        if version != "2025-09-03":
            raise invalid(f"Notion-Version header should be \"2025-09-03\", instead was \"{version}\".")
        for method, pattern, act in (
            ("GET", r"/v1/users/me", self.me),
            ("POST", r"/v1/pages", self.create),
            ("PATCH", r"/v1/pages/([^/]+)", self.update),
            ("GET", r"/v1/pages/([^/]+)", self.page),
            ("PATCH", r"/v1/blocks/([^/]+)/children", self.append),
            ("POST", r"/v1/data_sources/([^/]+)/query", self.query),
            ("POST", r"/v1/search", self.search),
        ):
            found = re.fullmatch(pattern, request.path)
            if found and request.method == method:
                return act(request, *found.groups())
        raise error(400, "invalid_request_url", "Invalid request URL.")

    def body(self, request, known):
        body = request.json(error(400, "invalid_json", "Error parsing JSON body."))
        for name, value in body.items():
            if name not in known:
                raise invalid(f"body failed validation: body.{name} should be not present, instead was `{value}`.")
        return body

    def checked(self, properties):
        if not isinstance(properties, dict):
            raise invalid("body failed validation: body.properties should be defined, instead was `undefined`.")
        for name, value in properties.items():
            kind = PROPERTIES.get(name)
            if kind is None:
                raise invalid(f"{name} is not a property that exists.")
            if not isinstance(value, dict) or kind not in value:
                raise invalid(f"{name} is expected to be {kind}.")
            good = {
                "title": lambda texts: isinstance(texts, list) and all(isinstance(text["text"]["content"], str) for text in texts),
                "email": lambda text: text is None or isinstance(text, str),
                "number": lambda number: number is None or (isinstance(number, (int, float)) and not isinstance(number, bool)),
            }[kind]
            if not good(value[kind]):
                raise invalid(f"body failed validation: body.properties.{name}.{kind} should be a {kind}, instead was `{value[kind]}`.")
        return properties

    def shared(self, source):
        if source != SOURCE:
            what = f"Could not find data_source with ID: {source}. Make sure the relevant pages and databases are shared with your integration."
            raise error(404, "object_not_found", what)

    def found(self, name):
        if name not in self.pages:
            raise error(404, "object_not_found", f"Could not find page with ID: {name}.")
        return self.pages[name]

    def me(self, _):
        return 200, {"object": "user", "id": str(uuid.uuid4()), "type": "bot", "name": "Millstream"}

    def create(self, request):
        """ "Create a page": properties match those of the parent, which is a data source since 2025-09-03."""
        body = self.body(request, ("parent", "properties", "children", "icon", "cover"))
        parent = body.get("parent") or {}
        if "data_source_id" not in parent or parent.get("type", "data_source_id") != "data_source_id":
            raise invalid("body failed validation: body.parent.data_source_id should be defined, instead was `undefined`.")
        self.shared(parent["data_source_id"])
        for name in ("children", "icon"):
            if name in body and body[name] is None:
                raise invalid(f"body failed validation: body.{name} should be defined, instead was `null`.")
        name = str(uuid.uuid4())
        self.pages[name] = {
            "object": "page", "id": name, "url": f"https://www.notion.so/{name.replace('-', '')}", "in_trash": False,
            "parent": {"type": "data_source_id", "data_source_id": SOURCE}, "properties": self.checked(body.get("properties")),
        }
        return 200, self.pages[name]

    def update(self, request, name):
        body = self.body(request, ("properties", "in_trash", "icon", "cover"))
        page = self.found(name)
        page["properties"].update(self.checked(body.get("properties", {})))
        page["in_trash"] = body.get("in_trash", page["in_trash"])
        return 200, page

    def page(self, _, name):
        return 200, self.found(name)

    def append(self, request, name):
        self.found(name)
        children = self.body(request, ("children", "after")).get("children")
        return 200, {"object": "list", "results": [{"object": "block", "id": str(uuid.uuid4()), **child} for child in children]}

    def query(self, request, source):
        self.shared(source)
        body = self.body(request, ("filter", "sorts", "page_size", "start_cursor"))
        # Pages of two, so that a few are several pages.
        start = int(body.get("start_cursor", "0"))
        kept = [page for page in self.pages.values() if not page["in_trash"]]
        more = start + 2 < len(kept)
        return 200, {"object": "list", "results": kept[start : start + 2], "has_more": more, "next_cursor": str(start + 2) if more else None}

    def search(self, request):
        body = self.body(request, ("query", "filter", "sort", "page_size", "start_cursor"))
        if body.get("filter") != {"property": "object", "value": "data_source"}:
            raise invalid("body failed validation: body.filter.value should be `\"page\"` or `\"data_source\"`.")
        source = {"object": "data_source", "id": SOURCE, "title": [{"plain_text": "Leads"}]}
        return 200, {"object": "list", "results": [source], "has_more": False, "next_cursor": None}


serve(Notion())
