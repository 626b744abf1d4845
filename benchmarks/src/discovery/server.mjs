// The replicas, in a process of their own: each argument is one, and says how long it takes to answer, in ms. Tells its
// parent the ports, and ends with it.

import { createServer } from 'node:http'

const BODY = JSON.stringify({ id: 1, name: 'Ada Lovelace', email: 'ada@example.com', roles: ['admin', 'author'] })

const ports = await Promise.all(
  process.argv.slice(2).map(async (delay) => {
    const server = createServer((_, response) => {
      const answer = () => {
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': BODY.length })
        response.end(BODY)
      }
      if (delay === '0') answer()
      else setTimeout(answer, Number(delay))
    })
    server.keepAliveTimeout = 60_000
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
    return server.address().port
  }),
)

process.send(ports)
process.once('disconnect', () => process.exit())
