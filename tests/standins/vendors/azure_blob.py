"""Azure Blob Storage: Azurite itself, with the container `reports`."""

import xml.etree.ElementTree as XML
from urllib.parse import quote

from azurite import Azurite
from standin import serve


class Blobs(Azurite):
    def __init__(self):
        super().__init__("blob", "2021-12-02")
        self.prepare("PUT", "/reports", "restype=container", body=b"", headers={"Content-Type": "application/xml"})

    def effects(self):
        _, listed = self.ask("GET", "/reports", "restype=container&comp=list")
        names = [name.text for name in XML.fromstring(listed.decode().lstrip("\ufeff")).iter("Name")]
        return [{"name": name, "text": self.ask("GET", f"/reports/{quote(name)}")[1].decode()} for name in names]


serve(Blobs())
