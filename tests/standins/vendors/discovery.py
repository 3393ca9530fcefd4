"""Google's own description of one of its APIs (a discovery document; PyPI: google-api-python-client), as far as requests go."""

import json
import os


class Discovery:
    def __init__(self, name):
        """`name` as in chat.v1; tests/standins/setup puts the documents into specs/."""
        with open(os.path.join(os.environ["MILLSTREAM_STANDINS"], "specs", f"{name}.json"), encoding="utf-8") as file:
            self.whole = json.load(file)

    def method(self, *path):
        """The method at resources "spaces", "messages", "create"."""
        *resources, name = path
        at = self.whole
        for resource in resources:
            at = at["resources"][resource]
        return at["methods"][name]

    def unknown_query(self, method, query):
        """The first name of the query that neither the method nor the whole API has; None if there is none."""
        known = set(self.whole["parameters"])
        known |= {name for name, one in method["parameters"].items() if one["location"] == "query"}
        return next((name for name in query if name not in known), None)

    def problems(self, value, schema, at=""):
        """What a value has that the schema (by name, or one of its parts) does not: (path, what)."""
        if isinstance(schema, str):
            schema = self.whole["schemas"][schema]
        if "$ref" in schema:
            schema = self.whole["schemas"][schema["$ref"]]
        kind = schema.get("type", "any")
        if kind == "array":
            if not isinstance(value, list):
                return [(at, "is not a list")]
            parts = [self.problems(one, schema["items"], f"{at}[{index}]") for index, one in enumerate(value)]
            return [problem for part in parts for problem in part]
        if kind == "object":
            if not isinstance(value, dict):
                return [(at, "is not an object")]
            found = []
            for name, one in value.items():
                path = f"{at}.{name}" if at else name
                part = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
                found += [(path, "is not known")] if part is None else self.problems(one, part, path)
            return found
        kinds = {"string": str, "boolean": bool, "integer": int, "number": (int, float)}
        if kind in kinds and (not isinstance(value, kinds[kind]) or (isinstance(value, bool) and kind != "boolean")):
            return [(at, f"is no {kind}")]
        if "enum" in schema and value not in schema["enum"]:
            return [(at, f"is none of {', '.join(schema['enum'])}")]
        return []
