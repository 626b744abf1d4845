import { expect, test } from 'vitest'
import { databaseUrl, readAddresses } from './addresses.js'
import { readFullSettings } from './full-settings.js'
import { readServiceSettings, serviceVariables } from './service-settings.js'

test('finds the servers where scripts/services puts them when nothing is set', () => {
  expect(readFullSettings({})).toMatchObject({
    port: 8080,
    shop: 'shop',
    addresses: {
      rabbitmq: 'amqp://127.0.0.1:5672',
      postgres: 'postgres://postgres@127.0.0.1:5432/postgres',
      redis: 'redis://127.0.0.1:6379',
      consul: 'http://127.0.0.1:8500',
    },
  })
})

test('knows no password that was not set', () => {
  const passwords = Object.values(readAddresses({})).map((address) => new URL(address).password)

  expect(passwords).toEqual(['', '', '', ''])
})

test('takes an address of Consul without its scheme', () => {
  expect(readAddresses({ CONSUL_HTTP_ADDR: '10.0.0.1:8500' }).consul).toBe('http://10.0.0.1:8500')
})

test('does not repeat an address that it cannot read, since it may hold a password', () => {
  expect(() => readAddresses({ AMQP_URL: 'guest:secret' })).toThrow(/^AMQP_URL is not an address(?!.*secret)/)
})

test.each(['Shop', 'my-shop', '1shop', `${'x'.repeat(32)}`])('refuses SHOP_NAME=%s', (name) => {
  expect(() => readFullSettings({ SHOP_NAME: name })).toThrow(`SHOP_NAME is '${name}'`)
})

test('changes user, password and database of an address, and nothing else', () => {
  const url = databaseUrl('postgres://root:secret@db.example:6543/postgres?sslmode=require', 'shop_orders', 'p')

  expect(url).toBe('postgres://shop_orders:p@db.example:6543/shop_orders?sslmode=require')
})

test('a service reads from its environment what it was given', () => {
  const { addresses } = readFullSettings({})
  const given = {
    shop: 'other',
    addresses,
    port: 7,
    rateLimit: 8,
    signInLimit: 9,
    trust: ['10.0.0.0/8', '::1'],
    tokenTtl: 10,
    operations: { by: 'token', token: 'a-token-of-some-length' },
    operationsCode: 'a-code',
    traces: 'http://127.0.0.1:4318',
    undoAttempts: 11,
    reservationTtl: 12,
    host: '0.0.0.0',
    discovery: { by: 'dns', records: 'srv', suffix: 'service.consul', servers: ['127.0.0.1:8600'] },
  } as const

  expect(readServiceSettings('order-service', serviceVariables(given))).toEqual({
    service: 'order-service',
    httpPort: 0,
    ...given,
  })
})

test.each([undefined, 'orders'])('refuses to be the service %j and says which there are', (name) => {
  expect(() => readServiceSettings(name, {})).toThrow('it must be one of user-service, product-service')
})

test('finds others by DNS where it is told to', () => {
  const env = { DISCOVERY: 'dns', DNS_SUFFIX: 'shop.svc.cluster.local', DNS_SERVERS: '10.0.0.10,10.0.0.11' }

  expect(readServiceSettings('user-service', env).discovery).toEqual({
    by: 'dns',
    records: 'a',
    suffix: 'shop.svc.cluster.local',
    servers: ['10.0.0.10', '10.0.0.11'],
  })
})

test('seven processes on one machine find each other by SRV records, and tell their children so', () => {
  const { discovery } = readFullSettings({ DISCOVERY: 'dns', DNS_SERVERS: '127.0.0.1:8600' })

  expect(discovery).toEqual({ by: 'dns', records: 'srv', suffix: 'service.consul', servers: ['127.0.0.1:8600'] })
})

test.each([
  [{ DISCOVERY: 'luck' }, "DISCOVERY is 'luck'; it must be consul or dns"],
  [{ DISCOVERY: 'dns', DNS_RECORDS: 'mx' }, "DNS_RECORDS is 'mx'; it must be a or srv"],
  [{ DISCOVERY: 'dns', DNS_SERVERS: 'dns.example' }, "DNS_SERVERS is 'dns.example'; it must be IP addresses"],
])('refuses %j', (env, message) => {
  expect(() => readServiceSettings('user-service', env)).toThrow(message)
  expect(() => readFullSettings(env)).toThrow(message)
})

test('refuses names without ports where ports are needed', () => {
  expect(() => readFullSettings({ DISCOVERY: 'dns', DNS_RECORDS: 'a' })).toThrow("DNS_RECORDS is 'a'")
})
