"""Telegram's Bot API. The token is in the path, and every answer is {ok, result} or {ok, error_code, description, parameters}.

Page: "Telegram Bot API" (core.telegram.org/bots/api): "Making requests", "sendMessage", "sendDocument", "editMessageText", "getChat",
"ResponseParameters".
"""

import email.parser
import email.policy

from fields import problems
from standin import Refused, Vendor, serve

TOKEN = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
CHATS = [
    {"id": -1001234567890, "type": "channel", "title": "Alarms", "username": "alarms_of_example"},
    {"id": 4711, "type": "private", "first_name": "Ada", "blocked": True},
]
CHAT = (int, str)
METHODS = {
    "getMe": {},
    "getChat": {"chat_id!": CHAT},
    "sendMessage": {
        "chat_id!": CHAT,
        "text!": str,
        "parse_mode": {"MarkdownV2", "HTML", "Markdown"},
        "disable_notification": bool,
        "message_thread_id": int,
        "reply_parameters": {"message_id!": int, "allow_sending_without_reply": bool},
        "link_preview_options": dict,
        "reply_markup": dict,
        "protect_content": bool,
    },
    "sendDocument": {
        "chat_id!": CHAT,
        "document!": dict,
        "caption": str,
        "parse_mode": str,
        "disable_notification": str,
    },
    "editMessageText": {
        "chat_id!": CHAT,
        "message_id!": int,
        "text!": str,
        "parse_mode": {"MarkdownV2", "HTML", "Markdown"},
    },
}


def no(code, description, **parameters):
    return Refused(
        code,
        {
            "ok": False,
            "error_code": code,
            "description": description,
            **({"parameters": parameters} if parameters else {}),
        },
    )


class Telegram(Vendor):
    def handle(self, request):
        if len(request.segments) != 2 or not request.segments[0].startswith("bot"):
            raise no(404, "Not Found")
        token, method = request.segments[0][3:], request.segments[1]
        if token != TOKEN:
            raise no(401, "Unauthorized") if ":" in token else no(404, "Not Found")
        if method not in METHODS:
            raise no(404, "Not Found: method not found")
        given = self.given(request)
        wrong = problems(given, METHODS[method])
        if wrong:
            raise no(400, f"Bad Request: {wrong[0][0]} {wrong[0][1]}")
        return 200, {"ok": True, "result": getattr(self, method)(given)}

    def given(self, request):
        # "We support four ways of passing parameters": query, form, JSON, multipart.
        media = request.media()
        if request.method == "GET":
            return request.query
        if media == "multipart/form-data":
            head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
            form = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + request.raw)
            given = {}
            for part in form.iter_parts():
                name, filename = (part.get_param(key, header="content-disposition") for key in ("name", "filename"))
                bytes_ = part.get_payload(decode=True)
                given[name] = (
                    {
                        "file_name": filename,
                        "mime_type": part.get_content_type(),
                        "size": len(bytes_),
                        "text": bytes_.decode("utf-8", "replace"),
                    }
                    if filename
                    else bytes_.decode()
                )
            return given
        if media == "application/x-www-form-urlencoded":
            return request.form(no(400, "Bad Request"))
        return request.json(no(400, "Bad Request: can't parse JSON object"))

    def chat(self, wanted):
        found = [one for one in CHATS if str(wanted) in (str(one["id"]), f"@{one.get('username')}")]
        if not found:
            raise no(400, "Bad Request: chat not found")
        if found[0].get("blocked"):
            raise no(403, "Forbidden: bot was blocked by the user")
        return found[0]

    def getMe(self, _):
        return {"id": 110201543, "is_bot": True, "first_name": "Millstream", "username": "millstream_bot"}

    def getChat(self, given):
        return self.chat(given["chat_id"])

    def add(self, chat, **content):
        message = {"message_id": len(self.effects) + 1, "date": 1767600000, "chat": chat, **content}
        self.effects.append(message)
        return message

    def sendMessage(self, given):
        chat = self.chat(given["chat_id"])
        if not given["text"].strip():
            raise no(400, "Bad Request: message text is empty")
        if len(given["text"]) > 4096:
            raise no(400, "Bad Request: message is too long")
        return self.add(chat, text=given["text"])

    def sendDocument(self, given):
        return self.add(
            self.chat(given["chat_id"]),
            document={"file_id": "BQACAgIAAx", **given["document"]},
            caption=given.get("caption", ""),
        )

    def editMessageText(self, given):
        self.chat(given["chat_id"])
        found = [one for one in self.effects if one["message_id"] == given["message_id"]]
        if not found:
            raise no(400, "Bad Request: message to edit not found")
        if found[0].get("text") == given["text"]:
            raise no(400, "Bad Request: message is not modified: specified new message content is exactly the same")
        found[0]["text"] = given["text"]
        return found[0]


serve(Telegram())
