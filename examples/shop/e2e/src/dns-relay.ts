import { createSocket } from 'node:dgram'
import { once } from 'node:events'

/** A name server that hands every question on to another one, and remembers the names. */
export interface DnsRelay {
  /** `127.0.0.1:port` */
  readonly address: string
  readonly asked: ReadonlySet<string>
  close(): void
}

export async function dnsRelay(to: string): Promise<DnsRelay> {
  const [host, port] = to.split(':')
  const asked = new Set<string>()
  const server = createSocket('udp4')
  let isOpen = true
  server.on('message', (question, from) => {
    asked.add(nameIn(question))
    // A socket for each question, so that its answer is no other's.
    const client = createSocket('udp4')
    const late = setTimeout(() => client.close(), 5_000)
    client.on('error', () => {})
    client.once('message', (answer) => {
      // A socket that is closed throws, and whoever asked may have been killed with the question on its way.
      if (isOpen) server.send(answer, from.port, from.address)
      clearTimeout(late)
      client.close()
    })
    client.send(question, Number(port), host)
  })
  server.bind(0, '127.0.0.1')
  await once(server, 'listening')

  return {
    address: `127.0.0.1:${server.address().port}`,
    asked,
    close() {
      isOpen = false
      server.close()
    },
  }
}

/** The name that is asked for, which comes after the twelve bytes of the head. */
function nameIn(question: Buffer): string {
  const labels: string[] = []
  for (let at = 12; (question[at] ?? 0) > 0; at += (question[at] ?? 0) + 1) {
    labels.push(question.subarray(at + 1, at + 1 + (question[at] ?? 0)).toString())
  }
  return labels.join('.')
}
