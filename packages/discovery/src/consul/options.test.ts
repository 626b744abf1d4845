import { describe, expect, it } from 'vitest'
import { consul } from '../consul.js'

const client = {
  health: { service: async () => [] },
  agent: {
    service: { list: async () => ({}), register: async () => {}, deregister: async () => {} },
    check: { pass: async () => {} },
  },
}

describe('consul', () => {
  it.each([
    {},
    { url: 'http://consul:8500' },
    { url: new URL('https://proxy/consul/') },
    { url: 'https://consul:8501', tls: { ca: 'ca', rejectUnauthorized: false }, token: 'secret' },
    { stale: true, passing: false, tags: ['a'], dc: 'dc2', wait: 600_000 },
    { client },
  ])('takes %j', (options) => {
    expect(() => consul(options)).not.toThrow()
  })

  it.each<[string, object]>([
    ['url must be', { url: 'consul:8500' }],
    ['url must be', { url: 'consul' }],
    ['url must be', { url: 8500 }],
    ['url must be', { url: 'http://consul:8500/?dc=dc2' }],
    ['url must be an https URL', { tls: {} }],
    ['url must be an https URL', { url: 'http://consul:8500', tls: {} }],
    ['tls must be', { url: 'https://consul:8501', tls: true }],
    ['tls.agent is unknown', { url: 'https://consul:8501', tls: { agent: {} } }],
    ['token must be', { token: '' }],
    ['token must be', { token: 7 }],
    ['stale must be', { stale: 1 }],
    ['passing must be', { passing: 'yes' }],
    ['tags must be', { tags: 'a' }],
    ['tags must be', { tags: [1] }],
    ['dc must be', { dc: '' }],
    ['wait must be', { wait: 0 }],
    ['wait must be', { wait: 600_001 }],
    ['wait must be', { wait: Number.NaN }],
    ['wait must be', { wait: '55s' }],
    ['clock must be', { clock: {} }],
    ['random must be', { random: 0.5 }],
    ['client must be', { client: null }],
    ['client must be', { client: {} }],
    ['url must be left out beside a client', { client, url: 'http://consul:8500' }],
    ['tls must be left out beside a client', { client, tls: {} }],
    ['token must be left out beside a client', { client, token: 'secret' }],
    ['options must be', null as never],
  ])('says "%s" of %j', (message, options) => {
    expect(() => consul(options)).toThrow(TypeError)
    expect(() => consul(options)).toThrow(message)
  })

  it.each([[{ url: 'http://user:hunter2@consul:8500' }], [{ token: 'hunter2\n' }], [{ client, token: 'hunter2' }]])(
    'does not repeat the secret in %j',
    (options) => {
      expect(() => consul(options as never)).toThrow(
        expect.objectContaining({ message: expect.not.stringContaining('hunter2') }),
      )
    },
  )
})
