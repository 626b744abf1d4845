import { chmodSync, readdirSync, readlinkSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { makePlace } from './place.mjs'
import { openFolder } from './testing.js'

const redis = { name: 'redis', port: 7000 }
const isRoot = process.getuid?.() === 0
console.log(
  isRoot
    ? '  SKIPPED: where a server keeps its files for a user who is not root: run as root'
    : '  SKIPPED: where a server keeps its files for root: run without root',
)

let state: string
beforeEach(() => {
  state = openFolder('msx-place-')
})
afterEach(() => rmSync(state, { recursive: true }))

test('is a folder for each server and port, the same each time', () => {
  const place = makePlace(state, redis)

  expect(place.folder).toBe(join(state, 'redis-7000'))
  expect(makePlace(state, redis)).toEqual(place)
  expect(makePlace(state, { ...redis, port: 7001 }).folder).not.toBe(place.folder)
})

test.runIf(isRoot)('belongs to an unprivileged user when root asks for it', () => {
  const { folder, user } = makePlace(state, redis)

  expect(user?.uid).toBeGreaterThan(0)
  expect(statSync(folder).uid).toBe(user?.uid)
})

test.runIf(!isRoot)('belongs to who asks for it', () => {
  expect(makePlace(state, redis).user).toBeUndefined()
})

test.runIf(isRoot)('is elsewhere, and stays there, when that user cannot enter the checkout', () => {
  chmodSync(state, 0o700)

  const { folder } = makePlace(state, redis)
  try {
    expect(folder).not.toContain(state)
    expect(readlinkSync(join(state, 'redis-7000'))).toBe(folder)
    expect(makePlace(state, redis).folder).toBe(folder)
    expect(readdirSync(state)).toEqual(['redis-7000'])
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test.runIf(isRoot)('is made again when what the link leads to has been deleted', () => {
  chmodSync(state, 0o700)
  rmSync(makePlace(state, redis).folder, { recursive: true })

  const { folder } = makePlace(state, redis)

  expect(statSync(folder).isDirectory()).toBe(true)
  rmSync(folder, { recursive: true })
})
