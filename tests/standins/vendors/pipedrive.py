"""Pipedrive's API as far as persons, organizations, leads and deals need it: v2, and v1 for leads, which have no v2.

What misleads callers:
- nothing is unique: the same person, lead or deal twice is two of them ("Adding a Lead via Pipedrive API")
- a lead needs a person or an organization that is there
- an exact search ignores upper and lower case, and finds a new person at once or later (here: at once)
- 429 has x-ratelimit-reset in seconds; whoever goes on is blocked with 403 ("Rate limiting")
- a plan's limit is 403 with `code: feature_capping_deals_limit` (changelog of March 22, 2022)

Fields are those of AddPersonRequest, AddOrganizationRequest, AddDealRequest (v2) and AddLeadRequest (v1) of the official client.
One person is there from the beginning: 7, bob@example.com.
"""

import re
import uuid

from standin import Refused, Vendor, serve

TOKEN = "canary-pipedrive-token"
HASH = r"[0-9a-f]{40}"
LIST, TEXT, WHOLE, OBJECT, NUMBER, BOOL = list, str, int, dict, (int, float), bool
FIELDS = {
    "persons": {
        "name": TEXT,
        "owner_id": WHOLE,
        "org_id": WHOLE,
        "add_time": TEXT,
        "update_time": TEXT,
        "emails": LIST,
        "phones": LIST,
        "visible_to": WHOLE,
        "label_ids": LIST,
        "marketing_status": TEXT,
        "custom_fields": OBJECT,
    },
    "organizations": {"name": TEXT, "owner_id": WHOLE, "visible_to": WHOLE, "label_ids": LIST, "custom_fields": OBJECT},
    "deals": {
        "title": TEXT,
        "owner_id": WHOLE,
        "person_id": WHOLE,
        "org_id": WHOLE,
        "pipeline_id": WHOLE,
        "stage_id": WHOLE,
        "value": NUMBER,
        "currency": TEXT,
        "status": TEXT,
        "custom_fields": OBJECT,
    },
    "leads": {
        "title": TEXT,
        "owner_id": WHOLE,
        "label_ids": LIST,
        "person_id": WHOLE,
        "organization_id": WHOLE,
        "value": OBJECT,
        "expected_close_date": TEXT,
        "visible_to": TEXT,
        "was_seen": BOOL,
        "origin_id": TEXT,
        "channel": WHOLE,
        "channel_id": TEXT,
    },
}


def failure(status, message, **more):
    info = "Please check developers.pipedrive.com for more information about Pipedrive API."
    return Refused(
        status, {"success": False, "error": message, "error_info": info, "data": None, "additional_data": None, **more}
    )


class Pipedrive(Vendor):
    def __init__(self):
        bob = {"id": 7, "name": "Bob", "emails": [{"value": "bob@example.com", "primary": True, "label": "work"}]}
        self.rows = {"persons": {7: bob}, "organizations": {}, "deals": {}, "leads": {}}
        self.made = []

    def effects(self):
        return [{"kind": kind, **self.rows[kind][key]} for kind, key in self.made]

    def scripted(self, request):
        return request.method != "GET"

    def handle(self, request):
        if request.headers.get("x-api-token") != TOKEN or "api_token" in request.query:
            return 401, {"success": False, "error": "unauthorized access", "errorCode": 401}
        if request.path == "/v1/users/me" and request.method == "GET":
            return 200, {
                "success": True,
                "data": {"id": 1, "name": "Ada", "company_name": "Contoso", "company_domain": "contoso"},
            }
        if found := re.fullmatch(r"/api/v2/(persons|organizations)/search", request.path):
            return self.search(request, found.group(1))
        if found := re.fullmatch(r"/api/v2/(persons|organizations|deals)", request.path):
            if request.method == "POST":
                return self.create(request, found.group(1))
        if found := re.fullmatch(r"/api/v2/persons/(\d+)", request.path):
            if request.method == "PATCH":
                return self.change(request, int(found.group(1)))
        if request.path == "/v1/leads" and request.method == "POST":
            return self.create(request, "leads")
        raise failure(404, "Unknown method .")

    def body(self, request, kind):
        body = request.json(failure(400, "Request body must be valid JSON"))
        for name, value in body.items():
            if kind == "leads" and re.fullmatch(HASH, name):
                continue
            if name not in FIELDS[kind]:
                raise failure(400, f"Parameter '{name}' is not allowed")
            if (
                value is None
                or not isinstance(value, FIELDS[kind][name])
                or (isinstance(value, bool) and FIELDS[kind][name] is not BOOL)
            ):
                raise failure(400, f"validation failed: {name}: invalid type")
        for name in body.get("custom_fields", {}):
            if not re.fullmatch(HASH, name):
                raise failure(400, f"validation failed: custom_fields.{name}: is not a field")
        for one in [*body.get("emails", []), *body.get("phones", [])]:
            if set(one) - {"value", "primary", "label"} or not isinstance(one.get("value"), str):
                raise failure(400, "validation failed: emails: invalid item")
        for name, known in (
            ("person_id", "persons"),
            ("org_id", "organizations"),
            ("organization_id", "organizations"),
        ):
            if name in body and body[name] not in self.rows[known]:
                raise failure(400, f"validation failed: {name}: {known[:-1]} {body[name]} is not found")
        return body

    def create(self, request, kind):
        body = self.body(request, kind)
        need = "title" if kind in ("leads", "deals") else "name"
        if not body.get(need):
            raise failure(400, f"validation failed: {need}: is required")
        if kind == "leads":
            if "person_id" not in body and "organization_id" not in body:
                raise failure(400, "A lead must be linked to a person or an organization.")
            value = body.get("value")
            if value is not None and set(value) != {"amount", "currency"}:
                raise failure(400, "validation failed: value: amount and currency are required")
        key = str(uuid.uuid4()) if kind == "leads" else 100 + len(self.made)
        self.rows[kind][key] = {"id": key, **body}
        self.made.append((kind, key))
        return 201 if kind == "leads" else 200, {"success": True, "data": self.rows[kind][key]}

    def change(self, request, key):
        body = self.body(request, "persons")
        if key not in self.rows["persons"]:
            raise failure(404, "Person not found")
        self.rows["persons"][key].update(body)
        return 200, {"success": True, "data": self.rows["persons"][key]}

    def search(self, request, kind):
        """searchPersons: term (2 letters at least unless exact), fields, exact_match, limit; not case sensitive."""
        query = request.query
        if (
            set(query) - {"term", "fields", "exact_match", "limit", "cursor", "include_fields", "organization_id"}
            or request.method != "GET"
        ):
            raise failure(400, "validation failed: unknown parameter")
        term, exact = query.get("term", ""), query.get("exact_match") == "true"
        if len(term) < (1 if exact else 2):
            raise failure(400, "validation failed: term: must be at least 2 characters long")
        field = query.get("fields", "name")
        items = []
        for row in self.rows[kind].values():
            values = [one["value"] for one in row.get("emails", [])] if field == "email" else [row.get("name", "")]
            if any(value.lower() == term.lower() if exact else term.lower() in value.lower() for value in values):
                item = {
                    "id": row["id"],
                    "type": kind[:-1],
                    "name": row.get("name"),
                    "emails": [one["value"] for one in row.get("emails", [])],
                }
                items.append({"result_score": 0.29, "item": item})
        limit = int(query.get("limit", 100))
        return 200, {"success": True, "data": {"items": items[:limit]}, "additional_data": {"next_cursor": None}}


serve(Pipedrive())
