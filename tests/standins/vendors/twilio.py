"""Twilio's Messages resource. A message that was taken is `queued`: 201 does not say that it arrives. Requests and answers are held to
Twilio's own OpenAPI document, twilio_api_v2010.json (npm: @twilio-alpha/mcp); what it leaves open is as the pages say.

Pages: "Messages resource" (parameters, at least one of From and MessagingServiceSid), "Error and Warning Dictionary", "Test Credentials"
(the magic numbers: +15005550006 may send, +15005550001 is invalid, +15005550004 has unsubscribed, +15005550007 is not the account's).
"""

import base64
import json
import os
import re

from standin import Refused, Vendor, serve

ACCOUNT, TOKEN = "AC0123456789abcdef0123456789abcdef", "t0k3n0123456789abcdef0123456789ab"
ROOT = f"/2010-04-01/Accounts/{ACCOUNT}"
NUMBERS = [
    {"sid": "PN1", "phone_number": "+15005550006", "friendly_name": "Front desk"},
    {"sid": "PN2", "phone_number": "+15005550008", "friendly_name": "Workshop"},
]


def no(status, code, message):
    return Refused(
        status,
        {"code": code, "message": message, "more_info": f"https://www.twilio.com/docs/errors/{code}", "status": status},
    )


class Document:
    """Twilio's OpenAPI document, as far as form fields and the names in answers go."""

    def __init__(self):
        with open(
            os.path.join(os.environ["MILLSTREAM_STANDINS"], "specs", "twilio_api_v2010.json"), encoding="utf-8"
        ) as file:
            self.whole = json.load(file)

    def schema(self, schema):
        return self.whole["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema

    def operation(self, request):
        """The operation that the request is for, its path's parameters as they should be; else None."""
        for path, methods in self.whole["paths"].items():
            names = re.findall(r"{(\w+)}", path)
            found = re.fullmatch(re.sub(r"{\w+}", "([^/]+?)", path.replace(".", r"\.")), request.path)
            operation = methods.get(request.method.lower())
            if found and operation:
                given = dict(zip(names, found.groups()))
                parameters = [one for one in operation.get("parameters", []) if one["in"] == "path"]
                if all(self.fits(given[one["name"]], one["schema"]) for one in parameters):
                    return operation
        return None

    def fits(self, text, schema):
        schema = self.schema(schema)
        kind = schema.get("type")
        if kind == "array":
            return self.fits(text, schema["items"])
        if kind == "boolean":
            return text in ("true", "false")
        if kind in ("integer", "number"):
            return bool(re.fullmatch(r"-?\d+" if kind == "integer" else r"-?\d+(\.\d+)?", text))
        if schema.get("format") == "uri" and not re.match(r"https?://", text):
            return False
        return text in schema.get("enum", [text]) and bool(re.search(schema.get("pattern", ""), text))

    def wrong(self, operation, form):
        schema = self.schema(operation["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"])
        wrong = [f"The parameter {name} is not known" for name in form if name not in schema["properties"]]
        return wrong + [
            f"The parameter {name} is invalid"
            for name, text in form.items()
            if name in schema["properties"] and not self.fits(text, schema["properties"][name])
        ]

    def answer(self, operation, status, body):
        """The body, if the document has all its fields."""
        schema = self.schema(operation["responses"][str(status)]["content"]["application/json"]["schema"])
        unknown = set(body) - set(schema["properties"])
        assert not unknown, f"Twilio's answers have no {unknown}"
        return status, body


class Twilio(Vendor):
    def __init__(self):
        super().__init__()
        self.document = Document()

    def handle(self, request):
        given = request.headers.get("authorization", "")
        if given != "Basic " + base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode():
            raise no(401, 20003, "Authenticate")
        operation = self.document.operation(request)
        if operation is None or not request.path.startswith(ROOT):
            raise no(404, 20404, f"The requested resource {request.path} was not found")
        if request.method == "GET":
            return self.document.answer(operation, *self.read(request))
        if request.path != f"{ROOT}/Messages.json":
            raise no(405, 20004, "Method not allowed")
        # Parameters are form fields; a JSON body has none of them.
        form = request.form(no(400, 21604, "A 'To' phone number is required."))
        wrong = self.document.wrong(operation, form)
        if wrong:
            raise no(400, 20001, wrong[0])
        to = form.get("To", "")
        if not to:
            raise no(400, 21604, "A 'To' phone number is required.")
        if not form.get("From") and not form.get("MessagingServiceSid"):
            raise no(400, 21603, "A 'From' phone number is required.")
        if not form.get("Body") and not form.get("MediaUrl"):
            raise no(400, 21602, "Message body is required.")
        if not re.fullmatch(r"(whatsapp:)?\+[1-9]\d{6,14}", to) or to == "+15005550001":
            raise no(400, 21211, f"Invalid 'To' Phone Number: {to}")
        if to == "+15005550004":
            raise no(400, 21610, "Attempt to send to unsubscribed recipient")
        if form.get("From") not in (None, *(one["phone_number"] for one in NUMBERS)):
            raise no(
                400,
                21606,
                f"The 'From' phone number provided ({form['From']}) is not a valid message-capable Twilio phone number for this destination.",
            )
        if len(form.get("Body", "")) > 1600:
            raise no(400, 21617, "The concatenated message body exceeds the 1600 character limit")
        message = {
            "sid": f"SM{len(self.effects) + 1:032x}",
            "account_sid": ACCOUNT,
            "status": "queued",
            "to": to,
            "from": form.get("From"),
            "messaging_service_sid": form.get("MessagingServiceSid"),
            "body": form.get("Body", ""),
            "direction": "outbound-api",
            "error_code": None,
            "error_message": None,
            "price": None,
        }
        self.effects.append(message)
        return self.document.answer(operation, 201, message)

    def read(self, request):
        if request.path == f"{ROOT}.json":
            return 200, {"sid": ACCOUNT, "friendly_name": "Example account", "status": "active", "type": "Full"}
        if request.path == f"{ROOT}/IncomingPhoneNumbers.json":
            # "nextPageUri": a path, without the host. One number a page, so that a second one is asked for.
            page = int(request.query.get("Page", 0))
            following = (
                f"{ROOT}/IncomingPhoneNumbers.json?PageSize=1&Page={page + 1}" if page + 1 < len(NUMBERS) else None
            )
            return 200, {"incoming_phone_numbers": NUMBERS[page : page + 1], "page": page, "next_page_uri": following}
        for message in self.effects:
            if request.path == f"{ROOT}/Messages/{message['sid']}.json":
                return 200, message
        raise no(404, 20404, f"The requested resource {request.path} was not found")


serve(Twilio())
