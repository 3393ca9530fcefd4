"""Google Sheets: one spreadsheet with the sheet `Leads`, and the token endpoint of its service account. Requests, and the
answers given here, are held to Google's own description of the API (sheets.v4 of its discovery documents)."""

import json
import re
import secrets
import time

import child

child.installed()

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from discovery import Discovery
from standin import Refused, Vendor, serve

ACCOUNT = "millstream@contoso-leads.iam.gserviceaccount.com"
SCOPE = "https://www.googleapis.com/auth/spreadsheets"
AUDIENCE = "https://oauth2.googleapis.com/token"
SHEET = "1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs74OgvE2upms"


def error(code, status, message):
    # "Errors" of Google's APIs (google.rpc.Status as JSON).
    return Refused(code, {"error": {"code": code, "message": message, "status": status}})


class Sheets(Vendor):
    def __init__(self, public):
        self.api = Discovery("sheets.v4")
        self.public = public
        self.tokens = set()
        self.rows = [["Run", "Email", "Company", "Seats"]]

    def scripted(self, request):
        return request.path != "/token"

    def effects(self):
        return [dict(zip(self.rows[0], row)) for row in self.rows[1:]]

    def handle(self, request):
        if request.path == "/token":
            return self.token(request)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self.tokens:
            raise error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.")
        found = re.fullmatch(r"/v4/spreadsheets/([^/]+)/values/(.+?)(:append|:clear)?", request.path)
        if not found:
            raise error(404, "NOT_FOUND", "Requested entity was not found.")
        sheet, where, verb = found.groups()
        if sheet != SHEET:
            raise error(404, "NOT_FOUND", "Requested entity was not found.")
        if not re.fullmatch(r"Leads(![A-Z]+[0-9]*(:[A-Z]+[0-9]*)?)?", where):
            raise error(400, "INVALID_ARGUMENT", f"Unable to parse range: {where}")
        act = {("POST", ":append"): "append", ("POST", ":clear"): "clear", ("GET", None): "get", ("PUT", None): "update"}
        if (request.method, verb) not in act:
            raise error(404, "NOT_FOUND", "Requested entity was not found.")
        name = act[request.method, verb]
        method = self.api.method("spreadsheets", "values", name)
        self.described(method, request)
        status, answer = getattr(self, name)(request, where)
        assert not self.api.problems(answer, method["response"]), answer
        return status, answer

    def described(self, method, request):
        """As Google's description has it: known names, known values, a body of the right form."""
        unknown = self.api.unknown_query(method, request.query)
        if unknown:
            raise error(400, "INVALID_ARGUMENT", f'Invalid JSON payload received. Unknown name "{unknown}": Cannot bind query parameter.')
        for name, value in request.query.items():
            known = method["parameters"].get(name, {}).get("enum")
            if known and value not in known:
                raise error(400, "INVALID_ARGUMENT", f"Invalid value at '{name}', \"{value}\"")
        if "request" in method:
            body = request.json(error(400, "INVALID_ARGUMENT", "Invalid JSON payload received."))
            for at, what in self.api.problems(body, method["request"]):
                raise error(400, "INVALID_ARGUMENT", f"Invalid JSON payload received. '{at}' {what}.")

    def token(self, request):
        """ "Using OAuth 2.0 for Server to Server Applications": an RS256 assertion for this audience, an hour at most."""
        form = request.form(Refused(400, {"error": "invalid_request"}))
        if request.method != "POST" or set(form) != {"grant_type", "assertion"}:
            raise Refused(400, {"error": "invalid_request", "error_description": "Missing or unknown parameters"})
        if form["grant_type"] != "urn:ietf:params:oauth:grant-type:jwt-bearer":
            raise Refused(400, {"error": "unsupported_grant_type", "error_description": "Invalid grant_type"})
        try:
            claims = jwt.decode(
                form["assertion"], self.public, algorithms=["RS256"], audience=AUDIENCE, issuer=ACCOUNT,
                options={"require": ["iss", "scope", "aud", "exp", "iat"]},
            )
        except Exception as wrong:
            raise Refused(400, {"error": "invalid_grant", "error_description": f"Invalid JWT: {wrong}"}) from wrong
        if claims["exp"] - claims["iat"] > 3600 or claims["iat"] > time.time() + 300:
            why = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."
            raise Refused(400, {"error": "invalid_grant", "error_description": why})
        if claims["scope"] != SCOPE:
            raise Refused(400, {"error": "invalid_scope", "error_description": f"{claims['scope']} is not a valid audience string."})
        token = "ya29." + secrets.token_urlsafe(24)
        self.tokens.add(token)
        return 200, {"access_token": token, "expires_in": 3599, "token_type": "Bearer"}

    def interpreted(self, request):
        # "spreadsheets.values.append": the caller must say how values are to be taken.
        if request.query.get("valueInputOption") not in ("RAW", "USER_ENTERED"):
            raise error(400, "INVALID_ARGUMENT", "'valueInputOption' is required but not specified")

    def values(self, request):
        body = json.loads(request.raw)
        rows = body.get("values")
        if body.get("majorDimension", "ROWS") != "ROWS" or not rows:
            raise error(400, "INVALID_ARGUMENT", "Invalid values")
        for at, row in enumerate(rows):
            # A cell is a text, a number, a boolean or null.
            if any(isinstance(cell, (dict, list)) for cell in row):
                raise error(400, "INVALID_ARGUMENT", f"Invalid values[{at}]: struct_value is no cell")
        return rows

    def append(self, request, _):
        self.interpreted(request)
        rows = self.values(request)
        first = len(self.rows) + 1
        self.rows += [["" if cell is None else cell for cell in row] for row in rows]
        width = max(len(row) for row in rows)
        where = f"Leads!A{first}:{chr(64 + width)}{len(self.rows)}"
        updates = {
            "spreadsheetId": SHEET, "updatedRange": where, "updatedRows": len(rows), "updatedColumns": width,
            "updatedCells": sum(len(row) for row in rows),
        }
        return 200, {"spreadsheetId": SHEET, "tableRange": f"Leads!A1:D{first - 1}", "updates": updates}

    def get(self, request, where):
        return 200, {"range": where, "majorDimension": "ROWS", "values": self.rows}

    def update(self, request, where):
        self.interpreted(request)
        rows = self.values(request)
        found = re.fullmatch(r"Leads!A(\d+):[A-Z]+\d+", where)
        if not found:
            raise error(400, "INVALID_ARGUMENT", "this stand-in writes whole rows only, as in Leads!A2:D2")
        at = int(found.group(1)) - 1
        self.rows[at : at + len(rows)] = rows
        return 200, {"spreadsheetId": SHEET, "updatedRange": where, "updatedRows": len(rows)}

    def clear(self, request, where):
        del self.rows[1:]
        return 200, {"spreadsheetId": SHEET, "clearedRange": where}


key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
serve(Sheets(key.public_key()), {"private_key": pem.decode()})
