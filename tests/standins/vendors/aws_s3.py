"""Amazon S3: moto, with the bucket `reports`; the connector's base URL names the bucket."""

import urllib.parse
import xml.etree.ElementTree as XML

from aws import REGION, Moto
from standin import serve


class Buckets(Moto):
    def __init__(self):
        super().__init__("s3")
        where = f"<CreateBucketConfiguration><LocationConstraint>{REGION}</LocationConstraint></CreateBucketConfiguration>"
        self.prepare("PUT", "/reports", where.encode(), {"Content-Type": "application/xml"})

    def effects(self):
        listed = XML.fromstring(self.ask("GET", "/reports?list-type=2")[1])
        keys = [entry.text for entry in listed.iter() if entry.tag.endswith("}Key") or entry.tag == "Key"]
        return [{"key": key, "text": self.ask("GET", f"/reports/{urllib.parse.quote(key)}")[1].decode()} for key in keys]


serve(Buckets())
