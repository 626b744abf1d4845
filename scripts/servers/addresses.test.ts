import { expect, test } from 'vitest'
import { readAddress, selectServers, serverNames } from './addresses.mjs'

test.each([
  ['rabbitmq', { host: '127.0.0.1', port: 5672, user: 'guest', password: 'guest', database: '/' }],
  ['postgres', { host: '127.0.0.1', port: 5432, user: 'postgres', password: '', database: 'postgres' }],
  ['redis', { host: '127.0.0.1', port: 6379, user: '', password: '' }],
  ['consul', { host: '127.0.0.1', port: 8500 }],
] as const)('%s is expected at its standard port on this machine', (name, expected) => {
  expect(readAddress(name, {})).toMatchObject({ ...expected, loopback: true, tls: false })
})

test.each([
  ['rabbitmq', 'AMQP_URL', 'amqp://a%40b:c@broker:1234/v%2Fh', { user: 'a@b', password: 'c', database: 'v/h' }],
  ['rabbitmq', 'AMQP_URL', 'amqps://broker', { port: 5671, tls: true, loopback: false }],
  ['postgres', 'DATABASE_URL', 'postgresql://shop@localhost:5500', { port: 5500, user: 'shop', database: 'shop' }],
  ['postgres', 'DATABASE_URL', 'postgres://db.example/x?sslmode=require', { tls: true, loopback: false }],
  ['redis', 'REDIS_URL', '  ', { port: 6379 }],
  ['redis', 'REDIS_URL', 'redis://[::1]:7000', { host: '::1', port: 7000, loopback: true }],
  ['consul', 'CONSUL_HTTP_ADDR', 'localhost:8700', { host: 'localhost', port: 8700, loopback: true }],
  ['consul', 'CONSUL_HTTP_ADDR', 'https://consul.example', { port: 443, tls: true }],
] as const)('%s reads %s=%s', (name, variable, text, expected) => {
  expect(readAddress(name, { [variable]: text })).toMatchObject(expected)
})

test.each([
  ['rabbitmq', 'AMQP_URL', 'not an address: secret'],
  ['redis', 'REDIS_URL', 'http://:secret@127.0.0.1'],
  ['postgres', 'DATABASE_URL', 'postgres://u:secret%zz@127.0.0.1'],
  ['postgres', 'DATABASE_URL', 'postgres:///secret?host=/run/postgresql'],
] as const)('%s refuses %s=%s, without repeating it', (name, variable, text) => {
  const read = () => readAddress(name, { [variable]: text })

  expect(read).toThrow(variable)
  expect(read).not.toThrow('secret')
})

test('shows no password', () => {
  expect(readAddress('redis', { REDIS_URL: 'redis://:secret@127.0.0.1:7000' }).label).toBe('redis://127.0.0.1:7000')
})

test('selects servers by their names, in one order, and all of them without a name', () => {
  expect(selectServers(['consul,rabbitmq', 'postgresql'])).toEqual(['rabbitmq', 'postgres', 'consul'])
  expect(selectServers([])).toEqual(serverNames)
  expect(() => selectServers(['mongo'])).toThrow('There is no server called "mongo"')
})
