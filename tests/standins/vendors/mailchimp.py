"""Mailchimp's Marketing API. Errors are application/problem+json: {type, title, status, detail, instance}.

Pages: "Add or update list member" (PUT by subscriber_hash, the MD5 of the address in small letters; status_if_new is needed for a new one),
"Add or remove member tags", "Fundamentals" (basic authentication with any name; ten requests at once), "Error glossary".
"""

import base64
import hashlib

from fields import problems
from standin import Refused, Vendor, serve

KEY = "0123456789abcdef0123456789abcdef-us21"
LIST = "a1b2c3d4e5"
STATUS = {"subscribed", "unsubscribed", "cleaned", "pending", "transactional"}
MEMBER = {
    "email_address!": str,
    "status_if_new": STATUS,
    "status": STATUS,
    "merge_fields": dict,
    "language": str,
    "email_type": {"html", "text"},
    "interests": dict,
    "vip": bool,
    "location": dict,
    "marketing_permissions": list,
    "ip_signup": str,
    "timestamp_signup": str,
}
TAGS = {"tags!": [{"name!": str, "status!": {"active", "inactive"}}], "is_syncing": bool}
MERGE_FIELDS = {"FNAME", "LNAME", "COMPANY"}
LEFT = "left@example.com"
FORGOTTEN = "forgotten@example.com"


def no(status, title, detail, **more):
    body = {
        "type": "https://mailchimp.com/developer/marketing/docs/errors/",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": "0000-0000",
        **more,
    }
    return Refused(status, body, {"Content-Type": "application/problem+json; charset=utf-8"})


def hash_of(address):
    return hashlib.md5(address.lower().encode()).hexdigest()


class Mailchimp(Vendor):
    def handle(self, request):
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        name, _, key = base64.b64decode(given).decode().partition(":") if scheme == "Basic" else ("", "", "")
        if not name or key != KEY:
            raise no(
                401,
                "API Key Invalid",
                "Your API key may be invalid, or you've attempted to access the wrong datacenter.",
            )
        parts = request.segments
        if request.method == "GET" and request.path == "/3.0/ping":
            return 200, {"health_status": "Everything's Chimpy!"}
        if request.method == "GET" and request.path == "/3.0/lists":
            start, count = int(request.query.get("offset", 0)), int(request.query.get("count", 10))
            return 200, {"lists": [{"id": LIST, "name": "Customers"}][start : start + count], "total_items": 1}
        if parts[:2] != ["3.0", "lists"] or len(parts) < 5 or parts[2] != LIST or parts[3] != "members":
            raise no(404, "Resource Not Found", "The requested resource could not be found.")
        known = [one for one in self.effects if one["id"] == parts[4]]
        if len(parts) == 5 and request.method == "PUT":
            return self.put(request, parts[4], known)
        if not known:
            raise no(404, "Resource Not Found", "The requested resource could not be found.")
        if len(parts) == 5 and request.method == "GET":
            return 200, known[0]
        if parts[5:] == ["tags"] and request.method == "POST":
            for tag in self.body(request, TAGS)["tags"]:
                rest = [one for one in known[0]["tags"] if one["name"] != tag["name"]]
                known[0]["tags"] = rest + ([{"name": tag["name"]}] if tag["status"] == "active" else [])
            return 204, None
        raise no(405, "Method Not Allowed", "The requested method and resource are not compatible.")

    def body(self, request, shape):
        body = request.json(no(400, "JSON Parse Error", "We encountered an unspecified JSON parsing error."))
        wrong = problems(body, shape)
        if wrong:
            errors = [{"field": at, "message": what} for at, what in wrong]
            raise no(
                400,
                "Invalid Resource",
                "The resource submitted could not be validated. For field-specific details, see the 'errors' array.",
                errors=errors,
            )
        return body

    def put(self, request, wanted, known):
        body = self.body(request, MEMBER)
        address = body["email_address"]
        if hash_of(address) != wanted:
            raise no(400, "Bad Request", "The subscriber hash is not the MD5 of the lowercase email address.")
        if "@" not in address or address.endswith("@example.invalid"):
            raise no(400, "Invalid Resource", "Please provide a valid email address.")
        unknown = set(body.get("merge_fields", {})) - MERGE_FIELDS
        if unknown:
            raise no(400, "Invalid Resource", f"The merge field {sorted(unknown)[0]} does not exist.")
        if address.lower() == FORGOTTEN:
            raise no(
                400,
                "Forgotten Email Not Subscribed",
                f"{address} was permanently deleted and cannot be re-imported. The contact must re-subscribe to get back on the list.",
            )
        if address.lower() == LEFT and "subscribed" in (body.get("status"), body.get("status_if_new")):
            raise no(
                400,
                "Member In Compliance State",
                f"{address} is in a compliance state due to unsubscribe, bounce, or compliance review and cannot be subscribed.",
            )
        if not known:
            if "status_if_new" not in body:
                raise no(400, "Invalid Resource", "Status is required for a new member.")
            known = [
                {
                    "id": wanted,
                    "email_address": address,
                    "status": body["status_if_new"],
                    "merge_fields": {},
                    "tags": [],
                }
            ]
            self.effects.append(known[0])
        elif "status" in body:
            known[0]["status"] = body["status"]
        known[0]["merge_fields"].update(body.get("merge_fields", {}))
        return 200, known[0]


serve(Mailchimp())
