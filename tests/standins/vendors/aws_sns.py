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

    def effects(self):
        return [json.loads(sent["Message"]) if "Message" in sent else sent for sent in self.messages(QUEUE)]


serve(Topics())
