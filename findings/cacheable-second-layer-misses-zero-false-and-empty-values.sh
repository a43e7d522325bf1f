#!/usr/bin/env bash
# cacheable takes 0, false, "" and null in its second layer for misses, and loads them again.
#
# Versions: cacheable 2.5.0, keyv 5.6.0.
# Behaviour: with a shared second layer, get() and getOrSet() of an instance that does not hold the
#   key in memory ignore a stored value that JavaScript counts as false, so the loader runs again in
#   every process and after every restart. has() and getMany() of the same instance find the value,
#   and so does get() where memory holds it: tests with one instance pass.
# Usual guess: only undefined is a miss, in every layer and for every method.
# Who meets it: services that share counters, flags, empty results or "does not exist" between
#   processes: the cached absence that should spare the database does not.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm install --prefix "$work" --silent --no-audit --no-fund cacheable@2.5.0 keyv@5.6.0

cat >"$work/try.mjs" <<'JS'
import { Cacheable } from "cacheable";
import { Keyv } from "keyv";

// Each stored value, and whether another process's get() finds it.
const CASES = [[0, false], [false, false], ["", false], [null, false], [1, true], ["0", true]];

const found = [];
for (const [value, isFound] of CASES) {
  const shared = new Map();
  const startProcess = () => new Cacheable({ secondary: new Keyv({ store: shared }) });
  const writer = startProcess();
  await writer.set("key", value);

  let loads = 0;
  await startProcess().getOrSet("key", async () => {
    loads += 1;
    return value;
  });
  const seen = {
    writer: (await writer.get("key")) === value,
    has: await startProcess().has("key"),
    getMany: (await startProcess().getMany(["key"]))[0] !== undefined,
    get: (await startProcess().get("key")) !== undefined,
    loads,
  };
  console.log(`cacheable 2.5.0, ${JSON.stringify(value)} in the second layer: ${JSON.stringify(seen)}`);
  const expected = { writer: true, has: true, getMany: true, get: isFound, loads: isFound ? 0 : 1 };
  found.push(JSON.stringify(seen) === JSON.stringify(expected));
}
if (found.includes(false)) {
  console.error("the behaviour has changed");
  process.exit(1);
}
JS
node "$work/try.mjs"
