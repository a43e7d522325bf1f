// The least that a worker in JavaScript can do.
const bodies = new Map([1, 10, 100].map((kb) => [`/${kb}`, new Uint8Array(kb * 1024).fill(120)]))

export default {
  fetch (request) {
    return new Response(bodies.get(new URL(request.url).pathname), { headers: { 'content-type': 'text/plain' } })
  }
}
