import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { createDiscovery } from '@msx/discovery'
import { afterEach, expect, test } from 'vitest'
import { directoryOf } from './discovery.js'
import { readServiceSettings } from './service-settings.js'

let server: Socket
let asked: string[]

afterEach(() => {
  server.close()
})

/** Answers any question for an address with 127.0.0.7, and any other with nothing. */
async function nameServer(): Promise<string> {
  asked = []
  server = createSocket('udp4', (question, from) => {
    const end = question.indexOf(0, 12) + 5
    const labels: string[] = []
    for (let at = 12; question[at] !== 0; at += (question[at] ?? 0) + 1) {
      labels.push(question.subarray(at + 1, at + 1 + (question[at] ?? 0)).toString())
    }
    asked.push(labels.join('.'))
    const isAddress = question.readUInt16BE(end - 4) === 1
    const header = Buffer.alloc(12)
    question.copy(header, 0, 0, 2)
    header.writeUInt16BE(0x8180, 2)
    header.writeUInt16BE(1, 4)
    header.writeUInt16BE(isAddress ? 1 : 0, 6)
    const answer = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 127, 0, 0, 7])
    server.send(
      Buffer.concat([header, question.subarray(12, end), ...(isAddress ? [answer] : [])]),
      from.port,
      from.address,
    )
  })
  server.bind(0, '127.0.0.1')
  await once(server, 'listening')
  return `127.0.0.1:${server.address().port}`
}

test('by DNS, services are behind their names on the standard ports, and payment-service says where its HTTP is', async () => {
  const env = { DISCOVERY: 'dns', DNS_SUFFIX: 'shop.test', DNS_SERVERS: await nameServer() }
  const { source, registry } = directoryOf(readServiceSettings('order-service', env))
  await using discovery = createDiscovery({ source })

  const [user] = (await discovery.service('user-service').ready()).endpoints
  const [payment] = (await discovery.service('payment-service').ready()).endpoints

  expect(registry).toBeUndefined()
  expect(user).toMatchObject({ host: '127.0.0.7', port: 3_000 })
  expect(payment).toMatchObject({ host: '127.0.0.7', port: 50_051, meta: { http: 'http://127.0.0.7:3000' } })
  expect(new Set(asked)).toEqual(new Set(['user-service.shop.test', 'payment-service.shop.test']))
})
