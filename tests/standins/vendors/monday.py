"""monday.com's GraphQL API: graphql-core over the part of the schema that the pages describe.

"Items" (create_item), "Guide to changing column values" (values are a text that holds JSON), "Error handling" (errors with
status 200, partial data), "Authentication" (the token alone, or with Bearer).
"""

import json
import pathlib
import re
import sys

import child

# The stand-ins' packages, whichever Python runs this.
sys.path.extend(str(folder) for folder in pathlib.Path(child.INSTALLED).glob("venv/lib/python*/site-packages"))

from graphql import GraphQLError, build_schema, graphql_sync  # noqa: E402

from standin import Refused, Vendor, serve  # noqa: E402

TOKEN = "monday-test-token"
SCHEMA = """
    scalar JSON
    type Query { me: User boards(limit: Int = 25, page: Int = 1): [Board] items(ids: [ID!], limit: Int = 25): [Item] }
    type Mutation {
        create_item(
            board_id: ID! item_name: String! group_id: String column_values: JSON create_labels_if_missing: Boolean
        ): Item
        change_multiple_column_values(board_id: ID! item_id: ID! column_values: JSON! create_labels_if_missing: Boolean): Item
        create_update(item_id: ID! body: String! parent_id: ID): Update
    }
    type User { id: ID! name: String! }
    type Board { id: ID! name: String! }
    type Item { id: ID! name: String! url: String! }
    type Update { id: ID! body: String! }
"""
BOARD = {"id": "7001", "name": "Onboarding"}
LABELS = {"New", "Working on it", "Done"}


def refused(message, code):
    return GraphQLError(message, extensions={"code": code, "status_code": 200, "error_data": {}})


class Monday(Vendor):
    def __init__(self):
        super().__init__()
        self.schema = build_schema(SCHEMA)
        self.updates = []

    def handle(self, request):
        if request.path != "/v2" or request.method != "POST":
            raise Refused(404, "Not Found")
        if request.headers.get("authorization", "").removeprefix("Bearer ") != TOKEN:
            raise Refused(401, {"errors": ["Not Authenticated"]})
        if not re.fullmatch("20[0-9]{2}-(01|04|07|10)", request.headers.get("api-version", "2026-10")):
            raise Refused(400, {"errors": [{"message": "Invalid version", "extensions": {"code": "InvalidVersionException"}}]})
        given = request.json(Refused(400, {"errors": [{"message": "Invalid JSON", "extensions": {"code": "JsonParseException"}}]}))
        answer = graphql_sync(self.schema, given.get("query", ""), root_value=self, variable_values=given.get("variables") or {})
        body = {"data": answer.data, "extensions": {"request_id": "standin"}}
        if answer.errors:
            body["errors"] = [one.formatted for one in answer.errors]
        return 200, body

    # The resolvers, which graphql-core calls by the names of the fields.

    def me(self, _):
        return {"id": "1", "name": "Millstream"}

    def boards(self, _, **__):
        return [BOARD]

    def items(self, _, ids=None, **__):
        return [one for one in self.effects if ids is None or one["id"] in ids]

    def create_item(self, _, board_id, item_name, group_id="topics", column_values=None, create_labels_if_missing=False):
        if board_id != BOARD["id"]:
            raise refused("Board not found", "InvalidBoardIdException")
        if not 1 <= len(item_name) <= 255:
            raise refused("Item name exceeds 255 characters", "ItemNameTooLongException")
        if group_id not in ("topics", "group_title"):
            raise refused("Group not found", "ResourceNotFoundException")
        columns = self.columns(column_values, create_labels_if_missing)
        id = str(100 + len(self.effects))
        item = {"id": id, "name": item_name, "columns": columns, "url": f"https://acme.monday.com/boards/7001/pulses/{id}"}
        self.effects.append(item)
        return item

    def change_multiple_column_values(self, _, board_id, item_id, column_values, create_labels_if_missing=False):
        item = self.find(item_id)
        item["columns"].update(self.columns(column_values, create_labels_if_missing))
        return item

    def create_update(self, _, item_id, body, parent_id=None):
        self.find(item_id)
        self.updates.append({"id": str(500 + len(self.updates)), "body": body})
        return self.updates[-1]

    def find(self, id):
        for item in self.effects:
            if item["id"] == id:
                return item
        raise refused("Item not found", "ResourceNotFoundException")

    def columns(self, text, new_labels):
        # The JSON scalar is a text; an object is what people send by mistake.
        if text is None:
            return {}
        if not isinstance(text, str):
            raise refused("Invalid type, expected a JSON string", "InvalidArgumentException")
        try:
            columns = json.loads(text)
        except ValueError:
            raise refused("Unable to parse column values", "JsonParseException") from None
        for name, value in columns.items():
            if name not in ("status", "date4", "text"):
                raise refused(f"This column ID doesn't exist for the board: {name}", "InvalidColumnIdException")
            if name == "status" and value.get("label") not in LABELS and not new_labels:
                raise refused("invalid value - label does not exist in column. Please check our API documentation", "ColumnValueException")
            if name == "date4" and not re.fullmatch(r"\d{4}-\d\d-\d\d|", value.get("date", "")):
                raise refused("invalid value - please check our API documentation for the correct data structure", "ColumnValueException")
        return columns


if __name__ == "__main__":
    serve(Monday())
