"""Airtable: one base with the table `Leads`."""

from standin import Refused, Vendor, serve

TOKEN = "patTest.0123456789"
BASE = "appContoso0000001"
FIELDS = {"Email": str, "Company": str, "Seats": (int, float)}


def error(status, kind, message):
    # "Fixing Airtable API Error 429" shows the shape: {"error": {"type", "message"}}. Types and messages are from memory.
    return Refused(status, {"error": {"type": kind, "message": message}})


class Airtable(Vendor):
    def __init__(self):
        self.records = {}

    def effects(self):
        return list(self.records.values())

    def handle(self, request):
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            raise error(401, "AUTHENTICATION_REQUIRED", "Authentication required")
        # "Get user ID & scopes".
        if request.method == "GET" and request.segments == ["v0", "meta", "whoami"]:
            return 200, {"id": "usrContoso0000001", "scopes": ["data.records:read", "data.records:write"]}
        if len(request.segments) not in (3, 4) or request.segments[0] != "v0":
            raise Refused(404, {"error": "NOT_FOUND"})
        _, base, table, *record = request.segments
        if base != BASE or table != "Leads":
            raise error(403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND", "Invalid permissions, or the requested model was not found. Check that both your user and your token have the required permissions, and that the model names and/or ids are correct.")
        if record:
            return self.one(request, record[0])
        if request.method == "GET":
            return self.list(request)
        if request.method == "POST":
            body = self.body(request, ("fields", "typecast"))
            return 200, self.create(self.checked(body.get("fields")))
        if request.method == "PATCH":
            return self.upsert(request)
        raise Refused(404, {"error": "NOT_FOUND"})

    def body(self, request, known):
        body = request.json(error(422, "INVALID_REQUEST_MISSING_FIELDS", "Could not find field \"fields\" in the request body"))
        for name in body:
            if name not in known:
                raise error(422, "INVALID_REQUEST_UNKNOWN", f"Invalid request: parameter validation failed. Unknown {name}.")
        return body

    def checked(self, fields):
        if not isinstance(fields, dict):
            raise error(422, "INVALID_REQUEST_MISSING_FIELDS", "Could not find field \"fields\" in the request body")
        for name, value in fields.items():
            if name not in FIELDS:
                raise error(422, "UNKNOWN_FIELD_NAME", f'Unknown field name: "{name}"')
            if value is not None and (isinstance(value, bool) or not isinstance(value, FIELDS[name])):
                raise error(422, "INVALID_VALUE_FOR_COLUMN", f'Field "{name}" cannot accept the provided value')
        return {name: value for name, value in fields.items() if value is not None}

    def create(self, fields):
        record = {"id": f"rec{len(self.records) + 1:014}", "createdTime": "2026-01-05T09:00:00.000Z", "fields": fields}
        self.records[record["id"]] = record
        return record

    def upsert(self, request):
        """ "Update multiple records": none found is created, one is updated, several fail the request."""
        body = self.body(request, ("performUpsert", "records", "typecast"))
        merge = (body.get("performUpsert") or {}).get("fieldsToMergeOn")
        records = body.get("records")
        if not isinstance(records, list) or not 1 <= len(records) <= 10:
            raise error(422, "INVALID_REQUEST_UNKNOWN", "Invalid request: records must be a list of 1 to 10")
        if not isinstance(merge, list) or not 1 <= len(merge) <= 3 or not set(merge) <= set(FIELDS):
            raise error(422, "INVALID_REQUEST_UNKNOWN", "Invalid request: fieldsToMergeOn must be 1 to 3 known fields")
        planned = []
        for given in records:
            fields = self.checked(given.get("fields"))
            same = [known for known in self.records.values() if all(known["fields"].get(name) == fields.get(name) for name in merge)]
            if len(same) > 1:
                raise error(422, "INVALID_REQUEST_UNKNOWN", "Cannot update more than one record for one merge value")
            planned.append((fields, same))
        answer = {"records": [], "createdRecords": [], "updatedRecords": []}
        for fields, same in planned:
            if same:
                same[0]["fields"].update(fields)
            record = same[0] if same else self.create(fields)
            answer["records"].append(record)
            answer["updatedRecords" if same else "createdRecords"].append(record["id"])
        return 200, answer

    def one(self, request, name):
        record = self.records.get(name)
        if not record:
            raise Refused(404, {"error": "NOT_FOUND"})
        if request.method == "PATCH":
            record["fields"].update(self.checked(self.body(request, ("fields", "typecast")).get("fields")))
        elif request.method == "DELETE":
            del self.records[name]
            return 200, {"id": name, "deleted": True}
        return 200, record

    def list(self, request):
        """ "Getting started with Airtable's Web API": pages of at most 100, each but the last with an `offset`."""
        for name in request.query:
            if name not in ("filterByFormula", "view", "pageSize", "offset", "maxRecords"):
                raise error(422, "INVALID_REQUEST_UNKNOWN", f"Invalid request: parameter validation failed. Unknown {name}.")
        size = int(request.query.get("pageSize", "100"))
        if not 1 <= size <= 100:
            raise error(422, "INVALID_REQUEST_UNKNOWN", "pageSize must be 1 to 100")
        # Pages of two, so that a few records are several pages.
        size, start = min(size, 2), int(request.query.get("offset", "itr/0").split("/")[1])
        found = list(self.records.values())
        more = {"offset": f"itr/{start + size}"} if start + size < len(found) else {}
        return 200, {"records": found[start : start + size], **more}


serve(Airtable())
