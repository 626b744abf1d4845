import { EventEmitter } from 'node:events'
import type { ChannelModel } from 'amqplib'
import { expect, test } from 'vitest'
import { completeOptions } from './options.js'
import { Topology } from './topology.js'

/** A broker that writes down what is declared and bound; a queue takes `made` until it is there. */
function brokerThat(made: () => Promise<void>): { model: ChannelModel; said: string[] } {
  const said: string[] = []
  const channel = {
    assertExchange: async () => {},
    bindExchange: async () => {},
    async assertQueue(queue: string) {
      said.push(`declare ${queue}`)
      await made()
    },
    async bindQueue(queue: string, exchange: string) {
      said.push(`bind ${queue} to ${exchange}`)
    },
    async close() {},
  }
  const createChannel = async (): Promise<unknown> => Object.assign(new EventEmitter(), channel)

  return { model: { createChannel } as unknown as ChannelModel, said }
}

function topology(): Topology {
  return new Topology(completeOptions({ url: 'amqp://127.0.0.1', exchange: 'ev' }))
}

test('one wait that several queues need at once is declared once, and each goes on when it is there', async () => {
  let start = (): void => {}
  const started = new Promise<void>((resolve) => {
    start = resolve
  })
  const waits = topology()
  const { model, said } = brokerThat(() => started)

  const asked = ['a', 'a', 'b'].map((queue) => waits.addWait(model, 'retry', 1_000, queue))
  await new Promise((resolve) => setImmediate(resolve))
  expect(said).toEqual(['declare ev.unclaimed'])
  start()
  await Promise.all(asked)

  expect(said.filter((line) => line === 'declare ev.retry.1000')).toHaveLength(1)
  const made = said.indexOf('bind ev.retry.1000 to ev.retry.1000')
  expect(said.slice(made + 1)).toEqual(['bind a to ev.retry', 'bind a to ev.retry', 'bind b to ev.retry'])
  expect(waits.hasWait(model, 'retry', 1_000, 'b')).toBe(true)
})

test('a wait that could not be declared is tried again by the next who needs it', async () => {
  let attempts = 0
  const waits = topology()
  const { model } = brokerThat(async () => {
    attempts += 1
    if (attempts === 1) throw new Error('not now')
  })
  const outcomes = await Promise.allSettled([
    waits.addWait(model, 'delay', 1_000),
    waits.addWait(model, 'delay', 1_000),
  ])
  expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected'])

  await waits.addWait(model, 'delay', 1_000)

  expect(waits.hasWait(model, 'delay', 1_000)).toBe(true)
})
