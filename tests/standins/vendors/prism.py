"""Prism over a vendor's own OpenAPI document: every request is judged by the document, answers are its examples.

Prism dies of odd media types and of path parameters with dots, so a document is cut to the paths that are used, with
all that these refer to, and to JSON. A schema that its validator cannot compile lets everything through without a word;
`nullable` without a `type` is such a one, so it is said in another way.
"""

import json
import pathlib

import child
from standin import proxy


def cut(document, paths, media=("application/json",), answers=True):
    """The document with these paths only. Without `answers` it is silent on bodies of answers: some documents' own examples break it."""
    kept = {
        "openapi": "3.0.3",
        "info": {"title": document["info"]["title"], "version": str(document["info"]["version"])},
        "paths": {path: dict(document["paths"][path]) for path in paths},
        "components": {},
    }
    for operations in kept["paths"].values() if not answers else ():
        for method, operation in operations.items():
            if isinstance(operation, dict) and "responses" in operation:
                good = [status for status in operation["responses"] if status.startswith("2")]
                operations[method] = {**operation, "responses": {status: {"description": "good"} for status in good}}
    seen, todo = set(), [kept["paths"]]
    while todo:
        for reference in references(todo.pop()):
            if reference in seen:
                continue
            seen.add(reference)
            _, _, kind, name = reference.split("/", 3)
            name = name.replace("~1", "/").replace("~0", "~")
            part = document["components"][kind][name]
            kept["components"].setdefault(kind, {})[name] = part
            todo.append(part)
    return plain(kept, media)


def references(part):
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        part = list(part.values())
    if isinstance(part, list):
        for one in part:
            yield from references(one)


def plain(part, media):
    """Without extensions, links and callbacks, and with no media types but `media`."""
    if isinstance(part, list):
        return [plain(one, media) for one in part]
    if not isinstance(part, dict):
        return part
    kept = {}
    for key, value in part.items():
        if key.startswith("x-") or key in ("callbacks", "links", "externalDocs"):
            continue
        if key == "content" and isinstance(value, dict) and value and all("/" in name for name in value):
            value = {name: value[name] for name in value if name in media}
        kept[key] = plain(value, media)
    if kept.get("nullable") is True and "type" not in kept:
        del kept["nullable"]
        typed = [one for several in ("oneOf", "anyOf") for one in kept.get(several, []) if "type" in one and "enum" not in one]
        if typed:
            typed[0]["nullable"] = True
    return kept


class Prism:
    """One Prism, a child of this process. `--errors`: a request that the document refuses is refused, not answered."""

    def __init__(self, document):
        port = child.free_port()
        file = pathlib.Path(child.folder()) / "openapi.json"
        file.write_text(json.dumps(document))
        script = child.INSTALLED / "node_modules" / "@stoplight" / "prism-cli" / "dist" / "index.js"
        child.start(["node", script, "mock", "--errors", "-h", "127.0.0.1", "-p", str(port), file], port, seconds=90)
        self.base = f"http://127.0.0.1:{port}"

    def judge(self, request, below=""):
        """(status, JSON or None): the document's own example where the request is as the document says.

        `below` is the path of the document's server, which Prism does not look at.
        """
        headers = dict(request.headers, accept="application/json")
        asked = type(request)(request.method, request.target.removeprefix(below), headers.items(), request.raw)
        status, body, _ = proxy(asked, self.base)
        try:
            answer = json.loads(body)
        except ValueError:
            return status, None
        # The request was good, and the document's own example is what its schema refuses.
        wrong = answer.get("validation") if status == 500 and isinstance(answer, dict) else None
        if wrong and all(one["location"][0] == "response" for one in wrong):
            return 200, {}
        return status, answer
