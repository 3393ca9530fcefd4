"""HubSpot's CRM objects API as far as contacts, companies and deals need it, with what misleads callers:

- a batch upsert that fails for a record answers 207, a success by its number, with `errors` inside
- an address that is known makes a create 409 CONFLICT
- 429 says which limit was hit in `policyName`, and mostly has no Retry-After
- a DELETE of what is not there is 404, one of what is there 204

The pages: "Upsert a batch of contacts", "Error handling", "API usage guidelines" and "Contacts guide" of developers.hubspot.com.
"""

import re
import uuid

from standin import Refused, Vendor, serve

TOKEN = "pat-na1-test"
VERSION = "2026-03"
# Properties that an account has, and which of them are unique.
PROPERTIES = {
    "contacts": (
        {"email", "firstname", "lastname", "phone", "company", "jobtitle", "country", "lifecyclestage", "website"},
        {"email"},
    ),
    "companies": ({"name", "domain", "phone", "country", "external_id"}, {"external_id"}),
    "deals": ({"dealname", "amount", "dealstage", "pipeline", "closedate", "external_id"}, {"external_id"}),
}


def failure(status, category, message, **more):
    """ "Error handling": status, message, correlationId, category; all fields are optional."""
    return Refused(
        status,
        {"status": "error", "message": message, "correlationId": str(uuid.uuid4()), "category": category, **more},
    )


class HubSpot(Vendor):
    def __init__(self):
        self.records = {}
        self.next_id = 101

    def effects(self):
        return [
            {"object": kind, "id": key, **record["properties"]}
            for (kind, key), record in self.records.items()
            if not record["archived"]
        ]

    def handle(self, request):
        # "Error handling": 401 where the authentication is invalid.
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            raise failure(401, "INVALID_AUTHENTICATION", "Authentication credentials not found.")
        if request.path == "/account-info/v3/details" and request.method == "GET":
            return 200, {"portalId": 62515, "timeZone": "US/Eastern", "dataHostingLocation": "na1"}
        found = re.fullmatch(rf"/crm/objects/{VERSION}/([a-z0-9_-]+)(/.*)?", request.path)
        if not found:
            raise failure(404, "OBJECT_NOT_FOUND", "resource not found")
        kind, rest = found.group(1), found.group(2) or ""
        if kind not in PROPERTIES:
            raise failure(400, "VALIDATION_ERROR", f"Unable to infer object type from: {kind}")
        if request.method == "POST" and rest == "/batch/upsert":
            return self.upsert(request, kind)
        if request.method == "POST" and rest == "/search":
            return self.search(request, kind)
        if request.method == "POST" and rest == "":
            return self.create(request, kind)
        key = rest.strip("/")
        if request.method == "GET":
            return 200, self.shown(kind, self.one(kind, key, request))
        if request.method == "PATCH":
            body = self.body(request, {"properties"})
            key = self.one(kind, key, request)
            self.check(kind, body.get("properties"))
            self.records[kind, key]["properties"].update(body["properties"])
            return 200, self.shown(kind, key)
        if request.method == "DELETE":
            self.records[kind, self.one(kind, key, request)]["archived"] = True
            return 204, None
        raise failure(405, "METHOD_NOT_ALLOWED", "method not allowed")

    def body(self, request, known):
        body = request.json(failure(400, "VALIDATION_ERROR", "Invalid input JSON"))
        for name in body:
            if name not in known:
                raise failure(400, "VALIDATION_ERROR", f"Invalid input JSON on line 1, column 1: unknown field {name}")
        return body

    def check(self, kind, properties):
        """Properties that do not exist, and values that do not fit, are refused: "Error handling", CRM object APIs."""
        if not isinstance(properties, dict):
            raise failure(400, "VALIDATION_ERROR", "properties must be an object")
        for name, value in properties.items():
            if name not in PROPERTIES[kind][0]:
                said = f'Property values were not valid: [{{"isValid":false,"message":"Property \\"{name}\\" does not exist","error":"PROPERTY_DOESNT_EXIST","name":"{name}"}}]'
                raise failure(400, "VALIDATION_ERROR", said)
            if value is not None and not isinstance(value, str):
                raise failure(400, "VALIDATION_ERROR", f"Invalid input JSON: {name} is not a string")
        email = properties.get("email")
        if email is not None and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", email):
            said = f'Property values were not valid: [{{"isValid":false,"message":"Email address {email} is invalid","error":"INVALID_EMAIL","name":"email"}}]'
            raise failure(400, "VALIDATION_ERROR", said)

    def upsert(self, request, kind):
        """ "Upsert a batch of contacts": inputs of id, idProperty and properties; 200 with results, or 207 with errors too."""
        body = self.body(request, {"inputs"})
        results, errors = [], []
        if not body.get("inputs") or len(body["inputs"]) > 100:
            raise failure(400, "VALIDATION_ERROR", "1 to 100 inputs are needed")
        for one in body["inputs"]:
            for name in one:
                if name not in ("id", "idProperty", "properties", "objectWriteTraceId"):
                    raise failure(400, "VALIDATION_ERROR", f"Invalid input JSON: unknown field {name}")
            unique = one.get("idProperty")
            if unique not in PROPERTIES[kind][1]:
                raise failure(400, "VALIDATION_ERROR", f"Property {unique} is not a unique property of {kind}")
            if not isinstance(one.get("id"), str):
                raise failure(400, "VALIDATION_ERROR", "Invalid input JSON: id is not a string")
            properties = {**one.get("properties", {}), unique: one["id"]}
            try:
                self.check(kind, properties)
            except Refused as refused:
                body = refused.answer[1]
                errors.append(
                    {
                        "status": "error",
                        "category": body["category"],
                        "message": body["message"],
                        "context": {"id": [one["id"]]},
                    }
                )
                continue
            key = next(
                (
                    key
                    for (known, key), record in self.records.items()
                    if known == kind and record["properties"].get(unique, "").lower() == one["id"].lower()
                ),
                None,
            )
            if key is None:
                key, new = self.add(kind, properties), True
            else:
                new = False
                self.records[kind, key]["properties"].update(properties)
                self.records[kind, key]["archived"] = False
            results.append({**self.shown(kind, key), "new": new})
        answer = {
            "status": "COMPLETE",
            "results": results,
            "startedAt": "2026-01-05T09:00:00Z",
            "completedAt": "2026-01-05T09:00:01Z",
        }
        if errors:
            return 207, {**answer, "numErrors": len(errors), "errors": errors}
        return 200, answer

    def create(self, request, kind):
        body = self.body(request, {"properties", "associations"})
        self.check(kind, body.get("properties"))
        for unique in PROPERTIES[kind][1]:
            value = body["properties"].get(unique)
            known = [
                key
                for (other, key), record in self.records.items()
                if other == kind and value and record["properties"].get(unique) == value
            ]
            if known:
                # "Contacts guide": an address is the primary identifier; a second one is a conflict.
                what = "Contact" if kind == "contacts" else "Object"
                raise failure(409, "CONFLICT", f"{what} already exists. Existing ID: {known[0]}")
        return 201, self.shown(kind, self.add(kind, body["properties"]))

    def search(self, request, kind):
        body = self.body(request, {"filterGroups", "properties", "limit", "after", "sorts", "query"})
        found = []
        for (known, key), record in self.records.items():
            groups = body.get("filterGroups") or [{"filters": []}]
            hit = any(all(self.holds(record, one) for one in group["filters"]) for group in groups)
            if known == kind and not record["archived"] and hit:
                found.append(self.shown(kind, key))
        limit = body.get("limit", 10)
        if not isinstance(limit, int) or limit > 200:
            raise failure(400, "VALIDATION_ERROR", "limit is at most 200")
        start = body.get("after", "0")
        if not isinstance(start, str) or not start.isdigit():
            raise failure(400, "VALIDATION_ERROR", "after is not a cursor")
        start = int(start)
        answer = {"total": len(found), "results": found[start : start + limit]}
        if start + limit < len(found):
            answer["paging"] = {"next": {"after": str(start + limit), "link": "?after=" + str(start + limit)}}
        return 200, answer

    def holds(self, record, one):
        if one.get("operator") != "EQ":
            raise failure(400, "VALIDATION_ERROR", f"operator {one.get('operator')} is not known here")
        return record["properties"].get(one["propertyName"]) == one["value"]

    def add(self, kind, properties):
        key = str(self.next_id)
        self.next_id += 1
        self.records[kind, key] = {"properties": dict(properties), "archived": False}
        return key

    def one(self, kind, key, request):
        unique = request.query.get("idProperty")
        if unique is not None:
            if unique not in PROPERTIES[kind][1]:
                raise failure(400, "VALIDATION_ERROR", f"{unique} is not a unique property")
            key = next(
                (
                    known
                    for (other, known), record in self.records.items()
                    if other == kind and record["properties"].get(unique) == key
                ),
                None,
            )
        if (kind, key) not in self.records or self.records[kind, key]["archived"]:
            raise failure(404, "OBJECT_NOT_FOUND", "resource not found")
        return key

    def shown(self, kind, key):
        record = self.records[kind, key]
        return {
            "id": key,
            "properties": record["properties"],
            "createdAt": "2026-01-05T09:00:00Z",
            "updatedAt": "2026-01-05T09:00:00Z",
            "archived": record["archived"],
        }


serve(HubSpot())
