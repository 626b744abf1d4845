import { describe, expect, it } from 'vitest'
import { isRegistryError } from '../errors.js'
import { Instances } from './instances.js'

/** An entry of /v1/health/service/:service. */
function entry(service: object, { node = 'n1', address = '10.0.0.1', statuses = ['passing'] } = {}) {
  return {
    Node: { Node: node, Address: address },
    Service: { ID: 'users-1', Service: 'users', Address: '', Port: 3001, Tags: null, Meta: null, ...service },
    Checks: statuses.map((Status) => ({ Status })),
  }
}

const read = (...entries: unknown[]) => new Instances([]).read(entries)

describe('Instances', () => {
  it('prefers the address of the service to that of its node', () => {
    expect(read(entry({ Address: '10.9.9.9' }), entry({ ID: 'users-2' }))).toMatchObject([
      { id: 'users-1', host: '10.9.9.9', port: 3001 },
      { id: 'users-2', host: '10.0.0.1', port: 3001 },
    ])
  })

  it('takes over tags, meta and the zone in it', () => {
    const [endpoint] = read(entry({ Tags: ['v2'], Meta: { zone: 'a', version: '2' } }))

    expect(endpoint).toMatchObject({ tags: ['v2'], meta: { zone: 'a', version: '2' }, zone: 'a' })
  })

  it('prefers the zone that Consul knows', () => {
    expect(read(entry({ Locality: { Region: 'r', Zone: 'b' }, Meta: { zone: 'a' } }))).toMatchObject([{ zone: 'b' }])
  })

  it.each([
    [['passing', 'passing'], 10],
    [['passing', 'warning'], 2],
    [['critical', 'warning'], 0],
    [[], 10],
  ])('weighs an instance with checks %j as %i', (statuses, weight) => {
    expect(read(entry({ Weights: { Passing: 10, Warning: 2 } }, { statuses }))).toMatchObject([{ weight }])
  })

  it('weighs everybody the same when Consul has no weights', () => {
    expect(read(entry({}), entry({}, { statuses: ['warning'] }))).toMatchObject([{ weight: 1 }, { weight: 1 }])
  })

  it('lists those with all tags only, by upper and lower case', () => {
    const entries = [entry({ Tags: ['a', 'b'] }), entry({ Tags: ['a'] }), entry({ Tags: ['a', 'B'] }), entry({})]

    expect(new Instances(['a', 'b']).read(entries)).toHaveLength(1)
  })

  it('tells instances of one id on two nodes apart', () => {
    const ids = read(entry({}), entry({}, { node: 'n2' }), entry({ ID: 'users-2' })).map(({ id }) => id)

    expect(ids).toEqual(['users-1@n1', 'users-1@n2', 'users-2'])
  })

  it('keeps the name of an instance when its namesake goes', () => {
    const instances = new Instances([])
    instances.read([entry({}), entry({}, { node: 'n2' })])

    expect(instances.read([entry({}, { node: 'n2' })])).toMatchObject([{ id: 'users-1@n2' }])
  })

  it.each([null, {}, { Service: null, Node: null, Checks: null }])('survives the entry %j', (broken) => {
    expect(read(broken, entry({}))).toMatchObject([{ host: '', port: 0 }, { id: 'users-1' }])
  })

  it.each([null, {}, 'text', undefined])('refuses %j for a list', (entries) => {
    let error: unknown
    try {
      new Instances([]).read(entries)
    } catch (thrown) {
      error = thrown
    }
    expect(isRegistryError(error)).toBe(true)
  })

  it('reads the others when one entry is not as it should be', () => {
    const odd: object[] = [
      { Checks: { Status: 'passing' } },
      { Service: { ID: 'odd', Address: '10.0.0.2', Port: 80, Tags: 'v2', Meta: 'm', Locality: { Zone: {} } } },
      { Service: { ID: 'odd', Address: '10.0.0.2', Port: 80, Tags: ['v2', 5], Meta: { zone: 5 } } },
    ].map((part) => ({ ...entry({ ID: 'odd' }), ...part }))

    for (const one of odd) {
      const [first, second] = read(one, entry({}))
      expect(first).toMatchObject({ id: 'odd', weight: 1 })
      expect(first).not.toHaveProperty('zone')
      expect(second).toMatchObject({ id: 'users-1' })
      expect(new Instances(['v']).read([one, entry({ Tags: ['v'] })])).toMatchObject([{ id: 'users-1' }])
    }
    expect(read(odd[2])).toMatchObject([{ tags: ['v2'] }])
  })
})
