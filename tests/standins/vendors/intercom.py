"""Intercom's REST API, as far as the connector goes: "Create contact", "Update a contact", "Search contacts", "Create a note", "Create a ticket"."""

import re

from standin import Refused, Vendor, serve

TOKEN = "intercom-test-token"
VERSIONS = {"2.7", "2.8", "2.9", "2.10", "2.11", "2.12", "2.13", "2.14"}
ATTRIBUTES = {"plan": str}
CONTACT = {
    "role": str, "email": str, "external_id": str, "name": str, "phone": str, "avatar": str, "signed_up_at": int, "last_seen_at": int,
    "owner_id": int, "unsubscribed_from_emails": bool, "custom_attributes": dict,
}


def failed(status, code, message):
    # "Error objects": always a list.
    return Refused(status, {"type": "error.list", "request_id": "000standin", "errors": [{"code": code, "message": message}]})


class Intercom(Vendor):
    def __init__(self):
        super().__init__()
        self.archived = []
        self.notes = 0

    def handle(self, request):
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            raise failed(401, "unauthorized", "Access Token Invalid")
        # "Content types": JSON must be accepted; the version decides about fields.
        if "json" not in request.headers.get("accept", "") and "*/*" not in request.headers.get("accept", ""):
            raise failed(406, "media_type_not_acceptable", "The Accept header should send a media type of application/json")
        if request.headers.get("intercom-version", "2.11") not in VERSIONS:
            raise failed(400, "intercom_version_invalid", "The requested version could not be found")
        asked, path = request.method, request.segments
        if (asked, path) == ("GET", ["me"]):
            return 200, {"type": "admin", "id": "1", "email": "admin@example.com"}
        if (asked, path) == ("GET", ["admins"]):
            return 200, {"type": "admin.list", "admins": [{"type": "admin", "id": "1", "name": "Admin"}]}
        if (asked, path) == ("GET", ["ticket_types"]):
            return 200, {"type": "list", "data": [{"type": "ticket_type", "id": "53", "name": "Bug"}]}
        if (asked, path) == ("POST", ["contacts"]):
            return self.created(self.given(request, CONTACT))
        if (asked, path) == ("POST", ["contacts", "search"]):
            return self.found(self.given(request, {"query": dict, "pagination": dict, "sort": dict}))
        if (asked, path) == ("POST", ["tickets"]):
            given = self.given(request, {"ticket_type_id": str, "contacts": list, "ticket_attributes": dict, "company_id": str, "created_at": int})
            if given.get("ticket_type_id") != "53":
                raise failed(404, "ticket_type_not_found", "Ticket type not found")
            self.find(given.get("contacts", [{}])[0].get("id"))
            if not given.get("ticket_attributes", {}).get("_default_title_"):
                raise failed(400, "parameter_not_found", "Title is a required attribute")
            return 200, {"type": "ticket", "id": "494", "ticket_id": "53", "ticket_attributes": given["ticket_attributes"]}
        if path[0] == "contacts" and len(path) > 1:
            contact = self.find(path[1])
            if asked == "GET" and path[2:] == []:
                return 200, contact
            if asked == "PUT" and path[2:] == []:
                given = self.given(request, CONTACT)
                self.conflict(given, contact)
                contact.update(given)
                return 200, contact
            if asked == "DELETE" and path[2:] == []:
                # "Archive contact" and its like: gone from lists, and still in the way of a new one.
                self.effects.remove(contact)
                self.archived.append(contact)
                return 200, {"id": contact["id"], "type": "contact", "archived": True}
            if asked == "POST" and path[2:] == ["notes"]:
                given = self.given(request, {"body": str, "admin_id": str, "contact_id": str})
                if not given.get("body"):
                    raise failed(400, "parameter_not_found", "Body is a required parameter")
                self.notes += 1
                return 200, {"type": "note", "id": str(self.notes), "body": f"<p>{given['body']}</p>"}
        raise failed(404, "not_found", "The requested resource was not found")

    def given(self, request, known):
        given = request.json(failed(400, "bad_request", "The JSON you provided could not be parsed"))
        for name, value in given.items():
            if name not in known:
                raise failed(400, "parameter_invalid", f"{name} is not a known parameter (stand-in: Intercom would pass it over)")
            if not isinstance(value, known[name]) or (isinstance(value, bool) and known[name] is not bool):
                raise failed(400, "type_mismatch", f"{name} should be of type {known[name].__name__}")
        # "Custom data attributes": only those that the workspace has.
        for name, value in given.get("custom_attributes", {}).items():
            if name not in ATTRIBUTES:
                raise failed(400, "parameter_invalid", f"Custom attribute '{name}' does not exist")
            if not isinstance(value, ATTRIBUTES[name]):
                raise failed(400, "parameter_invalid", f"Custom attribute '{name}' is not of its type")
        if "email" in given and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", given["email"]):
            raise failed(400, "parameter_invalid", "email is invalid")
        return given

    def find(self, id):
        for contact in self.effects:
            if contact["id"] == id:
                return contact
        raise failed(404, "not_found", "User Not Found")

    def conflict(self, given, besides=None):
        # "Create contact", 409, and pull request 543 (archived duplicates).
        for before, known in (("A contact", self.effects), ("An archived contact", self.archived)):
            for contact in known:
                same = any(given.get(name) and given[name] == contact.get(name) for name in ("external_id", "email"))
                if contact is not besides and same:
                    raise failed(409, "conflict", f"{before} matching those details already exists with id={contact['id']}")

    def created(self, given):
        if given.get("role", "user") not in ("user", "lead"):
            raise failed(400, "parameter_invalid", "role must be user or lead")
        if given.get("role", "user") == "user" and not given.get("email") and not given.get("external_id"):
            raise failed(400, "parameter_not_found", "email or external_id is required")
        self.conflict(given)
        id = f"5ba682d23d7cf92b{len(self.effects) + len(self.archived) + 1:08}"
        contact = {"type": "contact", "id": id, "role": "user", "email": None, "external_id": None, "name": None, **given}
        self.effects.append(contact)
        return 200, contact

    def found(self, given):
        query = given.get("query", {})
        if not {"field", "operator", "value"} <= set(query):
            raise failed(400, "parameter_invalid", "query needs field, operator and value")
        if query["operator"] not in ("=", "!=", "<", ">", "~", "!~", "^", "$", "IN", "NIN"):
            raise failed(400, "invalid_operator", "operator is not known")
        found = [one for one in self.effects if one.get(query["field"]) == query["value"]]
        page = given.get("pagination", {})
        size, start = page.get("per_page", 50), int(page.get("starting_after") or 0)
        if size > 150:
            raise failed(400, "parameter_invalid", "Per Page is too big")
        more = {"next": {"per_page": size, "starting_after": str(start + size)}} if start + size < len(found) else {}
        return 200, {"type": "list", "data": found[start : start + size], "total_count": len(found), "pages": {"type": "pages", **more}}


if __name__ == "__main__":
    serve(Intercom())
