import { MessagingError } from '../errors.js'

/** The part of the optional peer that is loaded at run time. Everything else of it is types. */
export type Amqplib = Pick<typeof import('amqplib'), 'connect'>

/** Loads the peer, or says how to install it. */
export async function loadAmqplib(): Promise<Amqplib> {
  try {
    const loaded = await import('amqplib')
    return (loaded as { default?: Amqplib }).default ?? loaded
  } catch (cause) {
    if ((cause as { code?: unknown }).code !== 'ERR_MODULE_NOT_FOUND') throw cause

    const problem = "@msx/messaging/rabbitmq needs the package 'amqplib', which is not installed: npm install amqplib@2"
    throw new MessagingError('MSX_PEER_MISSING', problem, { retryable: false, cause, details: { peer: 'amqplib' } })
  }
}
