import { Form, redirect } from "react-router";
import { purge } from "../../../purge/purge.mjs";
import { personal } from "../caching.js";
import { products } from "../shop.server.js";

export async function action({ params, request }) {
  products.set(params.id, (await request.formData()).get("name"));
  await purge(process.env.SITE, process.env.PURGE_SECRET, [`tag:product:${params.id}`]);
  return redirect(`/products/${params.id}`, 303);
}

export const headers = () => personal;

export default function Edit() {
  return (
    <Form method="post">
      <input name="name" />
      <button>Save</button>
    </Form>
  );
}
