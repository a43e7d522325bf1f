import { redirect } from "react-router";

export function loader({ request }) {
  return redirect(new URL("/products/1", request.url).href, 301);
}
