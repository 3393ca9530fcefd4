"""moto, the emulator of AWS, as a child, behind a check of signatures that moto itself does not make.

"Authenticating Requests (AWS Signature Version 4)" and "Create a signed AWS API request": what is signed, and how. The
keys are the ones of AWS's own examples.
"""

import datetime
import hashlib
import hmac
import json
import re
import urllib.error
import urllib.parse
import urllib.request

import child
from standin import Refused, Vendor, proxy

ID = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
REGION = "eu-central-1"


def signature(service, day, stamp, method, target, headers, named, digest):
    """`named` are the signed headers' names in lower case, `digest` the payload's as it stands in the request."""
    path, _, query = target.partition("?")
    # S3 signs the path as it is, with each name encoded once and its slashes kept; all others encode it twice.
    path = urllib.parse.quote(urllib.parse.unquote(path), safe="/~") if service == "s3" else urllib.parse.quote(path, safe="/~")
    pairs = sorted(
        (urllib.parse.quote(name, safe="~"), urllib.parse.quote(value, safe="~"))
        for name, value in urllib.parse.parse_qsl(query, keep_blank_values=True)
    )
    query = "&".join(f"{name}={value}" for name, value in pairs)
    lines = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in named)
    request = f"{method}\n{path or '/'}\n{query}\n{lines}\n{';'.join(named)}\n{digest}"
    scope = f"{day}/{REGION}/{service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = ("AWS4" + SECRET).encode()
    for part in (day, REGION, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


class Moto(Vendor):
    def __init__(self, service):
        self.service = service
        self.taken = {}
        port = child.free_port()
        python = child.INSTALLED / "venv" / "bin" / "python"
        child.start([python, "-m", "moto.server", "-H", "127.0.0.1", "-p", port], port, cwd=child.folder())
        self.host = f"127.0.0.1:{port}"

    def handle(self, request):
        self.verify(request)
        return proxy(request, f"http://{self.host}")

    def verify(self, request):
        form = re.fullmatch(
            rf"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{{8}})/([^/]+)/([^/]+)/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{{64}})",
            request.headers.get("authorization", ""),
        )
        if not form:
            raise self.refused("MissingAuthenticationToken", "Request is missing Authentication Token")
        key, day, region, service, named, given = form.groups()
        stamp = request.headers.get("x-amz-date", "")
        if key != ID:
            raise self.refused("InvalidAccessKeyId" if self.service == "s3" else "InvalidClientTokenId", "The access key ID does not exist.")
        if (region, service) != (REGION, self.service):
            raise self.refused("SignatureDoesNotMatch", f"Credential should be scoped to {REGION}/{self.service}.")
        try:
            made = datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
        except ValueError:
            raise self.refused("IncompleteSignature", "x-amz-date is missing or no date") from None
        # A signature holds for a quarter of an hour.
        if abs((datetime.datetime.now(datetime.timezone.utc) - made).total_seconds()) > 900 or not stamp.startswith(day):
            raise self.refused("RequestTimeTooSkewed", "The difference between the request time and the current time is too large.")
        named = named.split(";")
        # Host and every x-amz- header must be signed, and Content-Type where it is there.
        must = {"host", *(name for name in request.headers if name.startswith("x-amz-"))}
        if named != sorted(named) or not must <= set(named) or not set(named) <= set(request.headers):
            raise self.refused("SignatureDoesNotMatch", f"There were headers present in the request which were not signed: {sorted(must)}")
        digest = hashlib.sha256(request.raw).hexdigest()
        sent = request.headers.get("x-amz-content-sha256")
        if self.service == "s3" and sent is None:
            raise self.refused("InvalidRequest", "Missing required header for this request: x-amz-content-sha256", 400)
        if sent not in (None, digest, "UNSIGNED-PAYLOAD"):
            raise self.refused("XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.", 400)
        right = signature(service, day, stamp, request.method, request.target, request.headers, named, sent or digest)
        if not hmac.compare_digest(right, given):
            raise self.refused("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.")

    def refused(self, code, message, status=403):
        """As the service shapes its errors: S3 and the Query services as XML, the JSON services as JSON."""
        if self.service == "sqs":
            body = {"__type": f"com.amazon.coral.service#{code}", "message": message}
            return Refused(status, body, {"Content-Type": "application/x-amz-json-1.0"})
        error = f"<Code>{code}</Code><Message>{message}</Message>"
        if self.service != "s3":
            error = f"<ErrorResponse><Error><Type>Sender</Type>{error}</Error><RequestId>x</RequestId></ErrorResponse>"
        else:
            error = f"<Error>{error}<RequestId>x</RequestId></Error>"
        return Refused(status, '<?xml version="1.0" encoding="UTF-8"?>' + error, {"Content-Type": "application/xml"})

    def ask(self, method, target, body=b"", headers=None, service=None):
        """A signed request of our own: (status, body)."""
        service = service or self.service
        now = datetime.datetime.now(datetime.timezone.utc)
        stamp, digest = now.strftime("%Y%m%dT%H%M%SZ"), hashlib.sha256(body).hexdigest()
        headers = {name.lower(): value for name, value in (headers or {}).items()}
        headers |= {"host": self.host, "x-amz-date": stamp, "x-amz-content-sha256": digest}
        named = sorted(headers)
        signed = signature(service, stamp[:8], stamp, method, target, headers, named, digest)
        scope = f"{ID}/{stamp[:8]}/{REGION}/{service}/aws4_request"
        headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={';'.join(named)}, Signature={signed}"
        request = urllib.request.Request(f"http://{self.host}{target}", data=body or None, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as answer:
            return answer.code, answer.read()

    def sqs(self, name, asked):
        # "Making query API requests using AWS JSON protocol in Amazon SQS".
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"AmazonSQS.{name}"}
        return json.loads(self.prepare("POST", "/", json.dumps(asked).encode(), headers, "sqs") or "{}")

    def messages(self, queue):
        """What all messages of a queue hold. They are taken and never deleted, so that the queue still knows repeats.

        moto hands out no second message of a group while the first is taken; one that must be there counts as {"unread"}.
        """
        while got := self.sqs("ReceiveMessage", {"QueueUrl": queue, "MaxNumberOfMessages": 10, "VisibilityTimeout": 43200}).get("Messages"):
            self.taken |= {message["MessageId"]: json.loads(message["Body"]) for message in got}
        told = self.sqs("GetQueueAttributes", {"QueueUrl": queue, "AttributeNames": ["All"]})["Attributes"]
        count = int(told["ApproximateNumberOfMessages"]) + int(told["ApproximateNumberOfMessagesNotVisible"])
        return [*self.taken.values(), *[{"unread": True}] * (count - len(self.taken))]

    def prepare(self, *asked, **more):
        status, body = self.ask(*asked, **more)
        if status >= 300:
            raise SystemExit(f"moto answered {status} to {asked}: {body[:300]!r}")
        return body
