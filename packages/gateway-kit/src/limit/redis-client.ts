import { hash } from 'node:crypto'

/** What a limiter needs of ioredis (5 or 6), of a single server or a cluster. */
export interface CallingClient {
  call(command: string, ...args: string[]): Promise<unknown>
}

/** What a limiter needs of `redis` (4 or later). */
export interface SendingClient {
  sendCommand(args: string[]): Promise<unknown>
}

/** A client of Redis or Valkey, by its shape. It stays yours: connect it, listen to its errors, close it. */
export type RedisClient = CallingClient | SendingClient

/** Runs a script on one key: by its digest, and with its text when the server does not know it (any longer). */
export type Evaluate = (key: string, args: readonly string[], stillWanted: () => boolean) => Promise<unknown>

export function scriptRunner(client: RedisClient, script: string): Evaluate {
  const send = sender(client)
  const digest = hash('sha1', script)

  return async function evaluate(key, args, stillWanted) {
    try {
      return await send('EVALSHA', digest, '1', key, ...args)
    } catch (error) {
      // After the deadline the answer helps nobody, and would only take from the quota.
      if (!isUnknownScript(error) || !stillWanted()) throw error
    }

    return send('EVAL', script, '1', key, ...args)
  }
}

/** Whether this is a client at all. */
export function isRedisClient(value: unknown): value is RedisClient {
  const { call, sendCommand } = (value ?? {}) as { call?: unknown; sendCommand?: unknown }

  return typeof call === 'function' || typeof sendCommand === 'function'
}

function sender(client: RedisClient): (command: string, ...args: string[]) => Promise<unknown> {
  // ioredis has a sendCommand too, which takes something else.
  if ('call' in client && typeof client.call === 'function') return (command, ...args) => client.call(command, ...args)

  const { sendCommand } = client as SendingClient
  return (...args) => sendCommand.call(client, args)
}

const isUnknownScript = (error: unknown): boolean => error instanceof Error && error.message.startsWith('NOSCRIPT')
