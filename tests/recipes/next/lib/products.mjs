import { cacheLife, cacheTag } from "next/cache";

// Stands for a database.
const database = (globalThis.products ??= new Map([["1", "Chair"], ["2", "Table"]]));

export async function product(id) {
  "use cache";
  cacheTag(`product:${id}`);
  cacheLife("max");
  return { id, name: database.get(id) };
}

export function rename(id, name) {
  database.set(id, name);
}
