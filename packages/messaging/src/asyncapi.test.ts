import specs from '@asyncapi/specs'
import { Ajv, type AnySchema } from 'ajv'
import addFormats from 'ajv-formats'
import { type } from 'arktype'
import * as v from 'valibot'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { asyncapi } from './asyncapi.js'
import { defineEvents } from './catalogue.js'

const info = { title: 'Orders', version: '1.2.0', description: 'All that happens to an order' }

/** By AsyncAPI's own JSON Schema. */
const ajv = new Ajv({ strict: false, allErrors: true })
addFormats.default(ajv)
const isAsyncApi = ajv.compile(specs.schemasWithoutId['3.0.0'] as AnySchema)

test('describes a catalogue of several libraries, validly', () => {
  const events = defineEvents({
    'order.created': {
      schema: z.object({ orderId: z.string(), at: z.iso.datetime(), n: z.number().default(1) }),
      key: ({ orderId }: { orderId: string }) => orderId,
      version: 3,
    },
    'user.registered': type({ userId: 'string' }),
    'user.deleted': {
      schema: v.object({ userId: v.string() }),
      jsonSchema: { type: 'object', properties: { userId: { type: 'string' } }, required: ['userId'] },
    },
  })

  const document = asyncapi(events, info)

  expect(isAsyncApi(document), JSON.stringify(isAsyncApi.errors, null, 2)).toBe(true)
  expect(JSON.parse(JSON.stringify(document))).toEqual(document)
  expect(document).toMatchObject({ asyncapi: '3.0.0', info })
  const { 'order.created': created, 'user.deleted': deleted } = document.channels
  expect(created).toMatchObject({
    address: 'order.created',
    bindings: { amqp: { is: 'routingKey', exchange: { name: 'msx.events', type: 'topic' } } },
  })
  // The input is what travels: n may be missing.
  expect(created?.messages['order.created']).toMatchObject({
    payload: { type: 'object', required: ['orderId', 'at'] },
    headers: {
      properties: {
        cloudEvents_type: { const: 'order.created' },
        cloudEvents_partitionkey: {},
        'msx-version': { const: 3 },
      },
    },
  })
  expect(deleted?.messages['user.deleted']?.payload).toMatchObject({ required: ['userId'] })
})

test('keeps references of a recursive schema within its own payload', () => {
  interface Category {
    name: string
    children: Category[]
  }
  const category: z.ZodType<Category, Category> = z.lazy(() =>
    z.object({ name: z.string(), children: z.array(category) }),
  )

  const document = asyncapi(defineEvents({ 'category.moved': z.object({ root: category }) }), info)

  expect(isAsyncApi(document)).toBe(true)
  const { payload } = document.channels['category.moved']?.messages['category.moved'] ?? {}
  const references = [...JSON.stringify(payload).matchAll(/"\$ref":"([^"]*)"/g)].map((match) => match[1] as string)
  expect(references.length).toBeGreaterThan(0)
  for (const reference of references) expect(resolve(document, reference)).toMatchObject({ type: 'object' })
})

/** Follows a JSON pointer. */
function resolve(document: unknown, reference: string): unknown {
  const path = reference.replace(/^#\//, '').split('/')

  return path.reduce<unknown>(
    (at, part) => (at as Record<string, unknown>)[decodeURIComponent(part).replaceAll('~1', '/').replaceAll('~0', '~')],
    document,
  )
}

test('names the event that no JSON Schema can be had of', () => {
  const silent = defineEvents({ 'user.deleted': v.object({ userId: v.string() }) })
  expect(() => asyncapi(silent, info)).toThrow(
    "no JSON Schema of 'user.deleted': its schema (valibot) offers none; give the event a jsonSchema in defineEvents",
  )

  const impossible = defineEvents({ 'order.created': z.object({ at: z.coerce.date() }) })
  expect(() => asyncapi(impossible, info)).toThrow(
    expect.objectContaining({ code: 'MSX_NO_JSON_SCHEMA', details: { event: 'order.created' } }),
  )
})

test.each([
  [{ title: '', version: '1' }, 'asyncapi: info.title must be a string that is not empty'],
  [{ title: 'a', version: 1 as unknown as string }, 'asyncapi: info.version must be a string that is not empty, got 1'],
])('refuses %j', (wrong, problem) => {
  expect(() => asyncapi(defineEvents({}), wrong)).toThrow(problem)
})
