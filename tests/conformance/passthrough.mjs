// A worker that forwards and does nothing else: what fails through it too, the runtime cannot carry.
export default {
  async fetch (request, env) {
    const url = new URL(request.url)
    if (url.pathname === '/__strata/health') return new Response('up')
    return fetch(new Request(env.ORIGIN + url.pathname + url.search, request), { redirect: 'manual' })
  }
}
