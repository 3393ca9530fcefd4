"""An OData v4 service: odatapy itself, with the entity set `Customers`, behind basic auth; pages are of two."""

import base64
import io
import json
import re
import urllib.parse

import child

child.installed()

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

from standin import Refused, Vendor, serve

ROOT = "/odata/v4"
USER = "Basic " + base64.b64encode(b"millstream:s3cret-of-contoso").decode()
CUSTOMER = {"Name": "Edm.String", "City": "Edm.String", "Credit": "Edm.Decimal"}


class Provider(CsdlAbstractEdmProvider):
    def get_schemas(self):
        properties = [CsdlProperty(name="Number", type="Edm.String", nullable=False)]
        properties += [CsdlProperty(name=name, type=kind) for name, kind in CUSTOMER.items()]
        customer = CsdlEntityType(name="Customer", key=[CsdlPropertyRef(name="Number")], properties=properties)
        container = CsdlEntityContainer(name="Container", entity_sets=[CsdlEntitySet(name="Customers", type="Contoso.Customer")])
        return [CsdlSchema(namespace="Contoso", entity_types=[customer], entity_container=container)]


def error(status, message):
    return Refused(status, {"error": {"code": str(status), "message": message}}, {"OData-Version": "4.0"})


class Service(Vendor):
    def __init__(self):
        odata = OData.new_instance()
        handler = odata.create_handler(odata.create_service_metadata(Provider()))
        handler.register(InMemoryProcessor(InMemoryDataStore(), page_size=2))
        self.app = ODataWSGIApp(handler, ROOT)

    def effects(self):
        found, link = [], f"{ROOT}/Customers"
        while link:
            _, answer, _ = self.ask("GET", link)
            page = json.loads(answer)
            found += [{name: value for name, value in entity.items() if not name.startswith("@")} for entity in page["value"]]
            link = page.get("@odata.nextLink")
            link = link and f"{ROOT}/Customers?" + link.partition("?")[2]
        return found

    def ask(self, method, target, body=b"", headers=None):
        path, _, query = target.partition("?")
        host = (headers or {}).get("host", "127.0.0.1")
        environ = {
            "REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": urllib.parse.unquote(path), "QUERY_STRING": query,
            "SERVER_NAME": host.partition(":")[0], "SERVER_PORT": host.partition(":")[2] or "80", "HTTP_HOST": host,
            "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(body), "wsgi.errors": io.StringIO(),
            "CONTENT_LENGTH": str(len(body)),
        }
        for name, value in (headers or {}).items():
            name = name.upper().replace("-", "_")
            environ["CONTENT_TYPE" if name == "CONTENT_TYPE" else f"HTTP_{name}"] = value
        environ["CONTENT_LENGTH"] = str(len(body))
        told = {}

        def start(status, headers, *_):
            told["status"], told["headers"] = int(status.split()[0]), dict(headers)

        whole = b"".join(self.app(environ, start))
        return told["status"], whole, told["headers"]

    def handle(self, request):
        if request.headers.get("authorization") != USER:
            raise Refused(401, {"error": {"code": "401", "message": "Unauthorized"}}, {"WWW-Authenticate": 'Basic realm="odata"'})
        if request.headers.get("odata-maxversion") not in ("4.0", "4.01") or request.headers.get("odata-version") != "4.0":
            raise error(400, "OData-Version 4.0 and OData-MaxVersion are expected")
        if not request.path.startswith(ROOT):
            raise error(404, "Not found")
        if request.method in ("POST", "PATCH"):
            entity = request.json(error(415, "The content type is not JSON"))
            # odatapy takes unknown properties; the protocol says that a service fails them unless the type is open.
            for name in entity:
                if name.partition("@")[0] not in ("Number", *CUSTOMER, ""):
                    raise error(400, f"The property '{name}' does not exist on type 'Contoso.Customer'.")
        if request.method == "PATCH":
            return self.patch(request, entity)
        return self.ask(request.method, request.target, request.raw, request.headers)

    def patch(self, request, entity):
        """ "Upsert an Entity": a PATCH of a key that is not there creates it, unless If-Match is sent."""
        here = self.ask("GET", request.target)[0] == 200
        if here or "if-match" in request.headers:
            return self.ask("PATCH", request.target, request.raw, request.headers)
        if request.headers.get("if-none-match") not in (None, "*"):
            raise error(412, "Precondition failed")
        key = re.fullmatch(rf"{ROOT}/Customers\('((?:[^']|'')+)'\)", request.path)
        if not key:
            raise error(404, "Not found")
        body = json.dumps({**entity, "Number": key.group(1).replace("''", "'")}).encode()
        headers = {"prefer": "return=minimal", **request.headers}
        status, answer, told = self.ask("POST", f"{ROOT}/Customers", body, headers)
        return status, answer, told


serve(Service())
