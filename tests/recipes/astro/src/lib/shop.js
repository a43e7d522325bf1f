// Stands for a database.
export const products = (globalThis.products ??= new Map([["1", "Chair"], ["2", "Table"]]));

/** Makes a page the same for all visitors, until a product that it shows changes. */
export function share(response, ...tags) {
  response.headers.set("Cache-Control", "public, max-age=0, s-maxage=600, stale-while-revalidate=60");
  response.headers.set("Cache-Tag", tags.join(","));
}

/** Makes a page one user's own. */
export function keepPrivate(response) {
  response.headers.set("Cache-Control", "private, no-store");
}
