"""Amazon SQS: moto, with the queue `leads.fifo` of the account 123456789012."""

import json

from aws import Moto
from standin import serve

QUEUE = "https://sqs.eu-central-1.amazonaws.com/123456789012/leads.fifo"


class Queues(Moto):
    def __init__(self):
        super().__init__("sqs")
        self.json("CreateQueue", {"QueueName": "leads.fifo", "Attributes": {"FifoQueue": "true"}})

    def json(self, name, asked):
        # "Making query API requests using AWS JSON protocol in Amazon SQS".
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"AmazonSQS.{name}"}
        return json.loads(self.prepare("POST", "/", json.dumps(asked).encode(), headers) or "{}")

    def effects(self):
        # Looks without hiding what it sees: visible again at once.
        got = self.json("ReceiveMessage", {"QueueUrl": QUEUE, "MaxNumberOfMessages": 10, "VisibilityTimeout": 0})
        return [json.loads(message["Body"]) for message in got.get("Messages", [])]


serve(Queues())
