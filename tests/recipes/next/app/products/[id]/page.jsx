import Link from "next/link";
import { product } from "../../../lib/products.mjs";

export async function generateStaticParams() {
  return [{ id: "1" }];
}

export default async function Page({ params }) {
  const { id } = await params;
  const { name } = await product(id);
  return (
    <>
      <h1>{name}</h1>
      <Link href="/about">About</Link>
    </>
  );
}
