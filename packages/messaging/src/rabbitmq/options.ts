import type { ConnectionOptions } from 'node:tls'
import { type Backoff, exponential } from '@msx/retry'
import { checkCount, checkDuration, checkFunction, checkText, LONGEST_DELAY, refuse } from '../internal/check.js'
import { completeReplay, type ReplayOptions } from './replay.js'

/** What the socket is made with: options of `net.connect` or, for `amqps:`, of `tls.connect`. */
export interface SocketOptions extends ConnectionOptions {
  /** How long connecting may take, handshake included, in ms. Default 10,000. */
  readonly timeout?: number
  /** Default true. */
  readonly noDelay?: boolean
  /** Default true. */
  readonly keepAlive?: boolean
  /** In ms. */
  readonly keepAliveDelay?: number
}

export interface RabbitmqOptions {
  /**
   * `amqp://user:password@host:port/vhost`, or `amqps:`. Of several each is tried in turn. A function is called for
   * each attempt to connect, so that it can give fresh credentials.
   */
  readonly url: string | readonly string[] | (() => string | Promise<string>)
  readonly socket?: SocketOptions | undefined
  /** The topic exchange that events are published to; its name begins those of the wait queues. Default 'msx.events'. */
  readonly exchange?: string | undefined
  /**
   * Who makes exchanges and queues. `'declare'`: the transport. `'verify'`: somebody else, and the transport only looks
   * whether they are there (bindings and options cannot be looked at). `'none'`: somebody else. A bus's own queue for
   * replies is declared in any case, and so is that of an ephemeral subscription. Default 'declare'.
   */
  readonly topology?: 'declare' | 'verify' | 'none' | undefined
  /** Of the queues of groups and their dead letters. Default 'quorum'. */
  readonly queueType?: 'quorum' | 'classic' | undefined
  /** How many messages of one connection may be without their confirm at a time. Default 1,024. */
  readonly maxInFlight?: number | undefined
  /** How many bytes their bodies may have together. Default 16 MiB. */
  readonly maxInFlightBytes?: number | undefined
  /** What to do with a message above that: let it wait its turn, or reject it with MSX_WINDOW_FULL. Default 'wait'. */
  readonly onFull?: 'wait' | 'reject' | undefined
  /**
   * How long a publish may take, waiting for its turn and for a lost connection included, in ms; then it is rejected
   * with MSX_CONFIRM_TIMEOUT, MSX_WINDOW_FULL or MSX_CONNECTION_LOST. Default 30,000.
   */
  readonly confirmTimeout?: number | undefined
  /**
   * How far what was written and not confirmed is sent again, in order and with the same ids, after its channel or
   * connection is lost: `attempts` times, up to `maxAge` ms after its publish. Beyond, and with `false` at once, it is
   * rejected with MSX_CONNECTION_LOST, and the broker may have it all the same. Default: as often as need be, until
   * `confirmTimeout`.
   */
  readonly replay?: ReplayOptions | false | undefined
  /**
   * How long to wait before each attempt to reconnect. Where it throws, or returns no number of ms, the default is used.
   * Default `exponential({ base: 200, max: 10_000 })` of @msx/retry.
   */
  readonly reconnect?: Backoff | undefined
  /** After how much silence a peer is asked for a sign of life, in ms, rounded up to seconds; 0 for never. Default 10,000. */
  readonly heartbeat?: number | undefined
}

/** Options with every default filled in. */
export interface Settings {
  readonly url: RabbitmqOptions['url']
  readonly socket: SocketOptions
  readonly exchange: string
  readonly topology: 'declare' | 'verify' | 'none'
  readonly queueType: 'quorum' | 'classic'
  readonly maxInFlight: number
  readonly maxInFlightBytes: number
  readonly onFull: 'wait' | 'reject'
  readonly confirmTimeout: number
  readonly replay: ReplayOptions
  readonly reconnect: Backoff
  /** Undefined: as the URL says, else the default. */
  readonly heartbeat: number | undefined
}

/** In ms. A URL may set another with `?heartbeat=` in seconds, as the option may. */
export const DEFAULT_HEARTBEAT = 10_000

/** AMQP counts heartbeats in seconds, in 16 bits. */
const LONGEST_HEARTBEAT = 65_535_000

/** Names have at most 255 bytes; ours have a suffix. */
const LONGEST_EXCHANGE = 230

const WHERE = 'rabbitmq'

/** @throws TypeError for a wrong option. */
export function completeOptions(options: RabbitmqOptions): Settings {
  if (typeof options !== 'object' || options === null) refuse(WHERE, 'options', options, 'an object with a url')

  const { url, socket = {}, exchange = 'msx.events', topology = 'declare', queueType = 'quorum' } = options
  const { maxInFlight = 1_024, maxInFlightBytes = 16 * 1_024 * 1_024, onFull = 'wait' } = options
  const standard = exponential({ base: 200, max: 10_000 })
  const { confirmTimeout = 30_000, reconnect = standard, heartbeat } = options
  checkUrl(url)
  if (typeof socket !== 'object' || socket === null) refuse(WHERE, 'socket', socket, 'an object')
  checkDuration(WHERE, 'socket.timeout', socket.timeout)
  checkText(WHERE, 'exchange', exchange)
  if (Buffer.byteLength(exchange) > LONGEST_EXCHANGE) {
    refuse(WHERE, 'exchange', exchange, `a name of at most ${LONGEST_EXCHANGE} bytes`)
  }
  checkOneOf('topology', topology, ['declare', 'verify', 'none'])
  checkOneOf('queueType', queueType, ['quorum', 'classic'])
  checkCount(WHERE, 'maxInFlight', maxInFlight, 1)
  checkCount(WHERE, 'maxInFlightBytes', maxInFlightBytes, 1)
  checkOneOf('onFull', onFull, ['wait', 'reject'])
  checkDuration(WHERE, 'confirmTimeout', confirmTimeout)
  checkFunction(WHERE, 'reconnect', reconnect)
  if (heartbeat !== undefined && !(typeof heartbeat === 'number' && heartbeat >= 0 && heartbeat <= LONGEST_HEARTBEAT)) {
    refuse(WHERE, 'heartbeat', heartbeat, `a number of milliseconds from 0 to ${LONGEST_HEARTBEAT}`)
  }

  return {
    url: Array.isArray(url) ? [...url] : url,
    socket,
    exchange,
    topology,
    queueType,
    maxInFlight,
    maxInFlightBytes,
    onFull,
    confirmTimeout,
    replay: completeReplay(WHERE, options.replay),
    reconnect: reliable(reconnect, standard),
    heartbeat,
  }
}

/** What is wrong with a back-off must neither end reconnecting nor make it go on without a pause. */
function reliable(backoff: Backoff, standard: Backoff): Backoff {
  return (...facts) => {
    try {
      const delay: unknown = backoff(...facts)
      if (typeof delay === 'number' && delay >= 0) return Math.min(delay, LONGEST_DELAY)
      if (delay instanceof Promise) delay.catch(() => {})
    } catch {
      // There is nobody to throw it to.
    }
    return standard(...facts)
  }
}

function checkUrl(url: unknown): void {
  if (typeof url === 'function') return
  const list: unknown = typeof url === 'string' ? [url] : url
  if (!Array.isArray(list) || list.length === 0) {
    refuse(WHERE, 'url', url, 'an amqp: or amqps: URL, an array of them, or a function that returns one')
  }
  for (const one of list) {
    // The password of a wrong URL is not for the message.
    if (!isAmqpUrl(one))
      refuse(WHERE, 'url', typeof one === 'string' ? withoutSecret(one) : one, 'an amqp: or amqps: URL')
  }
}

export function isAmqpUrl(url: unknown): url is string {
  return typeof url === 'string' && URL.canParse(url) && /^amqps?:$/.test(new URL(url).protocol)
}

function withoutSecret(url: string): string {
  return url.replace(/\/\/.*@/, '//…@')
}

function checkOneOf(option: string, value: unknown, allowed: readonly string[]): void {
  if (!allowed.includes(value as string)) refuse(WHERE, option, value, `one of ${allowed.join(', ')}`)
}
