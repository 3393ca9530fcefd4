"""Zoho Accounts' token endpoint and Zoho CRM's API v8, as far as records of Leads and Contacts need them.

What misleads callers:
- each record has a `code` and a `status` of its own; the number of the answer is 200 or 201 if all went well, 207 if some
  did, 400 if none did ("upsertRecords" of the OpenAPI, with its examples of answers)
- a token is shown as `Zoho-oauthtoken …`, not Bearer, though its answer says `token_type: Bearer`; which host it is for
  stands in `api_domain` ("Refresh access token")
- a refresh token that is refused is answered 200 with `error`
- ten tokens in ten minutes, then none ("Refresh access token")
- 429 says how long to wait in the body, `details.retry_after` (the OpenAPI's example of 429)
"""

import re

from standin import Refused, Vendor, serve

CLIENT, SECRET, REFRESH = "1000.CLIENT", "canary-zoho-secret", "1000.canary-refresh.token"
FIELDS = {
    "Leads": {
        "First_Name": 40,
        "Last_Name": 80,
        "Company": 100,
        "Email": 100,
        "Phone": 30,
        "Designation": 100,
        "Country": 100,
        "Lead_Source": 120,
        "Description": 32000,
        "Lead_Status": 120,
    },
    "Contacts": {"First_Name": 40, "Last_Name": 80, "Email": 100, "Phone": 50},
}
MANDATORY = {"Leads": ["Last_Name", "Company"], "Contacts": ["Last_Name"]}
UNIQUE = {"Leads": {"Email"}, "Contacts": {"Email"}}
TRIGGERS = {"workflow", "approval", "blueprint", "pathfinder", "orchestration"}


def failure(status, code, message, details=None):
    return Refused(status, {"code": code, "message": message, "status": "error", "details": details or {}})


def bad(code, message, name, index=0, **details):
    return {
        "code": code,
        "details": {"api_name": name, "json_path": f"$.data[{index}].{name}", **details},
        "message": message,
        "status": "error",
    }


class Zoho(Vendor):
    def __init__(self):
        self.records = {}
        self.tokens = 0

    def effects(self):
        return [{"module": module, "id": key, **fields} for (module, key), fields in self.records.items()]

    def scripted(self, request):
        return request.path != "/oauth/v2/token"

    def handle(self, request):
        if request.path == "/oauth/v2/token":
            return self.token(request)
        if request.headers.get("authorization") != f"Zoho-oauthtoken 1000.token-{self.tokens}":
            raise failure(401, "INVALID_TOKEN", "invalid oauth token")
        parts = request.segments
        if parts[:2] != ["crm", "v8"]:
            raise failure(404, "INVALID_URL_PATTERN", "Please check if the URL trying to access is a correct one")
        parts = parts[2:]
        if parts == ["settings", "modules"]:
            return 200, {"modules": [{"api_name": name, "plural_label": name} for name in FIELDS]}
        module = parts[0]
        if module not in FIELDS:
            raise failure(
                400, "INVALID_MODULE", "the module name given seems to be invalid", {"resource_path_index": 0}
            )
        rest = parts[1:]
        if request.method == "GET":
            return self.read(request, module, rest)
        if request.method == "DELETE" and len(rest) == 1:
            if self.records.pop((module, rest[0]), None) is None:
                return 400, {
                    "data": [
                        {
                            "code": "INVALID_DATA",
                            "details": {"id": rest[0]},
                            "message": "the id given seems to be invalid",
                            "status": "error",
                        }
                    ]
                }
            return 200, {
                "data": [
                    {"code": "SUCCESS", "details": {"id": rest[0]}, "message": "record deleted", "status": "success"}
                ]
            }
        if (request.method, rest) not in (("POST", []), ("POST", ["upsert"])) and not (
            request.method == "PUT" and len(rest) == 1
        ):
            raise failure(405, "INVALID_REQUEST_METHOD", "The http request method type is not a valid one")
        return self.write(request, module, rest)

    def token(self, request):
        """ "Refresh access token": client_id, client_secret, grant_type and refresh_token; the answer has api_domain."""
        form = request.form(Refused(200, {"error": "invalid_request"})) if request.raw else {}
        given = {**request.query, **form}
        if request.method != "POST" or given.get("grant_type") != "refresh_token":
            return 200, {"error": "unsupported_grant_type"}
        if given.get("client_id") != CLIENT:
            return 200, {"error": "invalid_client"}
        if given.get("client_secret") != SECRET:
            return 200, {"error": "invalid_client_secret"}
        if given.get("refresh_token") != REFRESH:
            return 200, {"error": "invalid_code"}
        if self.tokens == 10:
            said = "You have made too many requests continuously. Please try again after some time."
            return 400, {"error": "Access Denied", "error_description": said, "status": "failure"}
        self.tokens += 1
        return 200, {
            "access_token": f"1000.token-{self.tokens}",
            "scope": "ZohoCRM.modules.ALL",
            "api_domain": f"http://{request.headers['host']}",
            "token_type": "Bearer",
            "expires_in": 3600,
        }

    def write(self, request, module, rest):
        body = request.json(failure(400, "INVALID_REQUEST", "The request is not JSON"))
        for name in body:
            if name not in (
                "data",
                "trigger",
                "duplicate_check_fields",
                "apply_feature_execution",
                "skip_feature_execution",
            ):
                raise failure(400, "INVALID_REQUEST", f"{name} is not expected")
        data = body.get("data")
        if not isinstance(data, list) or not 0 < len(data) <= 100:
            raise failure(400, "INVALID_DATA", "data is a list of 1 to 100 records")
        if not set(body.get("trigger", [])) <= TRIGGERS:
            raise failure(400, "INVALID_DATA", "invalid data", {"api_name": "trigger"})
        checks = body.get("duplicate_check_fields", sorted(UNIQUE[module]))
        if rest == ["upsert"] and not set(checks) <= UNIQUE[module]:
            raise failure(
                400,
                "INVALID_DATA",
                "invalid data",
                {"api_name": "duplicate_check_fields", "supported_values": sorted(UNIQUE[module])},
            )
        key = rest[0] if rest and rest != ["upsert"] else None
        results = [
            self.one(module, record, index, rest == ["upsert"], key, checks) for index, record in enumerate(data)
        ]
        good = sum(result["status"] == "success" for result in results)
        status = 400 if good == 0 else 207 if good < len(results) else 201 if rest == [] else 200
        return status, {"data": results}

    def one(self, module, record, index, upsert, key, checks):
        for name, value in record.items():
            if name not in FIELDS[module]:
                return bad("INVALID_DATA", "invalid data", name, index)
            if value is not None and not isinstance(value, str):
                return bad("INVALID_DATA", "invalid data", name, index, expected_data_type="text")
            if value is not None and len(value) > FIELDS[module][name]:
                return bad("INVALID_DATA", "invalid data", name, index, maximum_length=FIELDS[module][name])
        if record.get("Email") and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", record["Email"]):
            return bad("INVALID_DATA", "invalid data", "Email", index, expected_data_type="email")
        if key is not None:
            if (module, key) not in self.records:
                return {
                    "code": "INVALID_DATA",
                    "details": {"id": key},
                    "message": "the id given seems to be invalid",
                    "status": "error",
                }
            self.records[module, key].update(record)
            return self.done(key, "record updated", "update")
        for name in checks:
            known = [
                other
                for (kind, other), fields in self.records.items()
                if kind == module and record.get(name) and fields.get(name) == record[name]
            ]
            if known and upsert:
                self.records[module, known[0]].update(record)
                return {**self.done(known[0], "record updated", "update"), "duplicate_field": name}
            if known:
                more = {"duplicate_record": {"id": known[0]}, "id": known[0], "more_records": False}
                return bad("DUPLICATE_DATA", "duplicate data", name, index, **more)
        for name in MANDATORY[module]:
            if not record.get(name):
                return bad("MANDATORY_NOT_FOUND", "required field not found", name, index)
        key = f"57257670000005{len(self.records) + 24157:05d}"
        self.records[module, key] = dict(record)
        return self.done(key, "record added", "insert" if upsert else None)

    def done(self, key, message, action):
        who = {"name": "Patricia Boyle", "id": "5725767000000411001"}
        details = {
            "Modified_Time": "2026-01-05T09:00:00Z",
            "Modified_By": who,
            "Created_Time": "2026-01-05T09:00:00Z",
            "id": key,
            "Created_By": who,
        }
        result = {"code": "SUCCESS", "details": details, "message": message, "status": "success"}
        if action:
            result.update(action=action, duplicate_field=None)
        return result

    def read(self, request, module, rest):
        query = request.query
        rows = [{"id": key, **fields} for (kind, key), fields in self.records.items() if kind == module]
        if rest == ["search"]:
            wanted = [(name, query[word]) for word, name in (("email", "Email"), ("phone", "Phone")) if word in query]
            if found := re.fullmatch(r"\((\w+):equals:(.*)\)", query.get("criteria", "")):
                wanted.append(found.groups())
            if len(wanted) != 1:
                raise failure(400, "REQUIRED_PARAM_MISSING", "One of the expected parameter is missing")
            rows = [row for row in rows if row.get(wanted[0][0]) == wanted[0][1]]
        elif rest:
            rows = [row for row in rows if row["id"] == rest[0]]
            return (200, {"data": rows}) if rows else (204, None)
        elif "fields" not in query:
            raise failure(
                400, "REQUIRED_PARAM_MISSING", "One of the expected parameter is missing", {"param": "fields"}
            )
        # "getRecords": up to 2,000 records by page, all by page_token.
        size = min(int(query.get("per_page", 200)), 200)
        start = int(query.get("page_token") or (int(query.get("page", 1)) - 1) * size)
        more = start + size < len(rows)
        shown = rows[start : start + size]
        if "fields" in query:
            wanted = {"id", *query["fields"].split(",")}
            shown = [{name: value for name, value in row.items() if name in wanted} for row in shown]
        if not shown:
            return 204, None
        info = {
            "per_page": size,
            "count": len(shown),
            "page": start // size + 1,
            "more_records": more,
            "next_page_token": str(start + size) if more else None,
        }
        return 200, {"data": shown, "info": info}


serve(Zoho())
