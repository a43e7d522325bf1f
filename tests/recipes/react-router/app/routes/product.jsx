import { data, Link } from "react-router";
import { shared } from "../caching.js";
import { products } from "../shop.server.js";

export async function loader({ params }) {
  return data({ name: products.get(params.id) }, { headers: shared(`product:${params.id}`) });
}

// Without this, React Router keeps the loader's fields from the page.
export const headers = ({ loaderHeaders }) => loaderHeaders;

export default function Product({ loaderData }) {
  return (
    <>
      <h1>{loaderData.name}</h1>
      <Link to="/">Front</Link>
    </>
  );
}
