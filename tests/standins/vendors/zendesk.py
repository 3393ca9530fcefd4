"""Zendesk's Ticketing API, as far as the connector goes: "Tickets", "Users", "Ticketing API introduction" (Idempotency)."""

import base64
import re

from standin import Refused, Vendor, serve

EMAIL, TOKEN = "agent@example.com", "zendesk-test-token"
#: "Tickets", JSON format: what a client may set, and its type.
TICKET = {
    "subject": str, "comment": dict, "requester": dict, "requester_id": int, "priority": str, "type": str, "status": str,
    "group_id": int, "assignee_email": str, "tags": list, "external_id": str, "custom_fields": list,
}
USER = {"name": str, "email": str, "external_id": str, "phone": str, "organization_id": int, "tags": list, "user_fields": dict}
ONE_OF = {
    "priority": ("urgent", "high", "normal", "low"), "type": ("problem", "incident", "question", "task"),
    "status": ("new", "open", "pending", "hold", "solved", "closed"),
}


def invalid(field, what):
    # "Response format": 422 with the records' own complaints in `details`.
    details = {field: [{"description": what, "error": "InvalidValue"}]}
    return Refused(422, {"error": "RecordInvalid", "description": "Record validation errors", "details": details})


class Zendesk(Vendor):
    def __init__(self):
        super().__init__()
        self.users = []
        self.kept = {}

    def handle(self, request):
        # "Security and authentication", API token: {email}/token:{api_token}. All else is 401 with this text.
        wanted = "Basic " + base64.b64encode(f"{EMAIL}/token:{TOKEN}".encode()).decode()
        if request.headers.get("authorization") != wanted:
            return 401, {"error": "Couldn't authenticate you"}, {"WWW-Authenticate": 'Basic realm="Web Password"'}
        if request.segments[:2] != ["api", "v2"]:
            return 404, "<!DOCTYPE html><html><title>Not found</title></html>", {"Content-Type": "text/html"}
        path = [part.removesuffix(".json") for part in request.segments[2:]]
        asked = (request.method, *path)
        if asked == ("GET", "users", "me"):
            return 200, {"user": {"id": 1, "email": EMAIL, "role": "admin"}}
        if asked == ("GET", "groups"):
            return 200, {"groups": [{"id": 9, "name": "Support"}], "meta": {"has_more": False}, "links": {"prev": None, "next": None}}
        if asked == ("POST", "tickets"):
            return self.once(request, lambda: self.created(request))
        if asked == ("POST", "users", "create_or_update"):
            return self.upserted(request)
        if asked == ("GET", "search", "export"):
            return self.found(request)
        if len(path) == 2 and path[0] == "tickets" and request.method in ("GET", "PUT"):
            ticket = next((one for one in self.effects if str(one["id"]) == path[1]), None)
            if ticket is None:
                raise Refused(404, {"error": "RecordNotFound", "description": "Not found"})
            if request.method == "PUT":
                self.change(ticket, self.given(request, "ticket", TICKET))
            return 200, {"ticket": self.shown(ticket)}
        raise Refused(404, {"error": "InvalidEndpoint", "description": "Not found"})

    def once(self, request, work):
        """Idempotency: a known key gives the first answer again; with another body it is an error."""
        key = request.headers.get("idempotency-key")
        if not key:
            return work()
        if len(key) > 255:
            raise Refused(400, {"error": "IdempotentRequestError", "description": "Idempotency key is too long"})
        if key in self.kept:
            body, answer = self.kept[key]
            if body != request.raw:
                description = "Request parameters don't match the given idempotency key"
                raise Refused(400, {"error": "IdempotentRequestError", "description": description})
            return (*answer, {"x-idempotency-lookup": "hit"})
        answer = work()
        self.kept[key] = (request.raw, answer)
        return (*answer, {"x-idempotency-lookup": "miss"})

    def given(self, request, name, known):
        given = request.json(Refused(400, {"error": "Unprocessable", "message": "Server could not parse JSON"}))
        # "Requests": a body without the record's name around it.
        if not isinstance(given, dict) or not isinstance(given.get(name), dict):
            title = f"{name.capitalize()} data is missing"
            raise Refused(400, {"error": {"title": "Invalid attribute", "message": f"Parameter {name} is required ({title})"}})
        if set(given) != {name}:
            raise invalid("base", f"unknown beside {name}: {sorted(set(given) - {name})} (stand-in: Zendesk would pass it over)")
        for field, value in given[name].items():
            if field not in known:
                raise invalid(field, f"{field} is unknown (stand-in: Zendesk would pass it over)")
            if not isinstance(value, known[field]) or (known[field] is int and isinstance(value, bool)):
                message = f"{name}.{field} must be {known[field].__name__}"
                raise Refused(400, {"error": {"title": "Invalid attribute", "message": message}})
            if field in ONE_OF and value not in ONE_OF[field]:
                raise invalid(field, f"{field.capitalize()}: {value} is not included in the list")
        return given[name]

    def created(self, request):
        given = self.given(request, "ticket", TICKET)
        # "Create Ticket": the comment is the only field that is required.
        if not given.get("comment", {}).get("body"):
            raise invalid("base", "Description: cannot be blank")
        requester = given.get("requester", {"email": EMAIL, "name": "Agent"})
        self.address("requester", "Requester: Email: ", requester.get("email", ""))
        if not requester.get("name") and not any(one["email"] == requester["email"] for one in self.users):
            raise invalid("requester", "Requester: Name: is too short (minimum one character)")
        ticket = {"id": len(self.effects) + 1, "status": given.get("status", "new"), "requester": requester["email"], "comments": []}
        self.effects.append(ticket)
        self.change(ticket, given)
        return 201, {"ticket": self.shown(ticket)}

    def address(self, field, before, email):
        if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", email):
            raise invalid(field, f"{before} {email} is not properly formatted")

    def change(self, ticket, given):
        if "comment" in given:
            unknown = set(given["comment"]) - {"body", "html_body", "public", "author_id", "uploads"}
            if unknown or not given["comment"].get("body"):
                raise invalid("comment", "Comment: is invalid")
            ticket["comments"].append(given["comment"]["body"])
        ticket.update({name: value for name, value in given.items() if name not in ("comment", "requester")})

    def shown(self, ticket):
        shown = {name: value for name, value in ticket.items() if name not in ("comments", "requester")}
        return {**shown, "description": ticket["comments"][0], "url": f"https://acme.zendesk.com/api/v2/tickets/{ticket['id']}.json"}

    def upserted(self, request):
        given = self.given(request, "user", USER)
        self.address("email", "Email: ", given.get("email", ""))
        # "Create Or Update User": external_id decides first, then the address. 201 for a new one, 200 for a known one.
        user = next((one for one in self.users if given.get("external_id") and one.get("external_id") == given["external_id"]), None)
        user = user or next((one for one in self.users if one["email"].lower() == given["email"].lower()), None)
        status = 200 if user else 201
        if user is None:
            if not given.get("name"):
                raise invalid("name", "Name: is too short (minimum one character)")
            user = {"id": 100 + len(self.users)}
            self.users.append(user)
        user.update(given)
        return status, {"user": user}

    def found(self, request):
        # "Search", Export Search Results: cursors, and a filter[type] that must be there.
        if request.query.get("filter[type]") not in ("ticket", "user", "organization", "group"):
            raise Refused(422, {"error": "invalid", "description": "filter[type] is required"})
        size, start = int(request.query.get("page[size]", 100)), int(request.query.get("page[after]", 0))
        found = [self.shown(one) for one in self.effects]
        more = start + size < len(found)
        here = f"http://{request.headers['host']}{request.target.split('&page[after]')[0].split('&page%5Bafter%5D')[0]}"
        links = {"prev": None, "next": f"{here}&page[after]={start + size}" if more else None}
        return 200, {"results": found[start : start + size], "meta": {"has_more": more}, "links": links}


if __name__ == "__main__":
    serve(Zendesk())
