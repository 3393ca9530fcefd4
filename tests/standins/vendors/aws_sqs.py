"""Amazon SQS: moto, with the queue `leads.fifo` of the account 123456789012."""

from aws import Moto
from standin import serve

QUEUE = "https://sqs.eu-central-1.amazonaws.com/123456789012/leads.fifo"


class Queues(Moto):
    def __init__(self):
        super().__init__("sqs")
        self.sqs("CreateQueue", {"QueueName": "leads.fifo", "Attributes": {"FifoQueue": "true"}})

    def effects(self):
        return self.messages(QUEUE)


serve(Queues())
