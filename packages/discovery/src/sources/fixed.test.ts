import { describe, expect, it } from 'vitest'
import { createDiscovery } from '../discovery.js'
import { type FixedAddress, fixed } from './fixed.js'

const endpointsOf = (...addresses: FixedAddress[]) =>
  createDiscovery({ source: fixed({ service: addresses }) }).service('service').snapshot.endpoints

describe('fixed', () => {
  it('knows its services at once', async () => {
    const discovery = createDiscovery({ source: fixed({ users: ['http://127.0.0.1:3001', 'http://127.0.0.1:3002'] }) })

    expect(discovery.service('users').pick().endpoint.url).toMatch(/^http:\/\/127\.0\.0\.1:300[12]$/)
    await expect(discovery.service('users').ready()).resolves.toMatchObject({ version: 1 })
  })

  it.each([
    ['http://users:8080', { host: 'users', port: 8080, scheme: 'http', url: 'http://users:8080' }],
    ['http://users/', { host: 'users', port: 80, scheme: 'http', url: 'http://users:80' }],
    ['https://users', { host: 'users', port: 443, scheme: 'https', url: 'https://users:443' }],
    ['users:80', { host: 'users', port: 80, url: 'http://users:80' }],
    ['http://[::1]:8080', { host: '::1', port: 8080, scheme: 'http', url: 'http://[::1]:8080' }],
    [
      { host: 'users', port: 1, weight: 5 },
      { id: 'users:1', weight: 5 },
    ],
  ])('reads %j', (address, expected) => {
    expect(endpointsOf(address)).toMatchObject([expected])
  })

  it('leaves the scheme to the request when the address has none', () => {
    expect(endpointsOf('users:80')[0]).not.toHaveProperty('scheme')
  })

  it.each([
    'users',
    'ftp://users:21',
    'http://users:80/path',
    'http://users:80?query',
    'http://name:password@users:80',
    'http://users:99999',
    '',
    7,
    { host: 'users', port: 0 },
  ])('refuses %j at construction', (address) => {
    expect(() => fixed({ service: [address as string] })).toThrow(TypeError)
  })

  it.each([undefined, null, 'http://users:80'])('refuses %j for the list of services', (services) => {
    expect(() => fixed(services as never)).toThrow(/^services must be/)
  })

  it('refuses a service whose addresses are no list', () => {
    expect(() => fixed({ users: 'http://users:80' as never })).toThrow('services["users"] must be an array')
  })

  it('says which services it has when asked for another', async () => {
    const discovery = createDiscovery({ source: fixed({ users: [], orders: [] }) })

    await expect(discovery.service('user').ready()).rejects.toThrow(
      'No endpoint for service "user": fixed() was given no service "user", only: users, orders',
    )
  })
})
