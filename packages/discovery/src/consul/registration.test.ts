import { describe, expect, it } from 'vitest'
import type { Registration } from '../registry.js'
import { defineService } from './registration.js'

const users = { name: 'users', host: '10.0.0.7', port: 3001 }

describe('defineService', () => {
  it('needs no more than a name, a host and a port', () => {
    expect(defineService(users)).toEqual({
      ID: 'users-10.0.0.7-3001',
      Name: 'users',
      Address: '10.0.0.7',
      Port: 3001,
      Tags: [],
      Meta: {},
    })
  })

  it('takes the id, tags and meta it is given', () => {
    const service = defineService({ ...users, id: 'u1', tags: ['v2'], meta: { zone: 'a' } })

    expect(service).toMatchObject({ ID: 'u1', Tags: ['v2'], Meta: { zone: 'a' } })
  })

  it('gives IPv6 addresses without brackets', () => {
    expect(defineService({ ...users, host: '[fd00::7]' })).toMatchObject({ Address: 'fd00::7' })
  })

  it('leaves the state of a service that Consul checks to Consul', () => {
    const { Check } = defineService({ ...users, check: { http: 'http://10.0.0.7:3001/ready', interval: 2_500 } })

    expect(Check).toEqual({
      CheckID: 'service:users-10.0.0.7-3001',
      HTTP: 'http://10.0.0.7:3001/ready',
      Interval: '2500ms',
    })
  })

  it('begins a TTL check as passing, and removes what fails for long', () => {
    const { Check } = defineService({ ...users, id: 'u1', check: { ttl: 15_000 }, removeAfter: 90_000 })

    expect(Check).toEqual({
      CheckID: 'service:u1',
      TTL: '15000ms',
      Status: 'passing',
      DeregisterCriticalServiceAfter: '90000ms',
    })
  })

  it.each<[string, object]>([
    ['name must be', { name: '' }],
    ['name must be', { name: undefined }],
    ['name must be', { name: 'eyes/../x' }],
    ['name must be', { name: 'a\nb' }],
    ['id must be', { id: '' }],
    ['id must be', { id: 'a//b' }],
    ['id must be', { id: '/a' }],
    ['id must be', { id: 'a/' }],
    ['id must be', { id: './a' }],
    ['id must be', { id: '..' }],
    ['id must be', { id: 'a\u0000' }],
    ['host must be', { host: '' }],
    ['host must be an address that others can connect to', { host: '0.0.0.0' }],
    ['host must be an address that others can connect to', { host: '::' }],
    ['host must be an address that others can connect to', { host: '[0:0:0:0:0:0:0:0]' }],
    ['port must be', { port: 0 }],
    ['port must be', { port: '80' }],
    ['tags must be', { tags: 'a' }],
    ['tags must be', { tags: [''] }],
    ['meta must be', { meta: { a: 1 } }],
    ['meta must be', { meta: null }],
    ['check must be { http, interval } or { ttl }', { check: {} }],
    ['check must be { http, interval } or { ttl }', { check: null }],
    ['check must be { http, interval } or { ttl }', { check: { tcp: '10.0.0.7:3001', interval: 1_000 } }],
    ['check must be { http, interval } or { ttl }', { check: { http: 'http://a/', interval: 1_000, ttl: 1_000 } }],
    ['check.http must be', { check: { http: '/ready', interval: 1_000 } }],
    ['check.interval must be', { check: { http: 'http://a/' } }],
    ['check.interval must be more than 0', { check: { http: 'http://a/', interval: 0 } }],
    ['check.ttl must be', { check: { ttl: Number.NaN } }],
    ['check.ttl must be more than 0', { check: { ttl: 0 } }],
    ['check.ttl must be', { check: { ttl: 2 ** 31 } }],
    ['removeAfter must be left out', { removeAfter: 60_000 }],
    ['removeAfter must be', { check: { ttl: 1_000 }, removeAfter: -1 }],
  ])('says "%s" of %j', (message, fields) => {
    const define = () => defineService({ ...users, ...fields } as Registration)

    expect(define).toThrow(TypeError)
    expect(define).toThrow(message)
  })

  it('refuses nothing at all', () => {
    expect(() => defineService(undefined as never)).toThrow(TypeError)
  })
})
