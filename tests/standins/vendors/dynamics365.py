"""Dynamics 365: the Dataverse Web API and Entra ID's token endpoint, which `dataverse.py` and `entra.mjs` beside this folder
are, real OData and OAuth 2 servers behind the vendor's checks, with the door that all stand-ins here have.

Says {"port", "dataverse", "entra"}: calls go to `port`; a token is asked for the resource http://127.0.0.1:{dataverse}, as
the environment's own address, at http://127.0.0.1:{entra}/token. Two accounts are there from the beginning.

What misleads callers (pages named in dataverse.py): a duplicate is status 500; 412 is a row that an earlier attempt made;
a lookup is written as x@odata.bind and read as _x_value; a next page is a whole URL.
"""

import json
import os
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path

from standin import Vendor, proxy, serve

CLIENT, SECRET = "client-7", "canary-secret"
HERE = Path(__file__).resolve().parent.parent
PARTS = Path(os.environ.get("MILLSTREAM_STANDINS") or HERE.parent.parent / "target/standins")
ACCOUNTS = {
    "00000000-0000-0000-0000-0000000000a1": {"name": "Contoso", "accountnumber": "C-1"},
    "00000000-0000-0000-0000-0000000000a2": {"name": "O'Brien & Sons", "accountnumber": "O'B-2"},
}


def start(*command):
    """A child that ends when this process does, since its stdin does then; and the port it said."""
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return child, json.loads(child.stdout.readline())["port"]


class Dynamics(Vendor):
    def __init__(self, base):
        self.base = base

    def handle(self, request):
        # With the Host that was asked, so that links to further pages lead here too.
        return proxy(request, self.base, replace_host=False)

    def effects(self):
        with urllib.request.urlopen(f"{self.base}/standin/leads", timeout=5) as answer:
            return json.load(answer)


def fill(base, issuer):
    """Makes the accounts, by the same door as everyone."""
    form = {
        "grant_type": "client_credentials",
        "client_id": CLIENT,
        "client_secret": SECRET,
        "scope": f"{base}/.default",
    }
    with urllib.request.urlopen(f"{issuer}/token", data=urllib.parse.urlencode(form).encode(), timeout=10) as answer:
        token = json.load(answer)["access_token"]
    headers = {
        "Authorization": f"Bearer {token}",
        "OData-Version": "4.0",
        "OData-MaxVersion": "4.0",
        "Content-Type": "application/json",
    }
    for key, account in ACCOUNTS.items():
        url = f"{base}/api/data/v9.2/accounts({key})"
        urllib.request.urlopen(
            urllib.request.Request(url, data=json.dumps(account).encode(), method="PATCH", headers=headers), timeout=10
        ).close()


children = []
try:
    child, entra = start("node", str(HERE / "entra.mjs"), str(PARTS), CLIENT, SECRET)
    children.append(child)
    child, dataverse = start(str(PARTS / "venv/bin/python"), str(HERE / "dataverse.py"), f"http://127.0.0.1:{entra}")
    children.append(child)
    fill(f"http://127.0.0.1:{dataverse}", f"http://127.0.0.1:{entra}")
    serve(Dynamics(f"http://127.0.0.1:{dataverse}"), {"dataverse": dataverse, "entra": entra})
finally:
    for child in children:
        child.kill()
