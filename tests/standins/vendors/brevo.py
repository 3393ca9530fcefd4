"""Brevo's API v3 as far as contacts and transactional mail need it.

What misleads callers:
- a contact that is known is answered 204 without a body, a new one 201 with its id ("Create a contact", changelog of 2019-02-08)
- without updateEnabled a known address is 400 duplicate_parameter
- attributes that Brevo does not know are ignored, not refused ("Manage your contacts in Brevo")
- what keeps a mail single stands in the body: headers.idempotencyKey, a UUID ("Idempotency for batch emails")
- 429 has no Retry-After but x-sib-ratelimit-reset, in seconds ("Limit headers")
"""

import re
import uuid

from standin import Refused, Vendor, serve

KEY = "xkeysib-canary"
ATTRIBUTES = {
    "FIRSTNAME": str,
    "LASTNAME": str,
    "SMS": str,
    "COMPANY": str,
    "JOB_TITLE": str,
    "COUNTRY": str,
    "SCORE": (int, float),
}
LISTS = {2: "Newsletter", 3: "Webinar"}
CONTACT = {
    "email": str,
    "attributes": dict,
    "listIds": list,
    "ext_id": str,
    "updateEnabled": bool,
    "emailBlacklisted": bool,
    "smsBlacklisted": bool,
}
MAIL = {
    "to": list,
    "sender": dict,
    "subject": str,
    "htmlContent": str,
    "textContent": str,
    "templateId": int,
    "params": dict,
    "replyTo": dict,
    "tags": list,
    "attachment": list,
    "headers": dict,
    "cc": list,
    "bcc": list,
    "scheduledAt": str,
    "batchId": str,
}
ADDRESS = r"[^@\s]+@[^@\s]+\.[^@\s]+"


def failure(status, code, message):
    return Refused(status, {"code": code, "message": message})


class Brevo(Vendor):
    def __init__(self):
        self.contacts = {}
        self.mails = {}

    def effects(self):
        return [{"kind": "contact", **one} for one in self.contacts.values()] + [
            {"kind": "mail", **one} for one in self.mails.values()
        ]

    def handle(self, request):
        if request.headers.get("api-key") != KEY:
            raise failure(401, "unauthorized", "Key not found")
        parts = request.segments
        if parts == ["v3", "account"]:
            return 200, {
                "email": "owner@contoso.example",
                "companyName": "Contoso",
                "plan": [{"type": "free", "credits": 300}],
            }
        if parts == ["v3", "contacts", "lists"] and request.method == "GET":
            start, size = int(request.query.get("offset", 0)), min(int(request.query.get("limit", 10)), 50)
            lists = [{"id": key, "name": name} for key, name in LISTS.items()]
            return 200, {"lists": lists[start : start + size], "count": len(lists)}
        if parts == ["v3", "contacts"] and request.method == "POST":
            return self.contact(self.body(request, CONTACT))
        if len(parts) == 3 and parts[:2] == ["v3", "contacts"] and request.method == "GET":
            one = self.contacts.get(parts[2].lower())
            if one is None:
                raise failure(404, "document_not_found", "Contact does not exist")
            return 200, one
        if len(parts) == 6 and parts[:3] == ["v3", "contacts", "lists"] and parts[4:] == ["contacts", "remove"]:
            return self.remove(int(parts[3]), self.body(request, {"emails": list, "ids": list, "all": bool}))
        if parts == ["v3", "smtp", "email"] and request.method == "POST":
            return self.mail(self.body(request, MAIL))
        raise failure(404, "document_not_found", "Requested resource does not exist")

    def body(self, request, known):
        body = request.json(failure(400, "bad_request", "Input must be a valid JSON object"))
        for name, value in body.items():
            if name not in known:
                raise failure(400, "invalid_parameter", f"{name} is not allowed")
            if not isinstance(value, known[name]) or (isinstance(value, bool) and known[name] is not bool):
                raise failure(400, "invalid_parameter", f"{name} should be of type {known[name].__name__}")
        return body

    def contact(self, body):
        email = body.get("email", "")
        if not email and "ext_id" not in body:
            raise failure(400, "missing_parameter", "email is missing")
        if not re.fullmatch(ADDRESS, email):
            raise failure(400, "invalid_parameter", "email is not valid")
        if unknown := [one for one in body.get("listIds", []) if one not in LISTS]:
            raise failure(400, "invalid_parameter", f"List with id {unknown[0]} does not exist")
        attributes = {
            name: value
            for name, value in body.get("attributes", {}).items()
            if name in ATTRIBUTES and isinstance(value, ATTRIBUTES[name])
        }
        known = self.contacts.get(email.lower())
        if known is None:
            key = len(self.contacts) + 21
            self.contacts[email.lower()] = {
                "id": key,
                "email": email,
                "attributes": attributes,
                "listIds": body.get("listIds", []),
                "ext_id": body.get("ext_id"),
            }
            return 201, {"id": key}
        if not body.get("updateEnabled"):
            raise failure(
                400, "duplicate_parameter", "Unable to create contact, email is already associated with another Contact"
            )
        known["attributes"].update(attributes)
        known["listIds"] = sorted({*known["listIds"], *body.get("listIds", [])})
        return 204, None

    def remove(self, key, body):
        if key not in LISTS:
            raise failure(404, "document_not_found", "List ID does not exist")
        done = []
        for email in body.get("emails", []):
            one = self.contacts.get(email.lower())
            if one and key in one["listIds"]:
                one["listIds"].remove(key)
                done.append(email)
        if not done:
            raise failure(400, "invalid_parameter", "Contact already removed from list and/or does not exist")
        return 201, {"contacts": {"success": done, "failure": []}}

    def mail(self, body):
        to = body.get("to")
        if not to:
            raise failure(400, "missing_parameter", "to is missing")
        if not all(re.fullmatch(ADDRESS, one.get("email", "")) for one in to):
            raise failure(400, "invalid_parameter", "email is not valid in to")
        if "templateId" not in body:
            if "sender" not in body:
                raise failure(400, "missing_parameter", "sender is missing")
            if "subject" not in body:
                raise failure(400, "missing_parameter", "subject is missing")
            if "htmlContent" not in body and "textContent" not in body:
                raise failure(400, "missing_parameter", "Either of htmlContent or textContent is required")
        key = body.get("headers", {}).get("idempotencyKey")
        if key is not None:
            try:
                uuid.UUID(key)
            except ValueError:
                raise failure(400, "invalid_parameter", "idempotencyKey is not a UUID") from None
            if key in self.mails:
                raise failure(400, "duplicate_parameter", "A request with this idempotencyKey has been processed")
        number = f"<202601050900.{len(self.mails) + 1:011d}@smtp-relay.mailin.fr>"
        self.mails[key or number] = {**body, "messageId": number}
        return 201, {"messageId": number}


serve(Brevo())
