#!/usr/bin/env bash
# Next.js loses revalidatePath while it rebuilds the same page in the background.
#
# Versions: Next.js 16.4.6, React 19.3.1, Node 22.23.3 (npm `node`), `next start`.
# Behaviour: once a page's `revalidate` time has passed, the next request is answered with the old
#   page and starts a rebuild. Until that rebuild ends, every request gets the old page, also those
#   after a revalidatePath that has returned. The rebuild read its data before that, and yet its
#   result is stored as fresh: the change stays invisible for another whole `revalidate` time. On a
#   page that is not being rebuilt, revalidatePath takes effect for the next request.
# Usual guess: after revalidatePath has returned, no request sees what was built from older data.
# Who meets it: sites with `revalidate` as a safety net beside revalidatePath or revalidateTag, on
#   busy pages with slow data; CDNs in front, which store the old page for its whole `s-maxage`.
set -euo pipefail

work=$(mktemp -d)
trap 'for pid in $(cat "$work"/*.pid 2>/dev/null); do kill "$pid" 2>/dev/null || true; done; sleep 0.5; rm -rf "$work"' EXIT
cd "$work"
export NEXT_TELEMETRY_DISABLED=1 DATA="$work/data.txt"
cat >package.json <<'JSON'
{
  "private": true,
  "dependencies": { "next": "16.4.6", "node": "22.23.3", "react": "19.3.1", "react-dom": "19.3.1" },
  "overrides": { "sharp": "npm:empty-npm-package@1.0.0" },
  "allowScripts": { "node": true }
}
JSON
npm install --silent --no-audit --no-fund
PATH="$work/node_modules/.bin:$PATH"

mkdir -p app/refresh
cat >app/layout.jsx <<'JS'
export default ({ children }) => <html><body>{children}</body></html>;
JS
cat >app/page.jsx <<'JS'
import { readFile } from "node:fs/promises";

export const revalidate = 15;

export default async function Page() {
  const value = await readFile(process.env.DATA, "utf8");
  await new Promise((resolve) => setTimeout(resolve, 3000)); // another, slower source
  return <p id="value">{value}</p>;
}
JS
cat >app/refresh/route.js <<'JS'
import { revalidatePath } from "next/cache";

export async function POST() {
  revalidatePath("/");
  return new Response("done");
}
JS
echo "export default { turbopack: { root: \"$work\" } };" >next.config.mjs
printf zero >data.txt
next build >build.log 2>&1 || { cat build.log; exit 1; }
port=$(node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })')
node node_modules/next/dist/bin/next start -H 127.0.0.1 -p "$port" >start.log 2>&1 &
echo $! >next.pid

cat >try.mjs <<'JS'
import { writeFileSync } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";

const site = process.argv[2];
const read = async () => {
  const page = await fetch(site).catch(() => null);
  const value = (await page?.text())?.match(/id="value">([a-z]+)</)?.[1];
  return { value, state: page?.headers.get("x-nextjs-cache") };
};
const change = async (value) => {
  writeFileSync(process.env.DATA, value);
  await fetch(`${site}/refresh`, { method: "POST" });
};
const show = (when, { value, state }) => console.log(`${when}: ${value} (${state})`);

while (!(await read()).value) await wait(100);
// Without a rebuild.
await change("one");
const calm = await read();
show('after the change to "one" and revalidatePath', calm);

// During a rebuild, which the first request after 15 s starts.
await wait(16_000);
show("16 s later, which starts a rebuild of 3 s", await read());
await wait(500);
await change("two");
const during = await read();
show('after the change to "two" and revalidatePath, during the rebuild', during);
await wait(4000);
const after = await read();
show("4 s later", after);
await wait(6000);
const later = await read();
show("10 s later", later);
const seen = [calm, during, after, later].map(({ value }) => value).join(",");
process.exitCode = seen === "one,one,one,one" ? 0 : 1;
if (process.exitCode) console.error(`the behaviour has changed: ${seen}`);
JS
node try.mjs "http://127.0.0.1:$port"
