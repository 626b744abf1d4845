import type { IncomingMessage } from 'node:http'
import { describe, expect, test } from 'vitest'
import { addressKey, clientAddress, type TrustConfig } from './address.js'

function request(peer: string, forwarded?: string): IncomingMessage {
  return {
    socket: { remoteAddress: peer },
    headers: forwarded === undefined ? {} : { 'x-forwarded-for': forwarded },
  } as never
}

const proxies: readonly string[] = ['10.0.0.0/8', '::1', 'fd00::/8']

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
    const trust: TrustConfig = { networks: proxies, headers: 'forwarded' }
    const req = (peer: string) => ({ socket: { remoteAddress: peer }, headers: { forwarded } }) as never

    expect(clientAddress(req('10.0.0.1'), trust)).toBe(address)
    expect(clientAddress(req('203.0.113.1'), trust)).toBe('203.0.113.1')
  })

  test.each<[TrustConfig, string]>([
    [proxies, '1.1.1.1'],
    [{ networks: proxies }, '1.1.1.1'],
    [{ networks: proxies, headers: 'x-forwarded' }, '1.1.1.1'],
    [{ networks: proxies, headers: 'forwarded' }, '2.2.2.2'],
    [{ hops: 1 }, '1.1.1.1'],
    [{ hops: 1, headers: 'forwarded' }, '2.2.2.2'],
  ])('under trust %j only one of the two families of headers counts', (trust, address) => {
    const ask = (headers: object) => clientAddress({ socket: { remoteAddress: '10.0.0.1' }, headers } as never, trust)
    const both = { 'x-forwarded-for': '1.1.1.1', forwarded: 'for=2.2.2.2' }

    expect(ask(both)).toBe(address)
    // The one that is not written by the proxies came from a client, also where it comes alone.
    const alone = address === '1.1.1.1' ? { forwarded: both.forwarded } : { 'x-forwarded-for': '1.1.1.1' }
    expect(ask(alone)).toBe('10.0.0.1')
  })

  test.each([
    [['10.0.0.0/33']],
    [['nonsense']],
    [{ hops: -1 }],
    [{}],
    [{ networks: 'nonsense' }],
    [{ networks: ['10.0.0.0/33'] }],
    [{ networks: [], hops: 1 }],
    [{ networks: [], headers: 'x-real-ip' }],
    [{ hops: 1, header: 'forwarded' }],
  ])('refuses trust %j', (trust) => {
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
