"""Amazon SNS: moto, with the topic `orders.fifo` and a queue that gets all that is published there."""

import json
import urllib.parse

from aws import Moto
from standin import serve

TOPIC = "arn:aws:sns:eu-central-1:123456789012:orders.fifo"
QUEUE = "https://sqs.eu-central-1.amazonaws.com/123456789012/all.fifo"


class Topics(Moto):
    def __init__(self):
        super().__init__("sns")
        self.form({"Action": "CreateTopic", "Name": "orders.fifo", "Attributes.entry.1.key": "FifoTopic", "Attributes.entry.1.value": "true"})
        self.sqs("CreateQueue", {"QueueName": "all.fifo", "Attributes": {"FifoQueue": "true"}})
        to = "arn:aws:sqs:eu-central-1:123456789012:all.fifo"
        self.form({"Action": "Subscribe", "TopicArn": TOPIC, "Protocol": "sqs", "Endpoint": to})

    def form(self, asked):
        body = urllib.parse.urlencode({**asked, "Version": "2010-03-31"}).encode()
        return self.prepare("POST", "/", body, {"Content-Type": "application/x-www-form-urlencoded"})

    def sqs(self, name, asked):
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"AmazonSQS.{name}"}
        return json.loads(self.prepare("POST", "/", json.dumps(asked).encode(), headers, "sqs") or "{}")

    def effects(self):
        got = self.sqs("ReceiveMessage", {"QueueUrl": QUEUE, "MaxNumberOfMessages": 10, "VisibilityTimeout": 0})
        sent = [json.loads(message["Body"]) for message in got.get("Messages", [])]
        return [{"subject": one.get("Subject"), "message": json.loads(one["Message"])} for one in sent]


serve(Topics())
