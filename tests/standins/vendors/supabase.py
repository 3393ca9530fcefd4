"""Supabase's data API (PostgREST): the table `leads`, whose email is unique."""

import re

from standin import Refused, Vendor, serve

KEY = "sb_secret_test"
COLUMNS = {"id": int, "email": str, "company": str, "seats": int}


def error(status, code, message, details=None, hint=None):
    # "Errors" of PostgREST: code, message, details and hint, as PostgreSQL has them.
    return Refused(status, {"code": code, "details": details, "hint": hint, "message": message})


class Supabase(Vendor):
    def __init__(self):
        self.rows = []

    def effects(self):
        return self.rows

    def handle(self, request):
        # "API keys": each request carries one. The gateway's words are from memory.
        if request.headers.get("apikey") != KEY:
            raise Refused(401, {"message": "Invalid API key", "hint": "Double check your Supabase `anon` or `service_role` API key."})
        # "OpenAPI" of PostgREST: the root describes the tables.
        if request.method == "GET" and [part for part in request.segments if part] == ["rest", "v1"]:
            return 200, {"swagger": "2.0", "info": {"title": "standard public schema"}, "paths": {"/leads": {}}}
        if request.segments[:2] != ["rest", "v1"] or len(request.segments) != 3:
            raise error(404, "PGRST125", "Invalid path specified in request URL")
        if request.segments[2] != "leads":
            what = f"Could not find the table 'public.{request.segments[2]}' in the schema cache"
            raise error(404, "PGRST205", what)
        for name in request.query:
            if name not in ("on_conflict", "and", "select", "order", "offset", "limit"):
                raise error(400, "PGRST100", f'"failed to parse filter ({request.query[name]})"')
        act = {"POST": self.insert, "PATCH": self.update, "GET": self.select, "DELETE": self.delete}.get(request.method)
        if not act:
            raise error(405, "PGRST117", f"Unsupported HTTP method: {request.method}")
        return act(request)

    def checked(self, row):
        if not isinstance(row, dict):
            raise error(400, "PGRST102", "Empty or invalid json")
        for name, value in row.items():
            if name not in COLUMNS:
                raise error(400, "PGRST204", f"Could not find the '{name}' column of 'leads' in the schema cache")
            if COLUMNS[name] is int and value is not None and not re.fullmatch(r"-?\d+", str(value)):
                raise error(400, "22P02", f'invalid input syntax for type integer: "{value}"')
        return {name: int(value) if COLUMNS[name] is int and value is not None else value for name, value in row.items()}

    def body(self, request):
        return request.json(error(415, "PGRST102", "Content-Type not acceptable"))

    def insert(self, request):
        """ "Upserts with PostgREST": Prefer says what becomes of duplicates, on_conflict which columns tell them."""
        given = self.body(request)
        rows = [self.checked(row) for row in (given if isinstance(given, list) else [given])]
        prefer = request.headers.get("prefer", "")
        keys = (request.query.get("on_conflict") or "id").split(",")
        if not set(keys) <= {"id", "email"}:
            raise error(400, "42P10", "there is no unique or exclusion constraint matching the ON CONFLICT specification")
        done = []
        for row in rows:
            if row.get("email") is None:
                raise error(400, "23502", 'null value in column "email" of relation "leads" violates not-null constraint')
            same = [known for known in self.rows if all(known[key] == row.get(key) for key in keys)]
            clash = [known for known in self.rows if known["email"] == row["email"]]
            if same and "merge-duplicates" in prefer:
                same[0].update(row)
                done.append(same[0])
            elif same and "ignore-duplicates" in prefer:
                continue
            elif same or clash:
                raise error(409, "23505", 'duplicate key value violates unique constraint "leads_email_key"', f"Key (email)=({row['email']}) already exists.")
            else:
                self.rows.append({"id": len(self.rows) + 1, "company": None, "seats": None, **row})
                done.append(self.rows[-1])
        return 201, done if "return=representation" in prefer else None

    def found(self, request, needed):
        text = request.query.get("and")
        if text is None:
            if needed:
                raise error(400, "21000", f"{request.method} requires a WHERE clause")
            return list(self.rows)
        parts = re.fullmatch(r"\((?:(\w+)\.(eq|gt|lt)\.([^,()]*))(?:,(\w+)\.(eq|gt|lt)\.([^,()]*))?\)", text)
        if not parts:
            raise error(400, "PGRST100", f'"failed to parse logic tree ({text})"')
        found = list(self.rows)
        for name, how, value in zip(parts.groups()[0::3], parts.groups()[1::3], parts.groups()[2::3]):
            if name is None:
                continue
            if name not in COLUMNS:
                raise error(400, "42703", f"column leads.{name} does not exist")
            value = COLUMNS[name](value)
            holds = {"eq": lambda a, b: a == b, "gt": lambda a, b: a is not None and a > b, "lt": lambda a, b: a is not None and a < b}[how]
            found = [row for row in found if holds(row[name], value)]
        return found

    def update(self, request):
        values = self.checked(self.body(request))
        found = self.found(request, True)
        for row in found:
            row.update(values)
        return 200, found

    def select(self, request):
        start = int(request.query.get("offset", "0"))
        return 200, self.found(request, False)[start : start + int(request.query.get("limit", "1000"))]

    def delete(self, request):
        found = self.found(request, True)
        self.rows = [row for row in self.rows if row not in found]
        return 200, found


serve(Supabase())
