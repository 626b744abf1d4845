import type { Duplex } from 'node:stream'
import type { Channel, ChannelModel } from 'amqplib'
import { connectionLost } from './failure.js'

/** Runs something on a channel of its own, since any refusal of the broker closes the channel it was met on. */
export async function onChannel<T>(model: ChannelModel, work: (channel: Channel) => Promise<T>): Promise<T> {
  const channel = await model.createChannel()
  // The operation rejects with it; without a listener it would end the process.
  channel.on('error', () => {})
  try {
    return await work(channel)
  } finally {
    void closeChannel(channel)
  }
}

/** Never rejects, also where amqplib's own promise stays open: when the connection ends before the broker answers. */
export function closeChannel(channel: Channel): Promise<void> {
  return new Promise((resolve) => {
    channel.once('close', resolve)
    channel.close().then(resolve, () => resolve())
  })
}

/** What amqplib leaves open for ever: a message of which the channel's end let only a part come. */
export function unlessClosed<T>(channel: Channel, doing: string, answer: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    // Why the broker closed it comes a moment later, with the answer.
    const onClose = (): void => void setImmediate(() => reject(connectionLost(doing, undefined)))
    channel.once('close', onClose)
    answer.finally(() => channel.off('close', onClose)).then(resolve, reject)
  })
}

/** Never rejects. A broker that does not answer within `patience` ms is hung up on. */
export function closeModel(model: ChannelModel, patience: number): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer)
      resolve()
    }
    const timer = setTimeout(() => {
      hangUp(model)
      resolve()
    }, patience)
    model.once('close', done)
    model.close().then(done, done)
  })
}

/** amqplib ends its half of a socket and waits for the other half, which a peer that is gone never ends. */
export function hangUp(model: ChannelModel): void {
  streamOf(model)?.destroy()
}

/** The socket under a connection, which amqplib has no name for. */
export function streamOf(model: ChannelModel): Duplex | undefined {
  return (model.connection as { stream?: Duplex }).stream
}
