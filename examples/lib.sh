# What the `try` scripts share; each begins with `source ../lib.sh`. They work on a copy of their folder in a temporary
# place, with Millstream and the stand-in of target.py on ports of their own, and leave nothing behind.
# shellcheck shell=bash
set -Eeuo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
examples=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
millstream=${MILLSTREAM:-${CARGO_TARGET_DIR:-$examples/../target}/debug/millstream}
[ -x "$millstream" ] || { echo "there is no $millstream: run \`cargo build\`, or set MILLSTREAM" >&2; exit 1; }
millstream=$(realpath "$millstream")
unset MILLSTREAM_DIR MILLSTREAM_DATA MILLSTREAM_LISTEN MILLSTREAM_ADMIN MILLSTREAM_LOG
# Nothing here leaves this machine.
export no_proxy=127.0.0.1 NO_PROXY=127.0.0.1
# The program itself: a launcher before it would cost more than all else here. Nor does it need what is installed for it.
python=${EXAMPLES_PYTHON:-$(python3 -c 'import sys; print(sys.executable)')}
python3() { "$python" -IS "$@"; }
work=$(mktemp -d)
folder=$work/$(basename "$here")
pids=()
shown=0

ended() {
    local code=$? pid
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    rm -rf "$work"
    exit "$code"
}
trap ended EXIT
trap 'exit 130' INT TERM

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    if [ -s "$work/serve.err" ]; then printf -- '-- the last of the log\n' >&2; tail -n 12 "$work/serve.err" >&2; fi
    exit 1
}
trap 'fail "line $LINENO of $0: $BASH_COMMAND"' ERR

# Tries a condition until it holds, 30 s at most: `until_true "what is waited for" command …`
until_true() {
    local what=$1 end=$((SECONDS + 30))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || fail "waited 30 s in vain: $what"
        sleep 0.03
    done
}

# A text at the top of a JSON document on stdin, without starting a program for it.
text() { [[ "$(cat)" =~ \"$1\":\ ?\"([^\"]*)\" ]] && printf '%s' "${BASH_REMATCH[1]}"; }

# One value of a JSON document on stdin: `json body.id`, `json 0.run_id`; a text is shown without quotes.
json() {
    python3 -c '
import json, sys
value = json.load(sys.stdin)
for part in sys.argv[1].split("."):
    value = value[int(part)] if isinstance(value, list) else value.get(part)
print(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":")))' "$1"
}

# A statement on a SQLite file of the folder; prints the rows, columns divided by `|`.
sql() {
    python3 -c '
import sqlite3, sys
with sqlite3.connect(sys.argv[1], timeout=10) as db:
    for row in db.execute(sys.argv[2]):
        print("|".join("" if value is None else str(value) for value in row))' "$folder/$1" "$2"
}

# Starts the stand-in, and copies the folder to work in; $target is its URL.
begin() {
    mkdir "$folder"
    cp -R "$here/." "$folder"
    rm -rf "$folder/.millstream"
    rm -f "$folder"/*.db*
    # It ends when its stdin does, which is this script's: nothing outlives it.
    mkfifo "$work/alive"
    "$python" -IS "$examples/target.py" <"$work/alive" >"$work/target.out" 2>"$work/target.err" &
    pids+=("$!")
    exec 9>"$work/alive"
    until_true "the stand-in" test -s "$work/target.out"
    target=$(text url <"$work/target.out")
}

# Points connections to the stand-in, in the copy: their own `base_url` replaces that of settings and connector.
point() {
    local name
    for name in "$@"; do
        grep -q "^$name:" "$folder/connections.yaml" || fail "connections.yaml has no $name"
        sed -i "s|^$name:.*|&\n  base_url: $target/$name|" "$folder/connections.yaml"
    done
}

# Changes the copy: `change flows/a.yaml 's/15s/100ms/'`. A change that changes nothing is a fault.
change() {
    cp "$folder/$1" "$work/before"
    sed -i -E "$2" "$folder/$1"
    ! cmp -s "$folder/$1" "$work/before" || fail "$2 changes nothing in $1"
    # Its tests are of the file as it was; they are played elsewhere.
    rm -rf "$folder/tests"
}

cli() { "$millstream" "$@" --dir "$folder" --data "$work/data" 2>"$work/cli.err" || { cat "$work/cli.err" >&2; return 1; }; }

# Starts a flow by hand and tells its run: `by_hand report --input month=2026-01`; sets $run and $story.
by_hand() {
    "$millstream" run "$@" --json --dir "$folder" --data "$work/data" >"$work/ran" 2>"$work/cli.err" || true
    run=$(text run_id <"$work/ran") || fail "millstream run $1: $(cat "$work/cli.err")"
    story "$run"
}

# Puts a secret into the vault: `secret CRM_TOKEN crm-token`.
secret() { printf '%s' "$2" | cli secret set "$1"; }

# Serves the copy; sets $admin and $token.
serve() {
    cli check --strict >"$work/check.out" || { cat "$work/check.out" >&2; fail "the files have problems"; }
    "$millstream" serve --json --listen 127.0.0.1:0 --admin 127.0.0.1:0 --dir "$folder" --data "$work/data" \
        >"$work/serve.out" 2>"$work/serve.err" 9>&- &
    server=$!
    pids+=("$server")
    serving() { kill -0 "$server" 2>/dev/null || fail "serve has ended"; [ -s "$work/serve.out" ]; }
    until_true "millstream serve" serving
    admin=$(text admin <"$work/serve.out")
    token=$(cat "$work/data/admin.token")
}

api() { curl -sS --fail-with-body --max-time 30 -H "Authorization: Bearer $token" "${@:2}" "$admin/api/v1$1"; }

# A flow's URL.
hook() { api "/flows/$1/url" | text url; }

# Posts to a URL: `post "$url" '{"a": 1}' [curl's options]`; sets $status, $answer and $run, and says so.
post() {
    local said=${2:0:200} kind=(-H 'content-type: application/json')
    [ "$said" = "$2" ] || said="$said…"
    [[ "${*:3}" != *content-type:* ]] || kind=()
    curl -sS --max-time 60 -D "$work/head" -o "$work/body" -w '%{http_code}' "${kind[@]}" "${@:3}" -d "$2" "$1" >"$work/status"
    status=$(cat "$work/status")
    answer=$(cat "$work/body")
    run=$(tr -d '\r' <"$work/head" | sed -n 's/^x-run-id: //Ip')
    printf 'in    %s\n      answered %s %s\n' "$said" "$status" "$answer"
}

# Waits until a run has a status (an end, unless named), and tells it step by step; sets $story.
story() {
    story=$(python3 -c '
import http.client, json, sys, time
admin, token, run, wanted = sys.argv[1:]
ends = ["succeeded", "failed", "cancelled", "timed_out", "rejected"]
end = time.monotonic() + 30
while True:
    server = http.client.HTTPConnection(admin.split("//")[1], timeout=10)
    server.request("GET", f"/api/v1/runs/{run}", headers={"Authorization": f"Bearer {token}"})
    told = json.load(server.getresponse())
    if told["status"] == wanted or told["status"] in ends or (not wanted and told["status"] == "held"):
        break
    if time.monotonic() > end:
        break
    time.sleep(0.02)
print("run   {}: {}".format(told["flow"], told["status"]))
for step in told["steps"]:
    line = "      {} {}".format(step["id"], step["status"])
    attempts = len(step.get("attempts", []))
    if attempts > 1:
        line += f", {attempts} attempts"
    if "error" in step:
        line += ": {code}: {message}".format(**step["error"])
    print(line)' "$admin" "$token" "$1" "${2:-}")
    printf '%s\n' "$story"
    [[ "$story" == *": ${2:-succeeded}"$'\n'* || "$story" == *": ${2:-succeeded}" ]] ||
        fail "run $1 should be ${2:-succeeded}; see \`${story%%$'\n'*}\`"
}

# Shows what the stand-in got since the last time; sets $calls. `calls_so_far` shows nothing and forgets nothing.
calls() {
    calls=$(curl -sS --fail-with-body "$target/_seen?after=$shown")
    [ -z "$calls" ] || { shown=$((shown + $(wc -l <<<"$calls"))); sed 's/^/out   /' <<<"$calls"; }
}
calls_so_far() { curl -sS --fail-with-body "$target/_seen"; }

# The next answers of the stand-in: `next '{"POST /mail/messages": [503]}'`.
next() { curl -sS --fail-with-body -d "$1" "$target/_next"; }

# Checks. What is wanted is a text that must be equal, a part that must be there, or one that must not.
same() { [ "$2" = "$3" ] || fail "$1: expected \`$3\`, got \`$2\`"; }
has() { [[ "$2" == *"$3"* ]] || fail "$1: expected \`$3\` in:
$2"; }
lacks() { [[ "$2" != *"$3"* ]] || fail "$1: \`$3\` should not be in:
$2"; }
count() { grep -cF -- "$2" <<<"$1" || true; }
say() { printf '\n%s\n' "$*"; }
