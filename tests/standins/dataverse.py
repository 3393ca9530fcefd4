"""The Dataverse Web API as far as leads need it: a real OData v4 server (odatapy) behind the checks that Dataverse makes.

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
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import jwt
from odatapy.edm.csdl import (
    CsdlAbstractEdmProvider,
    CsdlEntityContainer,
    CsdlEntitySet,
    CsdlEntityType,
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
}
STATUS = {
    200: "OK", 201: "Created", 204: "No Content", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found",
    412: "Precondition Failed", 415: "Unsupported Media Type", 429: "Too Many Requests", 500: "Internal Server Error",
    503: "Service Unavailable",
}


class Provider(CsdlAbstractEdmProvider):
    def get_schemas(self):
        properties = [CsdlProperty(name="leadid", type="Edm.Guid", nullable=False)]
        properties += [CsdlProperty(name=name, type=kind) for name, kind in LEAD.items()]
        lead = CsdlEntityType(name="lead", key=[CsdlPropertyRef(name="leadid")], properties=properties)
        leads = CsdlEntitySet(name="leads", type="Microsoft.Dynamics.CRM.lead")
        container = CsdlEntityContainer(name="System", entity_sets=[leads])
        return [CsdlSchema(namespace="Microsoft.Dynamics.CRM", entity_types=[lead], entity_container=container)]


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
        self.records = {}
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
        shown = {"/standin/leads": list(self.records.values()), "/standin/seen": self.seen}[path]
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
        if environ["REQUEST_METHOD"] == "PATCH":
            return self.upsert(environ, path, body)
        return self.forward(environ, body)

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

    def upsert(self, environ, path, body):
        found = re.fullmatch(ROOT + r"/leads\(([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\)", path)
        if not found:
            raise Refused(404, "0x80060888", "Resource not found for the segment")
        if not environ.get("CONTENT_TYPE", "").startswith("application/json"):
            raise Refused(415, "0x80060888", "the content type is not JSON")
        key = found.group(1)
        try:
            record = json.loads(body)
        except ValueError as error:
            raise Refused(400, "0x80048d19", f"the body is not JSON: {error}") from error
        # odatapy takes unknown properties; Dataverse does not.
        for name in record:
            if name not in LEAD and not name.startswith("@odata.") and not name.endswith("@odata.bind"):
                what = f"Invalid property '{name}' was found in entity 'Microsoft.Dynamics.CRM.lead'."
                raise Refused(400, "0x80048d19", what)
        # "Perform conditional operations using the Web API": prevent create in upsert, prevent update in upsert.
        there = key in self.records
        if there and environ.get("HTTP_IF_NONE_MATCH") == "*":
            raise Refused(412, "0x80060882", "A record with matching key values already exists.")
        if not there and environ.get("HTTP_IF_MATCH") == "*":
            raise Refused(404, "0x80040217", f"lead With Id = {key} Does Not Exist")
        # "Detect duplicate data using the Web API": off unless the header says false; then a lead with the same
        # emailaddress1 is answered with status 500 and this code. (WSGI keeps the dot of the header's name.)
        email = record.get("emailaddress1")
        if environ.get("HTTP_MSCRM.SUPPRESSDUPLICATEDETECTION", "true").lower() == "false" and email is not None:
            if any(known.get("emailaddress1") == email for other, known in self.records.items() if other != key):
                what = "A record was not created or updated because a duplicate of the current record already exists."
                raise Refused(500, "0x80040333", what)
        forwarded = dict(environ)
        for header in ("HTTP_IF_NONE_MATCH", "HTTP_IF_MATCH"):
            forwarded.pop(header, None)
        if not there:
            # "Upsert a table row using the Web API": a PATCH to a key that is not there creates the row.
            forwarded.update({"REQUEST_METHOD": "POST", "PATH_INFO": f"{ROOT}/leads"})
            body = json.dumps({"leadid": key, **record}).encode()
            # Without a preference Dataverse answers 204, odatapy 201.
            forwarded.setdefault("HTTP_PREFER", "return=minimal")
        status, headers, answer = self.forward(forwarded, body)
        if status < 300:
            # As the OData server has it, so that what it did not take is not there.
            self.records[key] = self.read(forwarded, key)
        return status, headers, answer

    def read(self, environ, key):
        path = f"{ROOT}/leads({key})"
        status, _, answer = self.forward({**environ, "REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": ""}, b"")
        if status != 200:
            raise RuntimeError(f"the record is not where it was put: {status} {answer!r}")
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
