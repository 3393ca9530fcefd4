"""Trello's REST API, as far as the connector goes: "Cards", "Authorizing With Trello's REST API", "Rate Limits". Errors are plain text."""

import re

from standin import Refused, Vendor, serve

KEY, TOKEN = "trello-app-key", "trello-test-token"
BOARD = {"id": "5abbe4b7ddc1b351ef961400", "name": "Ideas"}
LISTS = {"5abbe4b7ddc1b351ef961414": "New", "5abbe4b7ddc1b351ef961416": "Done"}
#: "Create a new Card", parameters.
CARD = {
    "name": str, "desc": str, "pos": (str, int, float), "due": str, "start": str, "dueComplete": bool, "idList": str, "idMembers": list,
    "idLabels": list, "urlSource": str, "idCardSource": str, "closed": bool,
}


class Trello(Vendor):
    def __init__(self):
        super().__init__()
        self.comments = 0

    def handle(self, request):
        # "Authorizing": key and token as parameters; which one is wrong is said, both with 401.
        if request.query.get("key") != KEY:
            raise Refused(401, "invalid key")
        if "token" not in request.query:
            raise Refused(401, "unauthorized permission requested")
        if request.query["token"] != TOKEN:
            raise Refused(401, "invalid token" if re.fullmatch(r"[\w-]+", request.query["token"]) else "invalid app token")
        if request.segments[:1] != ["1"]:
            raise Refused(404, f"Cannot {request.method} {request.path}")
        asked = (request.method, *request.segments[1:])
        match asked:
            case ("GET", "members", "me"):
                return 200, {"id": "5abbe4b7ddc1b351ef961401", "username": "ada"}
            case ("GET", "members", "me", "boards"):
                return 200, [BOARD]
            case ("GET", "boards", board, "lists"):
                if board != BOARD["id"]:
                    raise Refused(400 if not self.is_id(board) else 404, "invalid id" if not self.is_id(board) else "The requested resource was not found.")
                return 200, [{"id": id, "name": name} for id, name in LISTS.items()]
            case ("GET", "lists", list_, "cards"):
                return 200, [one for one in self.effects if one["idList"] == self.list(list_) and not one["closed"]]
            case ("POST", "cards"):
                return self.created(self.given(request))
            case ("PUT", "cards", id):
                card, given = self.card(id), self.given(request)
                if "idList" in given:
                    self.list(given["idList"])
                card.update(given)
                return 200, card
            case ("POST", "cards", id, "actions", "comments"):
                card = self.card(id)
                text = request.json(Refused(400, "Error parsing body: invalid JSON")).get("text") if request.raw else request.query.get("text")
                if not text:
                    raise Refused(400, "invalid value for text")
                self.comments += 1
                return 200, {"id": f"{self.comments:024x}", "type": "commentCard", "data": {"text": text, "card": {"id": card["id"]}}}
        raise Refused(404, f"Cannot {request.method} {request.path}")

    def is_id(self, text):
        return re.fullmatch("[0-9a-f]{24}", text or "") is not None

    def list(self, id):
        if not self.is_id(id):
            raise Refused(400, "invalid value for idList")
        if id not in LISTS:
            raise Refused(404, "could not find the board that the card belongs to")
        return id

    def card(self, id):
        for card in self.effects:
            if card["id"] == id:
                return card
        raise Refused(404 if self.is_id(id) else 400, "The requested resource was not found." if self.is_id(id) else "invalid id")

    def given(self, request):
        given = request.json(Refused(400, "Error parsing body: invalid JSON")) if request.raw else {}
        given |= {name: value for name, value in request.query.items() if name not in ("key", "token")}
        for name, value in given.items():
            if name not in CARD:
                raise Refused(400, f"unknown: {name} (stand-in: Trello would pass it over)")
            if not isinstance(value, CARD[name]) or (isinstance(value, bool) and CARD[name] is not bool):
                raise Refused(400, f"invalid value for {name}")
        if isinstance(given.get("pos"), str) and given["pos"] not in ("top", "bottom"):
            raise Refused(400, "invalid value for pos")
        return given

    def created(self, given):
        self.list(given.get("idList"))
        id = f"{0x5abbe4b7ddc1b351ef961500 + len(self.effects):024x}"
        card = {"id": id, "idList": given["idList"], "closed": False, "name": "", "desc": "", **given, "shortUrl": f"https://trello.com/c/{id[-4:]}"}
        self.effects.append(card)
        return 200, card


if __name__ == "__main__":
    serve(Trello())
