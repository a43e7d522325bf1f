import { createHmac, randomBytes } from "node:crypto";
import { setTimeout } from "node:timers/promises";

function sign(host, secret, body) {
  const [time, nonce] = [Math.floor(Date.now() / 1000), randomBytes(16).toString("hex")];
  const text = ["v2", "POST", host, "/__strata/purge", time, nonce, body].join("\n");
  return `v=2,t=${time},n=${nonce},s=${createHmac("sha256", secret).update(text).digest("hex")}`;
}

export async function purge(site, secret, scopes, mode = "remove", wait = 250) {
  const body = JSON.stringify({ v: 1, records: scopes.map((scope) => ({ scope, mode })) });
  const headers = { "Strata-Signature": sign(new URL(site).host, secret, body) };
  const signal = AbortSignal.timeout(10_000);
  const request = { method: "POST", redirect: "manual", headers, body, signal };
  const answer = await fetch(`${site}/__strata/purge`, request).catch((error) => error);
  if (answer.ok) return;
  const isFinal = wait > 8000 || (answer.status < 500 && answer.status !== 429);
  if (isFinal) throw new Error(`purge: ${answer.status ? await answer.text() : answer}`);
  await setTimeout(wait);
  return purge(site, secret, scopes, mode, 2 * wait);
}
