"""Salesforce's Web-to-Lead servlet, with what misleads callers: nearly everything is answered 200 with an empty page.

- an org's id that is none, or a field that is missing: 200 with the header Is-Processed and an exception in it, and no lead
  ("Post Leads to SFDC via JS Fetch API & Web-to-Lead", a gist of johndturn)
- a duplicate rule keeps a lead out: 200, and not a word ("duplicate rules block Web-to-Lead", Salesforce Help; the org's
  owner gets a mail)
- no credentials, no key of a call: the same form twice is two leads
"""

import re

from standin import Vendor, serve

OID = "00D5e000000AbCd"
FIELDS = {
    "oid",
    "retURL",
    "first_name",
    "last_name",
    "company",
    "email",
    "phone",
    "title",
    "city",
    "state",
    "country",
    "zip",
    "url",
    "lead_source",
    "description",
    "Campaign_ID",
    "member_status",
    "debug",
    "debugEmail",
    "00N5e00000XyZ01",
}
PAGE = {"Content-Type": "text/html;charset=UTF-8", "Is-Processed": "true"}
REFUSED = {**PAGE, "Is-Processed": "true Exception:common.exception.SalesforceGenericException"}


class WebToLead(Vendor):
    def handle(self, request):
        if request.path != "/servlet/servlet.WebToLead":
            return 404, "<html><body>Not found</body></html>", {"Content-Type": "text/html"}
        if request.method != "POST" or request.media() != "application/x-www-form-urlencoded":
            return 200, b"", REFUSED
        if request.query.get("encoding") != "UTF-8":
            return 200, b"", REFUSED
        form = request.form(None)
        if form.get("oid") != OID or not form.get("last_name") or not form.get("company"):
            return 200, b"", REFUSED
        unknown = [name for name in form if name not in FIELDS]
        if unknown or not re.fullmatch(r"[^@\s]*(@[^@\s]+)?", form.get("email", "")):
            return 200, b"", REFUSED
        if any(
            lead.get("email") == form["email"]
            for lead in self.effects
            if form.get("email") and lead.get("company") != form["company"]
        ):
            # A duplicate rule: nothing is said.
            return 200, b"", PAGE
        self.effects.append(form)
        return 200, b"", PAGE


serve(WebToLead())
