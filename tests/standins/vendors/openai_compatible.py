"""OpenAI's chat API without a model: "API reference" (Create chat completion, Create embeddings, List models), "Error codes".

What it answers is no language: a JSON object with the length of what was asked.
"""

import json

from standin import Refused, Vendor, serve

KEY = "sk-standin"
MODELS = {"standin-1": "chat", "gpt-4o-mini": "chat", "standin-embed": "embed"}
NUMBER = (int, float)
CHAT = {
    "model": str, "messages": list, "temperature": NUMBER, "top_p": NUMBER, "max_tokens": int, "max_completion_tokens": int, "n": int,
    "response_format": dict, "tools": list, "tool_choice": (str, dict), "stop": (str, list), "seed": int, "user": str, "stream": bool,
}
EMBED = {"model": str, "input": (str, list), "dimensions": int, "user": str}


def failed(status, message, kind="invalid_request_error", code=None, param=None):
    return Refused(status, {"error": {"message": message, "type": kind, "param": param, "code": code}})


class OpenAi(Vendor):
    def handle(self, request):
        # "Error codes": 401 Invalid Authentication.
        shown = request.headers.get("authorization", "")
        if not shown.startswith("Bearer "):
            raise failed(401, "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth")
        if shown != f"Bearer {KEY}":
            raise failed(401, "Incorrect API key provided: sk-****.", code="invalid_api_key")
        asked = (request.method, request.path)
        if asked == ("GET", "/v1/models"):
            return 200, {"object": "list", "data": [{"id": name, "object": "model"} for name in MODELS]}
        if asked == ("POST", "/v1/chat/completions"):
            return self.chat(self.given(request, CHAT, "chat"))
        if asked == ("POST", "/v1/embeddings"):
            given = self.given(request, EMBED, "embed")
            texts = [given["input"]] if isinstance(given["input"], str) else given["input"]
            data = [{"object": "embedding", "index": at, "embedding": [float(len(text)), 1.0]} for at, text in enumerate(texts)]
            return 200, {"object": "list", "data": data, "model": given["model"], "usage": {"prompt_tokens": 1, "total_tokens": 1}}
        raise failed(404, f"Invalid URL ({request.method} {request.path})")

    def given(self, request, known, kind):
        given = request.json(failed(400, "We could not parse the JSON body of your request."))
        for name, value in given.items():
            if name not in known:
                raise failed(400, f"Unrecognized request argument supplied: {name}")
            if not isinstance(value, known[name]) or (isinstance(value, bool) and known[name] is not bool):
                raise failed(400, f"Invalid type for '{name}'.", code="invalid_type", param=name)
        for name in ("model", "messages" if kind == "chat" else "input"):
            if name not in given:
                raise failed(400, f"Missing required parameter: '{name}'.", code="missing_required_parameter", param=name)
        if MODELS.get(given["model"]) != kind:
            raise failed(404, f"The model `{given['model']}` does not exist or you do not have access to it.", code="model_not_found")
        return given

    def chat(self, given):
        if not 0 <= given.get("temperature", 1) <= 2:
            raise failed(400, "Invalid 'temperature': decimal above maximum value.", code="decimal_above_max_value", param="temperature")
        if not given["messages"]:
            raise failed(400, "Invalid 'messages': empty array.", code="empty_array", param="messages")
        for at, message in enumerate(given["messages"]):
            if message.get("role") not in ("system", "developer", "user", "assistant", "tool"):
                raise failed(400, f"Invalid value: '{message.get('role')}'.", code="invalid_value", param=f"messages[{at}].role")
            if message["role"] in ("system", "user") and not isinstance(message.get("content"), (str, list)):
                raise failed(400, f"Invalid value for 'content': expected a string, got {message.get('content')!r}.", param=f"messages[{at}].content")
        # "JSON mode": the word JSON must be among the messages.
        words = json.dumps(given["messages"])
        if given.get("response_format", {}).get("type") == "json_object" and "json" not in words.lower():
            raise failed(400, "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.", param="messages")
        self.effects.append(given)
        said = {"role": "assistant", "content": json.dumps({"mood": "mixed", "letters": len(words)}), "refusal": None}
        return 200, {
            "id": f"chatcmpl-{len(self.effects)}", "object": "chat.completion", "created": 1767603600, "model": given["model"],
            "choices": [{"index": 0, "message": said, "logprobs": None, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": len(words) // 4, "completion_tokens": 8, "total_tokens": len(words) // 4 + 8},
        }


if __name__ == "__main__":
    serve(OpenAi())
