#!/usr/bin/env bash
# hishel 2.0 serves a response that arrived expired, and a response without Date for ever.
#
# Versions: hishel 2.0.0 in its RFC 9111 mode (rfc=True), httpx 0.28.1.
# Behaviour: hishel takes the time since Date as the age of a stored response. It ignores an Age
#   that arrived with the response and overwrites it, and it counts 0 s where Date is missing. With
#   max-age=60, a response that arrived with Age: 100 and a current Date is served for another 60 s
#   as Age: 0; one without Date is still served after a day.
# Usual guess: a cache adds the Age that it received, and counts from the arrival of a response if
#   there is no Date.
# Who meets it: clients behind a CDN or proxy that writes its own Date, and clients of servers
#   without a clock or of minimal frameworks that send no Date.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check hishel==2.0.0 httpx==0.28.1

"$work/venv/bin/python" - "$work" <<'PY'
import email.utils, importlib.metadata, sys, time
import httpx
from hishel import SqliteStorage
from hishel.httpx import CacheTransport

# The cache reads this clock, so no test has to wait.
clock, offset = time.time, 0
time.time = lambda: clock() + offset
sent = 0

def origin(request):
    global sent
    sent += 1
    headers = {"Cache-Control": "max-age=60"}
    if request.url.path != "/without-date":
        headers["Date"] = email.utils.formatdate(time.time(), usegmt=True)
    if request.url.path == "/arrives-expired":
        headers["Age"] = "100"
    return httpx.Response(200, headers=headers, text=f"version {sent}")

storage = SqliteStorage(database_path=f"{sys.argv[1]}/cache.db")
client = httpx.Client(transport=CacheTransport(httpx.MockTransport(origin), storage=storage, rfc=True))

def second_response(path, seconds_later):
    """Fetches twice, and tells whether the second response is from the cache, with which Age."""
    global offset
    offset = 0
    client.get(f"http://origin.test{path}")
    offset = seconds_later
    before = sent
    response = client.get(f"http://origin.test{path}")
    return f"from the cache, Age {response.headers.get('Age')}" if sent == before else "from the origin"

seen = {
    "with Date, 70 s later": second_response("/with-date", 70),
    "arrived with Age: 100, at once": second_response("/arrives-expired", 0),
    "without Date, a day later": second_response("/without-date", 86400),
}
client.close()
print(f"hishel {importlib.metadata.version('hishel')}, a response with max-age=60:")
for case, source in seen.items():
    print(f"  {case}: {source}")
expected = ["from the origin", "from the cache, Age 0", "from the cache, Age 0"]
sys.exit("the behaviour has changed" if list(seen.values()) != expected else 0)
PY
