import { EventEmitter } from 'node:events'
import type { Channel } from 'amqplib'
import { expect, test } from 'vitest'
import { unlessClosed } from './channels.js'

test('an answer that the end of its channel cut in two is a lost connection', async () => {
  const channel = new EventEmitter()
  const answer = unlessClosed(channel as Channel, 'get a message', new Promise(() => {}))

  channel.emit('close')

  await expect(answer).rejects.toMatchObject({ code: 'MSX_CONNECTION_LOST' })
})

test('what the broker closed the channel for is told as it is, and nobody listens any more', async () => {
  const channel = new EventEmitter()
  const refused = Promise.reject(new Error('no queue'))
  const answer = unlessClosed(channel as Channel, 'get a message', refused)

  channel.emit('close')

  await expect(answer).rejects.toThrow('no queue')
  expect(await unlessClosed(channel as Channel, 'get a message', Promise.resolve(7))).toBe(7)
  expect(channel.listenerCount('close')).toBe(0)
})
