"""SendGrid's v3 API. 202 says that a mail or a contact was taken, not that it arrived.

Pages: "Mail Send", "Add or Update a Contact" (tsg_mc_contacts_v3.json: asynchronous, upsert by e-mail address in small letters, fields that
are left out stay), "Errors" ({"errors": [{"field", "message"}]}; 406 without Accept), "Rate Limits" (X-RateLimit-Reset).
"""

from fields import problems
from standin import Refused, Vendor, serve

KEY = "SG.0123456789abcdefghijkl.0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
VERIFIED = {"hello@example.com"}
ADDRESS = {"email!": str, "name": str}
MAIL = {
    "personalizations!": [
        {
            "to!": [ADDRESS],
            "cc": [ADDRESS],
            "bcc": [ADDRESS],
            "subject": str,
            "dynamic_template_data": dict,
            "custom_args": dict,
            "headers": dict,
        }
    ],
    "from!": ADDRESS,
    "reply_to": ADDRESS,
    "subject": str,
    "content": [{"type!": str, "value!": str}],
    "template_id": str,
    "categories": [str],
    "custom_args": dict,
    "headers": dict,
    "attachments": list,
    "asm": dict,
    "send_at": int,
    "mail_settings": dict,
}
CONTACTS = {
    "list_ids": [str],
    "contacts!": [
        {
            "email": str,
            "external_id": str,
            "anonymous_id": str,
            "phone_number_id": str,
            "first_name": str,
            "last_name": str,
            "phone_number": str,
            "address_line_1": str,
            "address_line_2": str,
            "city": str,
            "state_province_region": str,
            "postal_code": str,
            "country": str,
            "alternate_emails": [str],
            "custom_fields": dict,
        }
    ],
}
LISTS = [{"id": "0b1c2d3e-0000-4000-8000-000000000001", "name": "Newsletter", "contact_count": 0}]


def no(status, message, field=None):
    return Refused(status, {"errors": [{"message": message, "field": field}]})


class SendGrid(Vendor):
    jobs = 0

    def handle(self, request):
        if request.headers.get("authorization") != f"Bearer {KEY}":
            raise no(401, "The provided authorization grant is invalid, expired, or revoked")
        route = (request.method, request.path)
        if route == ("POST", "/v3/mail/send"):
            return self.mail(request)
        if route == ("PUT", "/v3/marketing/contacts"):
            return self.contacts(request)
        if route == ("GET", "/v3/scopes"):
            return 200, {"scopes": ["mail.send", "marketing.read"]}
        if route == ("GET", "/v3/marketing/lists"):
            return 200, {
                "result": LISTS,
                "_metadata": {"count": len(LISTS), "self": "https://api.sendgrid.com/v3/marketing/lists"},
            }
        if route == ("GET", "/v3/templates") and request.query.get("generations") == "dynamic":
            return 200, {
                "result": [{"id": "d-0123", "name": "Welcome", "generation": "dynamic"}],
                "_metadata": {"count": 1},
            }
        if request.method == "GET" and request.path.startswith("/v3/marketing/contacts/imports/"):
            return 200, {
                "id": request.segments[-1],
                "status": "completed",
                "job_type": "upsert",
                "results": {"requested_count": 1, "created_count": 1},
            }
        raise no(404, "resource not found")

    def body(self, request, shape):
        body = request.json(no(400, "Bad Request"))
        wrong = problems(body, shape)
        if wrong:
            raise no(400, f"The field {wrong[0][0]} {wrong[0][1]}", wrong[0][0])
        return body

    def mail(self, request):
        mail = self.body(request, MAIL)
        if mail["from"]["email"] not in VERIFIED:
            raise no(
                403,
                "The from address does not match a verified Sender Identity. Mail cannot be sent until this error is resolved.",
                "from",
            )
        if "template_id" not in mail:
            kinds = [part["type"] for part in mail.get("content", [])]
            if not kinds:
                raise no(400, "Unless a valid template_id is provided, the content parameter is required.", "content")
            if kinds != sorted(kinds, key=["text/plain", "text/html"].index):
                raise no(
                    400, "If present, text/plain and text/html may only be provided once, text/plain first.", "content"
                )
            if not mail.get("subject"):
                raise no(
                    400,
                    "The subject is required. You can get around this requirement if you use a template with a subject defined.",
                    "subject",
                )
        for person in mail["personalizations"]:
            for address in person["to"]:
                if "@" not in address["email"]:
                    raise no(400, "Does not contain a valid address.", "personalizations.0.to.0.email")
        people = [address["email"] for person in mail["personalizations"] for address in person["to"]]
        self.effects.append(
            {
                "kind": "mail",
                "to": people,
                "subject": mail.get("subject"),
                "from": mail["from"]["email"],
                "content": mail.get("content"),
                "template_id": mail.get("template_id"),
            }
        )
        return 202, None, {"X-Message-Id": f"sg-{len(self.effects):08}"}

    def contacts(self, request):
        body = self.body(request, CONTACTS)
        for contact in body["contacts"]:
            if "@" not in contact.get("email", ""):
                raise no(400, "invalid email", "contacts[0].email")
            # "The email field will be changed to all lower-case"; "fields omitted from the request will remain as they were".
            email = contact["email"].lower()
            found = [one for one in self.effects if one["kind"] == "contact" and one["email"] == email]
            if not found:
                found = [{"kind": "contact", "email": email}]
                self.effects.append(found[0])
            found[0].update({**contact, "email": email})
        SendGrid.jobs += 1
        return 202, {"job_id": f"8b5f29ad-0000-4000-8000-{SendGrid.jobs:012}"}


serve(SendGrid())
