"""Azure Table Storage: Azurite itself, with the table `Orders`."""

import json

from azurite import Azurite
from standin import serve


class Tables(Azurite):
    def __init__(self):
        super().__init__("table", "2019-02-02")
        body = json.dumps({"TableName": "Orders"}).encode()
        self.prepare("POST", "/Tables", body=body, headers={"Content-Type": "application/json", "Accept": "application/json"})

    def effects(self):
        status, body = self.ask("GET", "/Orders()", headers={"Accept": "application/json;odata=nometadata"})
        return json.loads(body)["value"] if status == 200 else [{"status": status, "body": body.decode()}]


serve(Tables())
