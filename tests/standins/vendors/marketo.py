"""Adobe Marketo Engage: its identity endpoint, and the REST API as far as leads, lists and campaigns need it.

What misleads callers, from "Error Codes", "Authentication", "Leads", "List Membership" and "Smart Campaigns" (Marketo
Developer, Experience League):
- HTTP 200 for nearly all failures: `success: false` with `errors`, whose codes are texts ("601" to "799")
- `success: true` with a record whose `status` is "skipped" and has `reasons` ("1006": no such field)
- asked for a token before the last has ended, it gives the same one with what is left of its life
- a token in the query is no longer taken: it stands in the header Authorization
- who goes into a list stands in the query of a POST without a body
"""

import re

from standin import Refused, Vendor, serve

CLIENT, SECRET = "client-of-service", "canary-service-secret"
FIELDS = {
    "id": int,
    "email": str,
    "firstName": str,
    "lastName": str,
    "company": str,
    "phone": str,
    "title": str,
    "country": str,
    "leadSource": str,
    "numberOfEmployees": int,
    "unsubscribed": bool,
    "externalId": str,
}
LOOKUP = {"email", "id", "externalId", "cookie", "facebookId", "sfdcLeadId"}
DEFAULT = ["id", "email", "updatedAt", "createdAt", "lastName", "firstName"]
LISTS, CAMPAIGNS, FORMS = {1001}, {2001}, {1029}


class Marketo(Vendor):
    def __init__(self):
        self.leads = {}
        self.next_id = 50
        self.members = set()
        self.requested = []
        self.tokens = 1
        self.requests = 0

    def effects(self):
        leads = [{"id": key, **lead} for key, lead in self.leads.items()]
        return leads + [{"list": one, "id": key} for one, key in sorted(self.members)] + self.requested

    def scripted(self, request):
        return not request.path.startswith("/identity/")

    def failed(self, code, message):
        """ "Error Codes", response level: 200, success false, a list of errors."""
        return Refused(
            200, {"requestId": self.number(), "success": False, "errors": [{"code": code, "message": message}]}
        )

    def done(self, result, **more):
        return 200, {"requestId": self.number(), "result": result, "success": True, **more}

    def number(self):
        self.requests += 1
        return f"e42b#{self.requests:011x}"

    def handle(self, request):
        if request.path == "/identity/oauth/token":
            return self.token(request)
        if not request.path.startswith("/rest/v1/"):
            raise self.failed("610", "Requested resource not found")
        if "access_token" in request.query:
            raise self.failed("600", "Access token is taken from the Authorization header only")
        bearer = request.headers.get("authorization", "")
        if bearer == f"Bearer token-{self.tokens - 1}:int":
            raise self.failed("602", "Access token expired")
        if bearer != f"Bearer token-{self.tokens}:int":
            raise self.failed("601", "Access token invalid")
        path = request.path.removeprefix("/rest/v1/")
        if request.method == "GET":
            return self.read(request, path)
        if found := re.fullmatch(r"lists/(\d+)/leads\.json", path):
            return self.members_of(request, int(found.group(1)))
        if request.method != "POST":
            raise self.failed("605", "HTTP Method not supported")
        if request.media() != "application/json":
            raise self.failed("612", "Invalid Content Type")
        body = request.json(self.failed("609", "Invalid JSON"))
        if path == "leads.json":
            return self.sync(body)
        if path == "leads/delete.json":
            return self.done([self.delete(one.get("id")) for one in body.get("input", [])])
        if path == "leads/submitForm.json":
            return self.fill_out(body)
        if found := re.fullmatch(r"campaigns/(\d+)/trigger\.json", path):
            return self.trigger(int(found.group(1)), body)
        raise self.failed("610", "Requested resource not found")

    def token(self, request):
        """ "Authentication": GET or POST, everything in the query; 401 for wrong credentials."""
        given = request.query
        if given.get("grant_type") != "client_credentials":
            return 400, {"error": "unsupported_grant_type", "error_description": "Unsupported grant type"}
        if given.get("client_id") != CLIENT or given.get("client_secret") != SECRET:
            return 401, {
                "error": "invalid_client",
                "error_description": f"No client with requested id: {given.get('client_id')}",
            }
        return 200, {
            "access_token": f"token-{self.tokens}:int",
            "token_type": "bearer",
            "expires_in": 3599,
            "scope": "apis@contoso.example",
        }

    def sync(self, body):
        """ "Leads", Create and Update: action, lookupField, input of up to 300; each result has a status of its own."""
        for name in body:
            if name not in ("action", "lookupField", "input", "partitionName", "asyncProcessing"):
                raise self.failed("1002", f"Unknown parameter '{name}'")
        action, lookup = body.get("action", "createOrUpdate"), body.get("lookupField", "email")
        if action not in ("createOrUpdate", "createOnly", "updateOnly", "createDuplicate"):
            raise self.failed("701", f"action '{action}' is not valid")
        if not isinstance(body.get("input"), list) or not 0 < len(body["input"]) <= 300:
            raise self.failed("701", "input cannot be blank")
        return self.done([self.one(lead, action, lookup, body.get("partitionName")) for lead in body["input"]])

    def one(self, lead, action, lookup, partition):
        def skipped(code, message):
            return {"status": "skipped", "reasons": [{"code": code, "message": message}]}

        if partition not in (None, "Default"):
            return skipped("1008", f"Access denied to partition '{partition}'")
        if lookup not in LOOKUP:
            return skipped("1011", f"Field '{lookup}' not supported")
        for name, value in lead.items():
            if name not in FIELDS:
                return skipped("1006", f"Field '{name}' not found")
            if value is not None and not isinstance(value, FIELDS[name]):
                return skipped("1001", f"Invalid value '{value}'. Required of type '{FIELDS[name].__name__}'")
        if "id" in lead and action != "updateOnly":
            return skipped("1003", "Invalid data: id with this action")
        if not lead.get(lookup):
            return skipped("1002", f"Missing value for the required parameter '{lookup}'")
        # "only ASCII characters are supported in the email address field"
        if not re.fullmatch(r"[\x21-\x7e]+@[\x21-\x7e]+", lead.get("email") or "a@b"):
            return skipped("1003", "Value for email is invalid")
        known = [
            key for key, other in self.leads.items() if (key if lookup == "id" else other.get(lookup)) == lead[lookup]
        ]
        if action == "createDuplicate":
            known = []
        if len(known) > 1:
            return skipped("1007", "Multiple leads match the lookup criteria")
        if known and action == "createOnly":
            return skipped("1005", "Lead already exists")
        if not known and action == "updateOnly":
            return skipped("1004", "Lead not found")
        fields = {name: value for name, value in lead.items() if name != "id"}
        if known:
            self.leads[known[0]].update(fields)
            return {"id": known[0], "status": "updated"}
        key, self.next_id = self.next_id, self.next_id + 1
        self.leads[key] = fields
        return {"id": key, "status": "created"}

    def delete(self, key):
        if self.leads.pop(key, None) is None:
            return {"status": "skipped", "reasons": [{"code": "1004", "message": "Lead not found"}]}
        self.members = {(one, other) for one, other in self.members if other != key}
        return {"id": key, "status": "deleted"}

    def members_of(self, request, number):
        """ "List Membership": POST adds, DELETE removes; the ids stand in the query."""
        if number not in LISTS:
            raise self.failed("1013", f"List {number} not found")
        key = request.query.get("id", "")
        if not key.isdigit():
            raise self.failed("1002", "Missing value for the required parameter 'id'")
        if int(key) not in self.leads:
            return self.done(
                [{"id": int(key), "status": "skipped", "reasons": [{"code": "1004", "message": "Lead not found"}]}]
            )
        if request.method == "POST":
            self.members.add((number, int(key)))
            return self.done([{"id": int(key), "status": "added"}])
        if request.method == "DELETE":
            self.members.discard((number, int(key)))
            return self.done([{"id": int(key), "status": "removed"}])
        raise self.failed("605", "HTTP Method not supported")

    def fill_out(self, body):
        """ "Leads", Submit Form: formId, one record with leadFormFields (email is needed), visitorData and cookie."""
        if set(body) - {"formId", "programId", "input"} or body.get("formId") not in FORMS:
            raise self.failed("1013", "Form not found")
        record = body["input"][0]
        if len(body["input"]) != 1 or set(record) - {"leadFormFields", "visitorData", "cookie"}:
            raise self.failed("1003", "Invalid data")
        result = self.one(record["leadFormFields"], "createOrUpdate", "email", None)
        if result["status"] != "skipped":
            self.requested.append({"form": body["formId"], "id": result["id"]})
        return self.done([result])

    def trigger(self, number, body):
        if number not in CAMPAIGNS:
            raise self.failed("1013", f"Campaign {number} not found")
        for one in body.get("input", {}).get("leads", []):
            if one.get("id") not in self.leads:
                raise self.failed("1004", f"Lead [{one.get('id')}] not found")
            self.requested.append({"campaign": number, "id": one["id"]})
        return self.done([{"id": number}])

    def read(self, request, path):
        if path == "leads/describe.json":
            return self.done(
                [{"id": 2, "displayName": name, "rest": {"name": name, "readOnly": False}} for name in FIELDS]
            )
        names = request.query.get("fields", ",".join(DEFAULT)).split(",")
        for name in names:
            if name not in FIELDS and name not in DEFAULT:
                raise self.failed("1006", f"Field '{name}' not found")
        if found := re.fullmatch(r"lead/(\d+)\.json", path):
            key = int(found.group(1))
            if key not in self.leads:
                raise self.failed("1004", f"Lead [{key}] not found")
            return self.done([self.shown(key, names)])
        if path != "leads.json":
            raise self.failed("610", "Requested resource not found")
        kind, values = request.query.get("filterType"), request.query.get("filterValues")
        if not kind or not values:
            raise self.failed("1003", "filterType and filterValues cannot be blank")
        if kind not in FIELDS:
            raise self.failed("1003", f"Invalid filterType '{kind}'")
        values = values.split(",")
        size = min(int(request.query.get("batchSize", 300)), 300)
        start = int(request.query.get("nextPageToken", "0"))
        hits = [
            self.shown(key, names)
            for key, lead in self.leads.items()
            if str(key if kind == "id" else lead.get(kind)) in values
        ]
        more = {"nextPageToken": str(start + size)} if start + size < len(hits) else {}
        return self.done(hits[start : start + size], **more)

    def shown(self, key, names):
        lead = {"id": key, "createdAt": "2026-01-05T09:00:00Z", "updatedAt": "2026-01-05T09:00:00Z", **self.leads[key]}
        return {name: lead.get(name) for name in names}


serve(Marketo())
