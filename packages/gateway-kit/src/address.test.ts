import type { IncomingMessage } from 'node:http'
import { describe, expect, test } from 'vitest'
import { addressKey, clientAddress, type TrustConfig } from './address.js'

function request(peer: string, forwarded?: string): IncomingMessage {
  return {
    socket: { remoteAddress: peer },
    headers: forwarded === undefined ? {} : { 'x-forwarded-for': forwarded },
  } as never
}

const proxies: TrustConfig = ['10.0.0.0/8', '::1', 'fd00::/8']

describe('clientAddress', () => {
  test.each<[string, string | undefined, TrustConfig, string]>([
    ['203.0.113.1', '1.1.1.1', false, '203.0.113.1'],
    ['::ffff:203.0.113.1', undefined, false, '203.0.113.1'],
    ['203.0.113.1', '1.1.1.1', proxies, '203.0.113.1'],
    ['10.0.0.1', '1.1.1.1', proxies, '1.1.1.1'],
    ['10.0.0.1', '6.6.6.6, 1.1.1.1', proxies, '1.1.1.1'],
    ['10.0.0.1', '6.6.6.6, 1.1.1.1, 10.9.9.9', proxies, '1.1.1.1'],
    ['::ffff:10.0.0.1', '1.1.1.1:4711', proxies, '1.1.1.1'],
    ['::1', '[2001:db8::1]:4711', proxies, '2001:db8::1'],
    ['10.0.0.1', '1.1.1.1, unknown', proxies, '10.0.0.1'],
    ['10.0.0.1', '1.1.1.1, ', proxies, '10.0.0.1'],
    ['10.0.0.1', '10.1.1.1, 10.2.2.2', proxies, '10.1.1.1'],
    ['10.0.0.1', undefined, proxies, '10.0.0.1'],
    ['203.0.113.9', '6.6.6.6, 1.1.1.1', { hops: 1 }, '1.1.1.1'],
    ['203.0.113.9', '6.6.6.6, 1.1.1.1', { hops: 0 }, '203.0.113.9'],
    ['203.0.113.9', '1.1.1.1', { hops: 5 }, '1.1.1.1'],
  ])('peer %s saying %s under trust %j is %s', (peer, forwarded, trust, address) => {
    expect(clientAddress(request(peer, forwarded), trust)).toBe(address)
  })

  test.each([
    ['for=1.1.1.1', '1.1.1.1'],
    ['For="[2001:db8::1]:4711";proto=https', '2001:db8::1'],
    ['for=6.6.6.6, for=1.1.1.1;by=10.0.0.1', '1.1.1.1'],
    ['for=6.6.6.6, for=1.1.1.1, for=10.9.9.9', '1.1.1.1'],
    ['for="6.6.6.6, for=1.1.1.1', '1.1.1.1'],
    ['proto=https', '10.0.0.1'],
    ['for=_hidden', '10.0.0.1'],
    ['for', '10.0.0.1'],
  ])('from Forwarded: %s is %s', (forwarded, address) => {
    const req = (peer: string, more: object = {}) =>
      ({ socket: { remoteAddress: peer }, headers: { forwarded, ...more } }) as never

    expect(clientAddress(req('10.0.0.1'), proxies)).toBe(address)
    expect(clientAddress(req('203.0.113.1'), proxies)).toBe('203.0.113.1')
    expect(clientAddress(req('10.0.0.1', { 'x-forwarded-for': '2.2.2.2' }), proxies)).toBe('2.2.2.2')
  })

  test.each([[['10.0.0.0/33']], [['nonsense']], [{ hops: -1 }], [{}]])('refuses trust %j', (trust) => {
    expect(() => clientAddress(request('10.0.0.1'), trust as never)).toThrow(TypeError)
  })
})

test.each([
  ['1.2.3.4', '1.2.3.4'],
  ['2001:db8::1', '2001:db8:0:0::/64'],
  ['2001:db8:0:0:1:2:3:4', '2001:db8:0:0::/64'],
  ['2001:0db8:00aa::', '2001:db8:aa:0::/64'],
  ['::1', '0:0:0:0::/64'],
  ['', ''],
])('%s is counted under %s', (address, key) => {
  expect(addressKey(address)).toBe(key)
})
