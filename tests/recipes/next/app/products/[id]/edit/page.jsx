import { updateTag } from "next/cache";
import { redirect } from "next/navigation";
import { Suspense } from "react";
import { rename } from "../../../../lib/products.mjs";

async function save(id, form) {
  "use server";
  rename(id, form.get("name"));
  updateTag(`product:${id}`);
  redirect(`/products/${id}`);
}

async function Form({ params }) {
  const { id } = await params;
  return (
    <form action={save.bind(null, id)}>
      <input name="name" />
      <button>Save</button>
    </form>
  );
}

export default function Page({ params }) {
  return <Suspense><Form params={params} /></Suspense>;
}
