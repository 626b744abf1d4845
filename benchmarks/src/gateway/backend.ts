import { createServer } from 'node:net'
import { BODY } from './work.js'

/**
 * The upstream of every gateway, in a process of its own: it answers each head with the same bytes, as cheaply as Node
 * can, so that the gateway and not the upstream is what a run waits for. It knows no bodies; none are sent.
 */
const answer = Buffer.from(
  `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${BODY.length}\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n${BODY}`,
)
let asked = 0

const server = createServer((socket) => {
  let rest = ''
  socket.setNoDelay(true)
  socket.on('error', () => socket.destroy())
  socket.on('data', (chunk) => {
    rest += chunk.toString('latin1')
    for (let end = rest.indexOf('\r\n\r\n'); end !== -1; end = rest.indexOf('\r\n\r\n')) {
      rest = rest.slice(end + 4)
      asked += 1
      socket.write(answer)
    }
  })
})

process.on('message', () => process.send!(asked))
process.on('disconnect', () => process.exit())
server.listen(0, '127.0.0.1', () => process.send!({ port: (server.address() as { port: number }).port }))
