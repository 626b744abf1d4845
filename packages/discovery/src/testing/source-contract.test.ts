import Consul from 'consul'
import { describe, test } from 'vitest'
import type { ConsulOptions } from '../consul/options.js'
import { ConsulHand, CuttableLine, sharedConsul } from '../consul/test-consul.js'
import { consul } from '../consul.js'
import { srvZones, TestDnsServer, type Zone } from '../dns/test-dns-server.js'
import { dnsA } from '../sources/dns-a.js'
import { dnsSrv } from '../sources/dns-srv.js'
import { fixed } from '../sources/fixed.js'
import { type Places, type SourceBench, sourceContract } from './source-contract.js'

const consulUrl = await sharedConsul()

describe('fixed', () => {
  for (const { name, run } of sourceContract((places) => fixed(places))) test.concurrent(name, run)
})

describe('dnsSrv', () => {
  const make = async (places: Places): Promise<SourceBench> => {
    const server = await TestDnsServer.start()
    const set = (service: string, now: Places[string]) => {
      for (const [name, zone] of Object.entries(srvZones(service, now))) server.zones.set(name, zone)
      if (now.length === 0) server.zones.set(service, 'NXDOMAIN')
    }
    for (const [service, now] of Object.entries(places)) set(service, now)

    return {
      source: dnsSrv({ servers: [server.address], minInterval: 20, maxInterval: 50, timeout: 300, tries: 1 }),
      set,
      outage: async () => server.fail('SERVFAIL'),
      close: () => server.close(),
    }
  }
  for (const { name, run } of sourceContract(make, { changes: true, outages: true })) test.concurrent(name, run, 20_000)
})

describe('dnsA', () => {
  /** Addresses have no ports: an instance at 127.0.0.x:300y is one at 127.y.0.x here, and its port is put back. */
  const make = async (places: Places): Promise<SourceBench> => {
    const server = await TestDnsServer.start()
    const set = (service: string, now: Places[string]) => {
      const zone: Zone = now.map(({ host, port }) => ({
        type: 'A',
        address: host.replace('127.0', `127.${port - 3_000}`),
        ttl: 0,
      }))
      server.zones.set(service, zone)
    }
    for (const [service, now] of Object.entries(places)) set(service, now)

    const options = { servers: [server.address], minInterval: 20, maxInterval: 50, timeout: 300, tries: 1 }
    const source = dnsA({ ...options, port: 3_000 })
    return {
      source: {
        ...source,
        watch(service, sink, signal) {
          const translated = {
            update: (endpoints: readonly { host: string; port: number }[]) =>
              sink.update(
                endpoints.map(({ host, port }) => ({
                  host: host.replace(/^127\.\d+/, '127.0'),
                  port: port + Number(host.split('.')[1]),
                })),
              ),
            fail: (error: Error) => sink.fail(error),
          }
          source.watch(service, translated, signal)
        },
      },
      set,
      outage: async () => server.fail('silence'),
      close: () => server.close(),
    }
  }
  for (const { name, run } of sourceContract(make, { changes: true, outages: true })) test.concurrent(name, run, 20_000)
})

describe.each([
  ['its HTTP API', (url: string): ConsulOptions => ({ url })],
  [
    'a client of the package consul',
    (url: string): ConsulOptions => {
      const { hostname: host, port } = new URL(url)
      return { client: new Consul({ host, port: Number(port) }) }
    },
  ],
])('consul by %s', (_, optionsFor) => {
  const make = async (places: Places): Promise<SourceBench> => {
    const hand = new ConsulHand(consulUrl!) // skipped without
    const line = await CuttableLine.to(hand.url)
    const known = new Set(Object.keys(places))
    const set = async (service: string, now: Places[string]) => {
      known.add(service)
      await hand.set(service, now)
    }
    for (const [service, now] of Object.entries(places)) await set(service, now)

    return {
      source: consul(optionsFor(line.url)),
      set,
      async outage() {
        line.cut()
        return () => line.mend()
      },
      async close() {
        await line.close()
        for (const service of known) await hand.set(service, [])
      },
    }
  }
  for (const { name, run } of sourceContract(make, { changes: true, outages: true })) {
    test.skipIf(consulUrl === undefined).concurrent(name, run, 20_000)
  }
})
