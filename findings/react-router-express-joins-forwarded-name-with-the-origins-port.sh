#!/usr/bin/env bash
# React Router's Express adapter joins the host name of the proxy with the port of the origin.
#
# Versions: @react-router/express and react-router 8.4.0, Express 5.3.0, Node 22.23.3 (npm `node`).
# Behaviour: with `trust proxy`, the adapter takes the name of request.url from X-Forwarded-Host. If
#   that has no port, since the site has the default one, it takes the port from Host. Behind a
#   proxy that sends `Host: 10.0.0.5:3000` and `X-Forwarded-Host: shop.example`, request.url is
#   http://shop.example:3000/, while Express itself says shop.example. Actions compare the form's
#   Origin with that URL, so every form of the site is refused with 400.
# Usual guess: `trust proxy` makes request.url the URL in the browser, as it does for Express.
# Who meets it: React Router apps on a port, behind a proxy or CDN that states its own name in
#   X-Forwarded-Host and keeps the origin's in Host.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat >package.json <<'JSON'
{
  "private": true,
  "type": "module",
  "dependencies": {
    "@react-router/express": "8.4.0", "@react-router/node": "8.4.0", "express": "5.3.0",
    "node": "22.23.3", "react": "19.3.1", "react-dom": "19.3.1", "react-router": "8.4.0"
  },
  "allowScripts": { "node": true }
}
JSON
npm install --silent --no-audit --no-fund

cat >try.mjs <<'JS'
import http from "node:http";
import { createRequestHandler } from "@react-router/express";
import express from "express";

// A build by hand: a page with an action, and a route that answers with its request's URL.
const build = {
  entry: { module: { default: () => new Response("page") } },
  routes: {
    root: { id: "root", path: "", module: { default: () => null, action: () => null } },
    url: { id: "url", parentId: "root", path: "url", module: { loader: ({ request }) => new Response(request.url) } },
  },
  assets: { entry: { module: "", imports: [] }, routes: {}, url: "", version: "1" },
  publicPath: "/", basename: "/", assetsBuildDirectory: "", future: {}, ssr: true, isSpaMode: false,
  prerender: [], routeDiscovery: { mode: "initial", manifestPath: "/__manifest" },
};
const app = express().set("trust proxy", 1);
app.get("/express", (request, response) => response.send(`${request.protocol}://${request.host}/url`));
app.all("/{*path}", createRequestHandler({ build, mode: "production" }));
const server = app.listen(0, "127.0.0.1");
await new Promise((resolve) => server.once("listening", resolve));
const { port } = server.address();

const send = (method, path, fields) => new Promise((resolve) => {
  const headers = { "X-Forwarded-Host": "shop.example", "X-Forwarded-Proto": "http", ...fields };
  const request = http.request({ port, host: "127.0.0.1", method, path, headers }, async (response) => {
    resolve({ status: response.statusCode, body: (await response.toArray()).join("") });
  });
  request.end(method === "POST" ? "a=1" : undefined);
});
console.error = () => {}; // the refused action's stack trace
const inExpress = (await send("GET", "/express")).body;
const inRouter = (await send("GET", "/url")).body.replace(port, "PORT");
const form = { Origin: "http://shop.example", "Content-Type": "application/x-www-form-urlencoded" };
const { status } = await send("POST", "/", form);
// With the port in X-Forwarded-Host the same form is accepted.
const control = await send("POST", "/", { ...form, "X-Forwarded-Host": "shop.example:80" });
console.log(`Host: 127.0.0.1:PORT, X-Forwarded-Host: shop.example`);
console.log(`Express: ${inExpress}; React Router: ${inRouter}; a form of http://shop.example: ${status}`);
console.log(`X-Forwarded-Host: shop.example:80: the same form: ${control.status}`);
const seen = `${inExpress} ${inRouter} ${status} ${control.status}`;
const isAsDescribed = seen === "http://shop.example/url http://shop.example:PORT/url 400 200";
if (!isAsDescribed) console.log(`the behaviour has changed: ${seen}`);
process.exit(isAsDescribed ? 0 : 1);
JS
node_modules/.bin/node try.mjs
