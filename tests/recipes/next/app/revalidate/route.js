import { revalidatePath, revalidateTag } from "next/cache";

export async function POST(request) {
  const { path, type, tag } = await request.json();
  if (path) revalidatePath(path, type);
  if (tag) revalidateTag(tag, "max");
  return new Response(null, { status: 204 });
}
