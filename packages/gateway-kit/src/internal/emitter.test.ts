import { afterEach, expect, it, vi } from 'vitest'
import { Emitter } from './emitter.js'

afterEach(() => {
  vi.restoreAllMocks()
})

it.each([
  [
    'throws',
    () => {
      throw new Error('bad')
    },
    'Error: bad',
  ],
  [
    'rejects',
    async () => {
      throw new Error('bad')
    },
    'Error: bad',
  ],
  [
    'throws what has no text',
    () => {
      throw Object.create(null)
    },
    'object',
  ],
])('warns of a listener that %s, and tells the others', async (_, listener, reason) => {
  const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined)
  const emitter = new Emitter<{ change: number }>()
  const told: number[] = []
  emitter.on('change', listener as () => void)
  emitter.on('change', (value) => void told.push(value))

  emitter.emit('change', 1)
  await Promise.resolve()

  expect(told).toEqual([1])
  expect(warn).toHaveBeenCalledWith(`A listener of "change" threw: ${reason}`, 'MsxListenerWarning')
})
