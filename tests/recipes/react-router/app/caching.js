/** The fields of a page that is the same for all visitors until a product that it shows changes. */
export const shared = (...tags) => ({
  "Cache-Control": "public, max-age=0, s-maxage=600, stale-while-revalidate=60",
  "Cache-Tag": tags.join(","),
});

/** The fields of a page of one user. */
export const personal = { "Cache-Control": "private, no-store" };
