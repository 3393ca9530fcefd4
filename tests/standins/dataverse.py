"""The Dataverse Web API as far as leads and accounts need it: a real OData v4 server (odatapy) behind the checks that Dataverse makes.

usage: python dataverse.py ISSUER, where ISSUER is the URL of the token server. Says {"port": ...} on stdout once it
listens, and ends when stdin does. Each behaviour names the page of Microsoft's documentation that it follows.

/standin/next    POST {"status", "headers", "body"}: the next API request is answered with this (a list answers several)
/standin/leads   GET: the records there are
/standin/seen    GET: how many API requests came, by status
"""

import io
import json
import os
import re
import socketserver
import sys
import threading
import urllib.request
import uuid
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import jwt
from odatapy.edm.csdl import (
    CsdlAbstractEdmProvider,
    CsdlEntityContainer,
    CsdlEntitySet,
    CsdlEntityType,
    CsdlNavigationProperty,
    CsdlNavigationPropertyBinding,
    CsdlProperty,
    CsdlPropertyRef,
    CsdlSchema,
)
from odatapy.server import OData
from odatapy.server.adapters import ODataWSGIApp
from odatapy.server.inmemory import InMemoryDataStore, InMemoryProcessor

ROOT = "/api/data/v9.2"
LEAD = {
    "subject": "Edm.String",
    "firstname": "Edm.String",
    "lastname": "Edm.String",
    "fullname": "Edm.String",
    "companyname": "Edm.String",
    "emailaddress1": "Edm.String",
    "telephone1": "Edm.String",
    "address1_country": "Edm.String",
    "jobtitle": "Edm.String",
    "description": "Edm.String",
    "leadsourcecode": "Edm.Int32",
    "numberofemployees": "Edm.Int32",
    "revenue": "Edm.Decimal",
    "new_reference": "Edm.String",
}
ACCOUNT = {"name": "Edm.String", "accountnumber": "Edm.String"}
# By entity set: the logical name, the columns, an alternate key, and lookups with the entity set they point to.
TABLES = {
    "leads": ("lead", LEAD, "new_reference", {"parentaccountid": "accounts"}),
    "accounts": ("account", ACCOUNT, "accountnumber", {}),
}
GUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
STATUS = {
    200: "OK", 201: "Created", 204: "No Content", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found",
    405: "Method Not Allowed", 412: "Precondition Failed", 415: "Unsupported Media Type", 429: "Too Many Requests", 500: "Internal Server Error",
    503: "Service Unavailable",
}


class Provider(CsdlAbstractEdmProvider):
    def get_schemas(self):
        types, sets = [], []
        for table, (name, columns, _, lookups) in TABLES.items():
            properties = [CsdlProperty(name=f"{name}id", type="Edm.Guid", nullable=False)]
            properties += [CsdlProperty(name=column, type=kind) for column, kind in columns.items()]
            navigation = [
                CsdlNavigationProperty(name=lookup, type=f"Microsoft.Dynamics.CRM.{TABLES[to][0]}")
                for lookup, to in lookups.items()
            ]
            bindings = [CsdlNavigationPropertyBinding(path=lookup, target=to) for lookup, to in lookups.items()]
            key = [CsdlPropertyRef(name=f"{name}id")]
            types.append(CsdlEntityType(name=name, key=key, properties=properties, navigation_properties=navigation))
            sets.append(CsdlEntitySet(name=table, type=f"Microsoft.Dynamics.CRM.{name}", navigation_property_bindings=bindings))
        container = CsdlEntityContainer(name="System", entity_sets=sets)
        return [CsdlSchema(namespace="Microsoft.Dynamics.CRM", entity_types=types, entity_container=container)]


class Refused(Exception):
    """An answer in the shape of "Compose HTTP requests and handle errors": {"error": {"code", "message"}}."""

    def __init__(self, status, code, message, headers=()):
        super().__init__(message)
        self.status, self.code, self.headers = status, code, list(headers)


class Dataverse:
    def __init__(self, issuer):
        self.issuer = issuer
        self.own = None
        self.keys = {}
        self.next = []
        self.seen = {}
        # By table, and there by id.
        self.rows = {table: {} for table in TABLES}
        self.lock = threading.RLock()
        odata = OData.new_instance()
        handler = odata.create_handler(odata.create_service_metadata(Provider()))
        handler.register(InMemoryProcessor(InMemoryDataStore()))
        self.odata = ODataWSGIApp(handler, ROOT)

    def __call__(self, environ, start_response):
        with self.lock:
            path = environ["PATH_INFO"]
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            if path.startswith("/standin/"):
                return self.control(path, body, start_response)
            try:
                status, headers, answer = self.api(environ, path, body)
            except Refused as refused:
                error = {"error": {"code": refused.code, "message": str(refused)}}
                status, answer = refused.status, json.dumps(error).encode()
                headers = refused.headers + [("Content-Type", "application/json; odata.metadata=minimal")]
            self.seen[str(status)] = self.seen.get(str(status), 0) + 1
            return send(start_response, status, headers, answer)

    def control(self, path, body, start_response):
        if path == "/standin/next":
            given = json.loads(body)
            self.next += given if isinstance(given, list) else [given]
            return send(start_response, 204, [], b"")
        shown = {"/standin/leads": list(self.rows["leads"].values()), "/standin/seen": self.seen}[path]
        return send(start_response, 200, [("Content-Type", "application/json")], json.dumps(shown).encode())

    def api(self, environ, path, body):
        if self.next:
            planned = self.next.pop(0)
            text = planned.get("body", "")
            text = text if isinstance(text, str) else json.dumps(text)
            return planned["status"], list(planned.get("headers", {}).items()), text.encode()
        self.authorize(environ.get("HTTP_AUTHORIZATION", ""))
        # "Compose HTTP requests and handle errors": every request carries both versions. (Dataverse is more lenient.)
        for header in ("HTTP_ODATA_VERSION", "HTTP_ODATA_MAXVERSION"):
            if environ.get(header) != "4.0":
                raise Refused(400, "0x80060888", f"{header} is missing or not 4.0")
        if path == f"{ROOT}/WhoAmI":
            answer = {"UserId": "00000000-0000-0000-0000-00000000000a"}
            return 200, [("Content-Type", "application/json")], json.dumps(answer).encode()
        if path == f"{ROOT}/EntityDefinitions":
            # "Query table definitions using the Web API".
            tables = [{"EntitySetName": table, "SchemaName": name.title()} for table, (name, *_) in TABLES.items()]
            return 200, [("Content-Type", "application/json")], json.dumps({"value": tables}).encode()
        found = re.fullmatch(ROOT + r"/(\w+)(?:\((.+)\))?", path)
        if not found or found.group(1) not in TABLES:
            raise Refused(404, "0x80060888", "Resource not found for the segment")
        table, key = found.groups()
        method = environ["REQUEST_METHOD"]
        if key is None:
            # "Compose HTTP requests and handle errors": neither PATCH nor DELETE on a collection.
            if method not in ("GET", "POST"):
                raise Refused(405, "0x80060888", "The requested resource does not support the HTTP method")
            return self.forward(environ, body)
        key, named = self.locate(table, key)
        if method == "PATCH":
            return self.upsert(environ, table, key, named, body)
        if key not in self.rows[table]:
            raise Refused(404, "0x80040217", f"{TABLES[table][0]} With Id = {key} Does Not Exist")
        forwarded = {**environ, "PATH_INFO": f"{ROOT}/{table}({key})"}
        status, headers, answer = self.forward(forwarded, body)
        if method == "DELETE" and status < 300:
            del self.rows[table][key]
        return status, headers, answer

    def locate(self, table, text):
        """A row's id from what stands in the brackets; and the column and value of an alternate key."""
        name, _, alternate, _ = TABLES[table]
        if re.fullmatch(GUID, text):
            return text, {}
        # "Use an alternate key to reference a record": accounts(accountnumber='ABC123'); a quote inside is doubled.
        found = re.fullmatch(r"(\w+)='((?:[^']|'')*)'", text)
        if not found or found.group(1) != alternate:
            what = f"The key in the request URI is not valid for resource 'Microsoft.Dynamics.CRM.{name}'."
            raise Refused(400, "0x80060888", what)
        # WSGI has the bytes of a path as Latin-1.
        value = found.group(2).replace("''", "'").encode("latin-1").decode()
        # "Work with alternate keys": with one of these characters, GET and PATCH do not work.
        if re.search(r"[/<>*%&:\\?+]", value):
            raise Refused(400, "0x80060888", "A potentially dangerous Request.Path value was detected from the client.")
        key = next((key for key, row in self.rows[table].items() if row.get(alternate) == value), None)
        return key, {alternate: value}

    def authorize(self, header):
        """ "Use OAuth authentication with Microsoft Dataverse": a token for this environment, signed and in time."""
        challenge = [("WWW-Authenticate", f'Bearer authorization_uri="{self.issuer}"')]
        scheme, _, token = header.partition(" ")
        try:
            if scheme != "Bearer":
                raise ValueError("no bearer token")
            kid = jwt.get_unverified_header(token)["kid"]
            jwt.decode(token, self.key(kid), algorithms=["RS256"], audience=self.own, issuer=self.issuer)
        except Exception as error:
            raise Refused(401, "0x80040220", f"the token was refused: {error}", challenge) from error

    def key(self, kid):
        if kid not in self.keys:
            with urllib.request.urlopen(f"{self.issuer}/jwks", timeout=5) as answer:
                listed = json.load(answer)["keys"]
            self.keys = {entry["kid"]: jwt.PyJWK(entry, algorithm="RS256").key for entry in listed}
        return self.keys[kid]

    def upsert(self, environ, table, key, named, body):
        name, columns, _, lookups = TABLES[table]
        if not environ.get("CONTENT_TYPE", "").startswith("application/json"):
            raise Refused(415, "0x80060888", "the content type is not JSON")
        try:
            record = json.loads(body)
        except ValueError as error:
            raise Refused(400, "0x80048d19", f"the body is not JSON: {error}") from error
        for column, value in list(record.items()):
            if column.endswith("@odata.bind"):
                record[column] = self.bound(name, lookups, column.removesuffix("@odata.bind"), value)
            # odatapy takes unknown properties; Dataverse does not.
            elif column not in columns and not column.startswith("@odata."):
                what = f"Invalid property '{column}' was found in entity 'Microsoft.Dynamics.CRM.{name}'."
                raise Refused(400, "0x80048d19", what)
        # "Perform conditional operations using the Web API": prevent create in upsert, prevent update in upsert.
        there = key in self.rows[table]
        if there and environ.get("HTTP_IF_NONE_MATCH") == "*":
            raise Refused(412, "0x80060882", "A record with matching key values already exists.")
        if not there and environ.get("HTTP_IF_MATCH") == "*":
            raise Refused(404, "0x80040217", f"{name} With Id = {key} Does Not Exist")
        # "Detect duplicate data using the Web API": off unless the header says false; then a lead with the same
        # emailaddress1 is answered with status 500 and this code. (WSGI keeps the dot of the header's name.)
        email = record.get("emailaddress1")
        if environ.get("HTTP_MSCRM.SUPPRESSDUPLICATEDETECTION", "true").lower() == "false" and email is not None:
            if any(known.get("emailaddress1") == email for other, known in self.rows[table].items() if other != key):
                what = "A record was not created or updated because a duplicate of the current record already exists."
                raise Refused(500, "0x80040333", what)
        # "Define alternate keys for a table": a second row with the same value is refused, as 412 too, with this code.
        alternate = TABLES[table][2]
        value = record.get(alternate)
        if value is not None and any(row.get(alternate) == value for other, row in self.rows[table].items() if other != key):
            what = f"Entity Key {alternate} violated. A record with the same value for {alternate} already exists."
            raise Refused(412, "0x80060892", what)
        # The columns of an alternate key are taken from the URL.
        record = {**record, **named}
        key = key or str(uuid.uuid4())
        forwarded = {**environ, "PATH_INFO": f"{ROOT}/{table}({key})"}
        for header in ("HTTP_IF_NONE_MATCH", "HTTP_IF_MATCH"):
            forwarded.pop(header, None)
        if not there:
            # "Upsert a table row using the Web API": a PATCH to a key that is not there creates the row.
            forwarded.update({"REQUEST_METHOD": "POST", "PATH_INFO": f"{ROOT}/{table}"})
            record = {f"{name}id": key, **record}
        # Without a preference Dataverse answers 204, odatapy 201 and 200.
        forwarded.setdefault("HTTP_PREFER", "return=minimal")
        status, headers, answer = self.forward(forwarded, json.dumps(record).encode())
        if status < 300:
            # As the OData server has it, so that what it did not take is not there.
            self.rows[table][key] = self.read(forwarded, table, key)
            headers = [(header, value) for header, value in headers if header.lower() != "odata-entityid"]
            if status == 204:
                headers.append(("OData-EntityId", f"http://{environ['HTTP_HOST']}{ROOT}/{table}({key})"))
        return status, headers, answer

    def bound(self, name, lookups, lookup, value):
        """ "Associate table rows on create": "primarycontactid@odata.bind": "/contacts(id)", by id or alternate key."""
        if lookup not in lookups:
            what = f"An undeclared property '{lookup}' which only has property annotations in the payload"
            what += " but no property value was found in the payload."
            raise Refused(400, "0x80048d19", what)
        found = re.fullmatch(r"/?(\w+)\((.+)\)", value if isinstance(value, str) else "")
        if not found or found.group(1) != lookups[lookup]:
            raise Refused(400, "0x80048d19", f"A node of '{lookup}' of '{name}' is not a row of {lookups[lookup]}: {value}")
        key, _ = self.locate(found.group(1), found.group(2).encode().decode("latin-1"))
        if key not in self.rows[found.group(1)]:
            raise Refused(404, "0x80040217", f"{TABLES[found.group(1)][0]} With Id = {key} Does Not Exist")
        return f"{found.group(1)}({key})"

    def read(self, environ, table, key):
        row = self.get(environ, f"{ROOT}/{table}({key})")
        if row is None:
            raise RuntimeError(f"the record is not where it was put: {table}({key})")
        # "Lookup properties": a lookup is read as _name_value.
        for lookup, to in TABLES[table][3].items():
            if bound := self.get(environ, f"{ROOT}/{table}({key})/{lookup}"):
                row[f"_{lookup}_value"] = bound[f"{TABLES[to][0]}id"]
        return row

    def get(self, environ, path):
        status, _, answer = self.forward({**environ, "REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": ""}, b"")
        if status != 200:
            return None
        return {name: value for name, value in json.loads(answer).items() if not name.startswith("@")}

    def forward(self, environ, body):
        answer = {}
        inner = {**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}

        def start(status, headers, *_):
            answer["status"], answer["headers"] = int(status.split()[0]), headers

        chunks = b"".join(self.odata(inner, start))
        return answer["status"], answer["headers"], chunks


def send(start_response, status, headers, body):
    hop = ("content-length", "connection", "transfer-encoding")
    headers = [(name, value) for name, value in headers if name.lower() not in hop]
    start_response(f"{status} {STATUS.get(status, 'Status')}", headers + [("Content-Length", str(len(body)))])
    return [body]


class Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


def main():
    app = Dataverse(sys.argv[1])
    server = make_server("127.0.0.1", 0, app, server_class=Server, handler_class=Quiet)
    app.own = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"port": server.server_port}), flush=True)
    sys.stdin.read()
    os._exit(0)


main()
