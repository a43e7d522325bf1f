// The cache that most workers have: what Cloudflare's documentation of the Cache API shows.
export default {
  async fetch (request, env, ctx) {
    const cache = caches.default
    let response = await cache.match(request)
    if (response) return response
    response = await fetch(env.ORIGIN + new URL(request.url).pathname)
    response = new Response(response.body, response)
    ctx.waitUntil(cache.put(request, response.clone()))
    return response
  }
}
