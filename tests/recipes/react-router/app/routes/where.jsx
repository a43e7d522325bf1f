import { personal } from "../caching.js";

export function loader({ request }) {
  return new Response(new URL("/products/1", request.url).href, { headers: personal });
}
