import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { countReferences, page, withLines } from './shop-patterns.mjs'

const folder = join(import.meta.dirname, '../docs/shop')
const pages = readdirSync(folder).filter((name) => name.endsWith('.md'))

/** Every pattern that a microservice architecture is made of, by the name it goes by. */
const named = [
  'Single responsibility',
  'Bounded contexts',
  'Database per service',
  'Repository',
  'API gateway',
  'Protocol translation',
  'A gateway off the shelf',
  'Client-side discovery',
  'Server-side discovery',
  'Synchronous calls: REST',
  'Synchronous calls: gRPC',
  'Publish and subscribe',
  'Ports and adapters',
  'Transactional outbox',
  'Idempotent consumer (inbox)',
  'Saga with compensation',
  'Idempotency key',
  'Circuit breaker',
  'Retry with back-off',
  'Timeout',
  'Fallback',
  'Rate limiting',
  'Dead letters',
  'Access token',
  'Distributed tracing',
  'Metrics',
  'Health checks',
  'Orchestration',
  'Secrets by reference',
  'API composition',
  'Fault injection',
  'Modular monolith',
]

describe('the patterns of the shop', () => {
  const text = readFileSync(page, 'utf8')

  it.each(named)('%s has a row with the lines that show it', (name) => {
    const row = text.split('\n').find((line) => line.startsWith(`| ${name} `))

    expect(row).toBeDefined()
    expect(countReferences(row ?? '')).toBeGreaterThan(0)
  })

  it('each line is where the page says', () => {
    expect(withLines(text)).toBe(text)
  })

  it('a line that has moved is seen', () => {
    expect(withLines(text.replace(/:(\d+)\]/, ':1]'))).toBe(text)
    expect(() => withLines(text.replace(/`([^`]+)` \|/, '`no such code` |'))).toThrow('has no line with')
  })
})

it.each(pages)('%s links to what exists', (name) => {
  const text = readFileSync(join(folder, name), 'utf8')
  for (const [, link = ''] of text.matchAll(/\]\((?!https?:|#)([^)#]+)/g)) {
    expect(existsSync(join(folder, link)), link).toBe(true)
  }
})
