// Hono's middleware on the same Cache API.
import { Hono } from 'hono'
import { cache } from 'hono/cache'

const app = new Hono()
app.get('*', cache({ cacheName: 'bench', cacheControl: 'max-age=600' }))
app.get('*', async (c) => {
  const response = await fetch(c.env.ORIGIN + new URL(c.req.url).pathname)
  return new Response(response.body, response)
})
export default app
