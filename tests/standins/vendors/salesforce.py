"""Salesforce's token endpoint and REST API, as far as records of Lead, Contact and Account need them, with what misleads callers:

- the token's answer has no expires_in; that a session has ended is only told by 401 INVALID_SESSION_ID
- an error is a list; a limit that was hit is 403 REQUEST_LIMIT_EXCEEDED, a row that is locked 400 UNABLE_TO_LOCK_ROW
- an external id that several records have is answered 300 with the list of them
- a query's next page is a path, not a URL

The pages: "Insert or Update (Upsert) a Record Using an External ID", "Status Codes and Error Responses", "Duplicate Rule
Header" and "Query" of the REST API Developer Guide, "OAuth 2.0 Client Credentials Flow for Server-to-Server Integration".
"""

import re

from standin import Refused, Vendor, serve

CLIENT, SECRET = "3MVG9-consumer-key", "canary-consumer-secret"
VERSION = "v66.0"
FIELDS = {
    "Lead": {
        "FirstName",
        "LastName",
        "Company",
        "Email",
        "Phone",
        "Title",
        "Country",
        "LeadSource",
        "Description",
        "Status",
        "Millstream_Id__c",
    },
    "Account": {"Name", "Phone", "Website", "Millstream_Id__c"},
    "Contact": {"FirstName", "LastName", "Email", "AccountId", "Millstream_Id__c"},
}
REQUIRED = {"Lead": ["LastName", "Company"], "Account": ["Name"], "Contact": ["LastName"]}
PREFIX = {"Lead": "00Q", "Account": "001", "Contact": "003"}
EXTERNAL = {"Millstream_Id__c"}
PAGE = 2


def failure(status, code, message, fields=None, **more):
    """ "Status Codes and Error Responses": a list of {message, errorCode, fields}."""
    one = {"message": message, "errorCode": code, **more}
    if fields is not None:
        one["fields"] = fields
    return Refused(status, [one])


class Salesforce(Vendor):
    def __init__(self):
        self.records = {}
        self.tokens = 0
        self.ended = False
        self.pages = {}
        self.port = None

    def effects(self):
        return [{"object": kind, "Id": key, **fields} for (kind, key), fields in self.records.items()]

    def scripted(self, request):
        return request.path != "/services/oauth2/token"

    def handle(self, request):
        if request.path == "/services/oauth2/token":
            return self.token(request)
        # "Status Codes and Error Responses": 401, the session has expired or is invalid.
        if request.headers.get("authorization") != f"Bearer 00Dxx!token-{self.tokens}":
            raise failure(401, "INVALID_SESSION_ID", "Session expired or invalid")
        if request.segments[:3] != ["services", "data", VERSION]:
            raise failure(404, "NOT_FOUND", "The requested resource does not exist")
        parts = [part for part in request.segments[3:] if part]
        if parts == ["limits"]:
            return 200, {"DailyApiRequests": {"Max": 15000, "Remaining": 14998}}
        if parts == ["sobjects"]:
            return 200, {"encoding": "UTF-8", "sobjects": [{"name": kind, "label": kind} for kind in FIELDS]}
        if parts[:1] == ["query"]:
            return self.query(request, parts)
        if parts[:1] != ["sobjects"] or parts[1] not in FIELDS:
            raise failure(404, "NOT_FOUND", "The requested resource does not exist")
        kind = parts[1]
        if request.method == "POST" and len(parts) == 2:
            return self.insert(request, kind, self.body(request, kind))
        if len(parts) == 3:
            parts = [*parts[:2], "Id", parts[2]]
        if len(parts) != 4:
            raise failure(404, "NOT_FOUND", "The requested resource does not exist")
        return self.row(request, kind, parts[2], parts[3])

    def token(self, request):
        """Client credentials, in the form or as basic auth; the answer has instance_url, id, issued_at, and no expires_in."""
        form = request.form(Refused(400, {"error": "invalid_request", "error_description": "not a form"}))
        if request.method != "POST" or form.get("grant_type") != "client_credentials":
            return 400, {"error": "unsupported_grant_type", "error_description": "grant type not supported"}
        if form.get("client_id") != CLIENT:
            return 400, {"error": "invalid_client_id", "error_description": "client identifier invalid"}
        if form.get("client_secret") != SECRET:
            return 400, {"error": "invalid_client", "error_description": "invalid client credentials"}
        if not self.ended:
            self.tokens += 1
        here = f"http://{request.headers['host']}"
        return 200, {
            "access_token": f"00Dxx!token-{self.tokens}",
            "signature": "c2lnbmF0dXJl",
            "scope": "api",
            "instance_url": here,
            "id": f"{here}/id/00Dxx/005xx",
            "token_type": "Bearer",
            "issued_at": "1767603600000",
            "api_instance_url": "https://api.salesforce.com",
        }

    def body(self, request, kind, external=None):
        body = request.json(failure(415, "UNSUPPORTED_MEDIA_TYPE", "Content type not supported"))
        if not isinstance(body, dict):
            raise failure(400, "JSON_PARSER_ERROR", "The request is not an object")
        for name, value in body.items():
            if name not in FIELDS[kind]:
                raise failure(400, "INVALID_FIELD", f"No such column '{name}' on sobject of type {kind}")
            if name == external:
                raise failure(400, "INVALID_FIELD", f"The {name} field should not be specified in the sobject data.")
            if value is not None and not isinstance(value, (str, int, float, bool)):
                raise failure(
                    400, "JSON_PARSER_ERROR", f"Cannot deserialize instance of string from {type(value).__name__} value"
                )
        return body

    def header(self, request):
        """ "Duplicate Rule Header": allowSave, includeRecordDetails, runAsCurrentUser; false unless said."""
        options = dict(
            part.strip().split("=")
            for part in request.headers.get("sforce-duplicate-rule-header", "allowSave=false").split(";")
        )
        if not set(options) <= {"allowSave", "includeRecordDetails", "runAsCurrentUser"} or not set(
            options.values()
        ) <= {"true", "false"}:
            raise failure(400, "INVALID_DUPLICATE_RULE_HEADER", "the header is not understood")
        return options.get("allowSave") == "true"

    def insert(self, request, kind, fields, more=None):
        missing = [name for name in REQUIRED[kind] if not fields.get(name)]
        if missing:
            raise failure(
                400, "REQUIRED_FIELD_MISSING", f"Required fields are missing: [{', '.join(missing)}]", missing
            )
        allowed = self.header(request)
        same = [
            key
            for (other, key), known in self.records.items()
            if other == kind and fields.get("Email") and known.get("Email") == fields["Email"]
        ]
        if same and not allowed:
            result = {
                "allowSave": True,
                "duplicateRule": "Standard_Lead_Duplicate_Rule",
                "matchResults": [{"matchRecords": [{"record": {"Id": same[0]}}]}],
            }
            raise failure(400, "DUPLICATES_DETECTED", "Use one of these records?", duplicateResult=result)
        key = f"{PREFIX[kind]}xx{len(self.records) + 1:010d}AAA"
        self.records[kind, key] = fields
        return 201, {"id": key, "success": True, "errors": [], **(more or {})}

    def row(self, request, kind, column, value):
        if column != "Id" and column not in EXTERNAL:
            raise failure(404, "NOT_FOUND", f"Provided external ID field does not exist or is not accessible: {column}")
        found = [
            key
            for (other, key), fields in self.records.items()
            if other == kind and (key[:15] == value[:15] if column == "Id" else fields.get(column) == value)
        ]
        if len(found) > 1:
            # "Status Codes and Error Responses": 300, the external id exists in more than one record.
            return 300, [f"/services/data/{VERSION}/sobjects/{kind}/{key}" for key in found]
        if request.method == "GET":
            if not found:
                raise failure(404, "NOT_FOUND", "The requested resource does not exist")
            return 200, self.shown(kind, found[0], request.query.get("fields"))
        if request.method == "DELETE":
            if not found:
                raise failure(404, "ENTITY_IS_DELETED", "entity is deleted", [])
            del self.records[kind, found[0]]
            return 204, None
        if request.method != "PATCH":
            raise failure(405, "METHOD_NOT_ALLOWED", f"HTTP Method '{request.method}' not allowed")
        fields = self.body(request, kind, column)
        if column == "Id":
            if not found:
                raise failure(404, "ENTITY_IS_DELETED", "entity is deleted", [])
            self.records[kind, found[0]].update(fields)
            return 204, None
        if found:
            # "Insert or Update (Upsert) a Record Using an External ID": 200 with created: false (204 before version 46).
            self.records[kind, found[0]].update(fields)
            return 200, {"id": found[0], "success": True, "errors": [], "created": False}
        return self.insert(request, kind, {**fields, column: value}, {"created": True})

    def shown(self, kind, key, names=None):
        fields = {"Id": key, **self.records[kind, key]}
        names = names.split(",") if names else fields
        url = f"/services/data/{VERSION}/sobjects/{kind}/{key}"
        return {"attributes": {"type": kind, "url": url}, **{name.strip(): fields.get(name.strip()) for name in names}}

    def query(self, request, parts):
        """ "Query": totalSize, done, records, and nextRecordsUrl while there is more."""
        if len(parts) == 2:
            rows = self.pages.get(parts[1])
            if rows is None:
                raise failure(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        else:
            soql = request.query.get("q", "")
            found = re.fullmatch(r"SELECT ([\w, ]+) FROM (\w+)(?: WHERE (\w+) = '((?:[^'\\]|\\.)*)')?", soql)
            if not found:
                raise failure(400, "MALFORMED_QUERY", f"unexpected token: {soql[:40]}")
            names, kind, column, value = found.groups()
            if kind not in FIELDS:
                raise failure(400, "INVALID_TYPE", f"sObject type '{kind}' is not supported.")
            value = None if value is None else re.sub(r"\\(.)", r"\1", value)
            rows = [
                self.shown(kind, key, names)
                for (other, key), fields in self.records.items()
                if other == kind and (column is None or fields.get(column) == value)
            ]
        answer = {"totalSize": len(rows), "done": len(rows) <= PAGE, "records": rows[:PAGE]}
        if len(rows) > PAGE:
            locator = f"01gxx{len(self.pages):010d}-{PAGE}"
            self.pages[locator] = rows[PAGE:]
            answer["nextRecordsUrl"] = f"/services/data/{VERSION}/query/{locator}"
        return 200, answer


serve(Salesforce())
