"""GitHub: Prism judges each request by GitHub's own OpenAPI document (npm @octokit/openapi); beside it stands what a document cannot hold.

"Rate limits for the REST API", "Using pagination in the REST API", "Authenticating to the REST API", and the
descriptions of the document itself ("Create an issue": 410 where issues are switched off).
"""

import json

import child
from prism import Prism, cut
from standin import Refused, Vendor, serve

TOKEN = "github-test-token"
ISSUES = "/repos/{owner}/{repo}/issues"
PATHS = [
    "/user",
    ISSUES,
    f"{ISSUES}/{{issue_number}}",
    f"{ISSUES}/{{issue_number}}/comments",
    "/repos/{owner}/{repo}/dispatches",
    "/repos/{owner}/{repo}/actions/workflows/{workflow_id}/dispatches",
]


def no(status, message, **more):
    return Refused(status, {"message": message, "documentation_url": "https://docs.github.com/rest", "status": str(status), **more})


class GitHub(Vendor):
    def __init__(self):
        #: Which repositories there are, and whether they have issues.
        self.repositories = {"acme/app": True, "acme/wiki": False}
        self.issues = {}
        self.comments = 0
        document = child.INSTALLED / "specs" / "github.json"
        self.prism = Prism(cut(json.loads(document.read_text()), PATHS))

    def effects(self):
        return [issue for issues in self.issues.values() for issue in issues]

    def handle(self, request):
        # "Getting started with the REST API": requests without a User-Agent are refused.
        if not request.headers.get("user-agent"):
            raise no(403, "Request forbidden by administrative rules. Please make sure your request has a User-Agent header")
        # "Authenticating to the REST API": 401 for a wrong token, and 404 for what is private where none is sent.
        if "authorization" not in request.headers:
            raise no(404 if request.path != "/user" else 401, "Not Found" if request.path != "/user" else "Requires authentication")
        if request.headers["authorization"] not in (f"Bearer {TOKEN}", f"token {TOKEN}"):
            raise no(401, "Bad credentials")
        # "API Versions": a version that is not there is 400.
        if request.headers.get("x-github-api-version", "2022-11-28") != "2022-11-28":
            raise no(400, "The requested API version is not supported.")
        if request.raw and request.media() != "application/json":
            raise no(415, "Unsupported Media Type")
        if request.raw:
            try:
                json.loads(request.raw)
            except ValueError:
                raise no(400, "Problems parsing JSON") from None
        repository = None
        if request.segments[0] == "repos":
            if len(request.segments) < 4:
                raise no(404, "Not Found")
            repository = "/".join(request.segments[1:3])
            if repository not in self.repositories:
                raise no(404, "Not Found")
        status, example = self.prism.judge(request)
        if status == 422:
            # "Troubleshooting the REST API": validation failed. Prism answers with the document's own example.
            raise no(422, "Validation Failed")
        if status in (404, 405):
            raise no(404, "Not Found")
        if status >= 400:
            raise no(status, f"Prism: {json.dumps(example)}")
        if repository is None or request.segments[3] != "issues":
            return status, example
        if not self.repositories[repository]:
            raise no(410, "Issues has been disabled in this repository.")
        return self.issue(request, repository, status, example)

    def issue(self, request, repository, status, example):
        issues = self.issues.setdefault(repository, [])
        rest = request.segments[4:]
        given = json.loads(request.raw) if request.raw else {}
        if not rest and request.method == "POST":
            issue = {
                "id": 1000 + sum(len(one) for one in self.issues.values()), "number": len(issues) + 1, "state": "open",
                "repository": repository, "title": given["title"], "body": given.get("body"), "labels": given.get("labels", []),
                "html_url": f"https://github.com/{repository}/issues/{len(issues) + 1}",
            }
            issues.append(issue)
            return status, self.shown(example, issue), {"x-ratelimit-remaining": "4999"}
        if not rest:
            return self.listed(request, repository, issues, example)
        if not rest[0].isdigit() or not 0 < int(rest[0]) <= len(issues):
            raise no(404, "Not Found")
        issue = issues[int(rest[0]) - 1]
        if rest[1:] == ["comments"]:
            self.comments += 1
            url = f"{issue['html_url']}#issuecomment-{self.comments}"
            return status, {**example, "id": self.comments, "body": given["body"], "html_url": url}
        issue.update({name: value for name, value in given.items() if name in issue})
        return status, self.shown(example, issue)

    def shown(self, example, issue):
        labels = [{"id": number, "name": name} for number, name in enumerate(issue["labels"])]
        return {**example, **{name: value for name, value in issue.items() if name != "repository"}, "labels": labels}

    def listed(self, request, repository, issues, example):
        # "List repository issues": the newest first, open ones unless asked otherwise.
        state = request.query.get("state", "open")
        wanted = set(filter(None, request.query.get("labels", "").split(",")))
        found = [one for one in reversed(issues) if state in ("all", one["state"]) and wanted <= set(one["labels"])]
        size, page = int(request.query.get("per_page", 30)), int(request.query.get("page", 1))
        shown = [self.shown(example[0], one) for one in found[(page - 1) * size : page * size]]
        headers = {}
        if page * size < len(found):
            # "Using pagination in the REST API": the Link header names the next page; the URL is not to be built by hand.
            others = "&".join(f"{name}={value}" for name, value in request.query.items() if name != "page")
            here = f"http://{request.headers['host']}{request.path}"
            headers["Link"] = f'<{here}?{others}&page={page + 1}>; rel="next", <{here}?{others}&page=99>; rel="last"'
        return 200, shown, headers


if __name__ == "__main__":
    serve(GitHub())
