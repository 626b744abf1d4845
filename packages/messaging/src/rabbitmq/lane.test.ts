import { EventEmitter } from 'node:events'
import type { Channel, Message } from 'amqplib'
import { expect, test } from 'vitest'
import type { Delivery } from '../transport.js'
import { Lane } from './lane.js'
import { namesOf } from './names.js'

/** A channel that writes down what it is asked. */
class Recorder extends EventEmitter {
  readonly said: string[] = []

  ack({ fields }: Message, multiple = false): void {
    this.said.push(`ack ${multiple ? 'up to ' : ''}${fields.deliveryTag}`)
  }

  nack({ fields }: Message, _multiple: boolean, requeue: boolean): void {
    this.said.push(`${requeue ? 'release' : 'reject'} ${fields.deliveryTag}`)
  }

  async checkQueue(): Promise<void> {
    this.said.push('check')
  }

  async close(): Promise<void> {
    this.said.push('close')
    this.emit('close')
  }
}

function lane(): { lane: Lane; said: string[]; channel: Recorder; deliver(count: number): Delivery[] } {
  const channel = new Recorder()
  const made = new Lane(channel as unknown as Channel, 'q', namesOf('ev'))
  let tag = 0
  const next = (): Delivery => {
    tag += 1
    const fields = { deliveryTag: tag, redelivered: false, exchange: 'ev', routingKey: 't' }
    return made.deliver({ content: Buffer.from('{}'), fields, properties: { headers: {} } as never } as Message)
  }

  return { lane: made, said: channel.said, channel, deliver: (count) => Array.from({ length: count }, next) }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('acknowledges in one word what handlers finish in one turn, also when each takes some promises', async () => {
  const { said, deliver } = lane()

  await Promise.all(
    deliver(50).map(async (delivery, index) => {
      for (let hops = index % 5; hops > 0; hops -= 1) await undefined
      delivery.ack()
    }),
  )
  await turn()

  expect(said).toEqual(['ack up to 50'])
})

test('never acknowledges past a delivery that a handler still has, and does not wait for it either', async () => {
  const { said, deliver } = lane()
  const [first, second, slow, fourth, fifth] = deliver(5)

  for (const delivery of [first, fourth, second, fifth]) delivery?.ack()
  await turn()
  slow?.ack()
  await turn()

  expect(said).toEqual(['ack up to 2', 'ack 4', 'ack 5', 'ack up to 3'])
})

test('names no delivery that was given back by itself', async () => {
  const { said, deliver } = lane()
  const [first, second, third] = deliver(3)

  first?.ack()
  second?.release()
  third?.reject()
  await turn()

  expect(said).toEqual(['release 2', 'reject 3', 'ack up to 1'])
})

test('says what is done before it closes', async () => {
  const { lane: made, said, deliver } = lane()
  const [first] = deliver(2)

  first?.ack()
  await made.close()

  expect(said).toEqual(['ack up to 1', 'check', 'close'])
})

test('closes by itself once nothing new comes and the last delivery is settled', async () => {
  const { lane: made, said, deliver } = lane()
  const [first, second] = deliver(2)

  first?.ack()
  made.retire()
  await turn()
  second?.ack()
  await turn()

  expect(said).toEqual(['ack up to 1', 'ack up to 2', 'check', 'close'])
})

test('says nothing on a channel that is gone: its numbers are other messages on the next one', async () => {
  const { said, channel, deliver } = lane()
  const [first, second, third] = deliver(3)

  first?.ack()
  channel.emit('close')
  second?.ack()
  third?.release()
  await turn()

  expect(said).toEqual([])
  expect(first?.gone).toBe(false)
})
