"""Azure Queue Storage: Azurite itself, with the queue `leads`."""

import base64
import json
import xml.etree.ElementTree as XML

from azurite import Azurite
from standin import serve


class Queues(Azurite):
    def __init__(self):
        super().__init__("queue", "2021-12-02")
        self.prepare("PUT", "/leads", body=b"", headers={"Content-Type": "application/xml"})

    def effects(self):
        # "Peek Messages": looks without taking.
        _, listed = self.ask("GET", "/leads/messages", "peekonly=true&numofmessages=32")
        texts = [text.text for text in XML.fromstring(listed.decode().lstrip("\ufeff")).iter("MessageText")]
        return [json.loads(base64.b64decode(text)) for text in texts]


serve(Queues())
