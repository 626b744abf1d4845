import type { Timekeeper } from '../clock.js'
import { withFailure } from '../dead-letter.js'
import { MessagingError } from '../errors.js'
import { HEADER, readCount } from '../internal/envelope.js'
import { queueNotFound, unroutable } from '../internal/refusals.js'
import { topicMatcher } from '../match.js'
import { partitionOf, partitionQueue } from '../partitions.js'
import type { PublishTerms, QueueSpec, WireMessage } from '../transport.js'
import { Agenda } from './agenda.js'
import { MemoryQueue, type QueueHost } from './queue.js'

/** Where messages of a binding go: a queue, or the partition that a message belongs to. */
interface Destination {
  readonly spec: QueueSpec
  put(message: WireMessage): void
}

interface Binding {
  readonly queue: Destination
  readonly pattern: string
  readonly matches: (key: string) => boolean
}

/** How many routing keys the broker remembers the queues of. Foreign publishers may invent any number of keys. */
const ROUTES_REMEMBERED = 1_000

/** Exchange, bindings, queues and delays: everything a RabbitMQ would keep for us, in this process. */
export class MemoryBroker implements QueueHost {
  readonly queues: Map<string, MemoryQueue> = new Map()
  readonly #time: Timekeeper
  readonly #agenda: Agenda
  readonly #accepted: (message: WireMessage) => void
  #bindings: readonly Binding[] = []
  readonly #routes = new Map<string, readonly Destination[]>()
  readonly #partitioned = new Map<string, Destination>()
  #connections = 0
  #inHands = 0
  #delayed = 0
  #whenCalm: (() => void)[] = []

  constructor(time: Timekeeper, accepted: (message: WireMessage) => void) {
    this.#time = time
    this.#agenda = new Agenda(time)
    this.#accepted = accepted
  }

  /** Time passes only for those who are connected: delays hold no process alive that has closed its buses. */
  connected(change: 1 | -1): void {
    this.#connections += change
    if (this.#connections === 0) this.#agenda.pause()
    else this.#agenda.resume()
    this.#tellIfCalm()
  }

  declare(spec: QueueSpec): Destination {
    const queue = this.#destinationFor(spec)
    if (spec.deadLetterQueue !== undefined) this.#queueFor({ name: spec.deadLetterQueue, patterns: [] })

    const known = new Set(this.#bindings.filter((binding) => binding.queue === queue).map(({ pattern }) => pattern))
    const added = [...new Set(spec.patterns)].filter((pattern) => !known.has(pattern))
    this.#bind([...this.#bindings, ...added.map((pattern) => ({ queue, pattern, matches: topicMatcher(pattern) }))])
    return queue
  }

  #destinationFor(spec: QueueSpec): Destination {
    if (spec.existing === true) return this.find(spec.name)

    return spec.partitions === undefined ? this.#queueFor(spec) : this.#partitionsFor(spec, spec.partitions)
  }

  delete(queue: MemoryQueue): void {
    this.queues.delete(queue.spec.name)
    this.#bind(this.#bindings.filter((binding) => binding.queue !== queue))
  }

  /** Throws when the message must reach somebody and reaches nobody. */
  publish(message: WireMessage, { mandatory, delay }: PublishTerms): void {
    if (delay !== undefined && delay > 0) {
      this.#accepted(message)
      this.#later(delay, () => this.#deliver(message))
      return
    }

    if (mandatory && this.#route(message.type).length === 0) throw unroutable(message)
    this.#accepted(message)
    this.#deliver(message)
  }

  send(name: string, message: WireMessage, delay: number): void {
    const queue = this.find(name)
    if (delay > 0) this.#later(delay, () => queue.put(message))
    else queue.put(message)
  }

  find(name: string): MemoryQueue {
    const queue = this.queues.get(name)
    if (queue !== undefined) return queue

    throw queueNotFound(name)
  }

  /** Whether something is in somebody's hands or, if that counts, waits for a time that will come. */
  isBusy(countDelayed: boolean): boolean {
    return this.#inHands > 0 || (countDelayed && this.#delayed > 0 && this.#connections > 0)
  }

  async calm(countDelayed: boolean): Promise<void> {
    while (this.isBusy(countDelayed)) await new Promise<void>((resolve) => this.#whenCalm.push(resolve))
  }

  now(): number {
    return this.#time.now()
  }

  after(ms: number, run: () => void): void {
    this.#agenda.after(ms, run)
  }

  discard(queue: MemoryQueue, message: WireMessage, why: 'expired' | 'rejected'): void {
    const { name, deadLetterQueue } = queue.spec
    if (deadLetterQueue === undefined) return

    const code = why === 'expired' ? 'MSX_EXPIRED' : 'MSX_REJECTED'
    const reason = why === 'expired' ? `waited longer than its ttl of ${message.ttl} ms` : 'rejected by its consumer'
    const attempts = readCount(message.headers, HEADER.attempts) ?? 0
    this.queues.get(deadLetterQueue)?.put(withFailure(message, { group: name, code, reason, attempts }))
  }

  inHands(change: number): void {
    this.#inHands += change
    this.#tellIfCalm()
  }

  #deliver(message: WireMessage): void {
    for (const queue of this.#route(message.type)) queue.put(message)
  }

  #later(delay: number, run: () => void): void {
    this.#delayed += 1
    this.#agenda.after(delay, () => {
      this.#delayed -= 1
      run()
      this.#tellIfCalm()
    })
  }

  #tellIfCalm(): void {
    if (this.#whenCalm.length === 0 || this.#inHands > 0) return

    const waiting = this.#whenCalm
    this.#whenCalm = []
    for (const resolve of waiting) resolve()
  }

  #queueFor(spec: QueueSpec, single = false): MemoryQueue {
    const existing = this.queues.get(spec.name)
    if (existing === undefined) {
      const queue = new MemoryQueue(spec, this, single)
      this.queues.set(spec.name, queue)
      return queue
    }

    for (const option of ['deadLetterQueue', 'temporary'] as const) {
      if (existing.spec[option] !== spec[option]) throw mismatch(existing.spec, spec, option)
    }
    return existing
  }

  #bind(bindings: readonly Binding[]): void {
    this.#bindings = bindings
    this.#routes.clear()
  }

  #partitionsFor(spec: QueueSpec, partitions: number): Destination {
    const { name, deadLetterQueue } = spec
    const existing = this.#partitioned.get(name)
    if (existing !== undefined) {
      for (const option of ['deadLetterQueue', 'partitions'] as const) {
        if (existing.spec[option] !== spec[option]) throw mismatch(existing.spec, spec, option)
      }
      return existing
    }

    const queues = Array.from({ length: partitions }, (_, partition) =>
      this.#queueFor({ name: partitionQueue(name, partition), patterns: [], deadLetterQueue }, true),
    )
    const all: Destination = {
      spec,
      put: (message) => queues[partitionOf(message.headers, partitions)]?.put(message),
    }
    this.#partitioned.set(name, all)
    return all
  }

  #route(key: string): readonly Destination[] {
    const known = this.#routes.get(key)
    if (known !== undefined) return known

    // A set: a queue whose patterns overlap gets a message once.
    const queues = [...new Set(this.#bindings.filter(({ matches }) => matches(key)).map(({ queue }) => queue))]
    if (this.#routes.size >= ROUTES_REMEMBERED) this.#routes.clear()
    this.#routes.set(key, queues)
    return queues
  }
}

function mismatch(
  there: QueueSpec,
  wanted: QueueSpec,
  option: 'deadLetterQueue' | 'temporary' | 'partitions',
): MessagingError {
  const details = { queue: wanted.name, option, there: there[option], wanted: wanted[option] }
  const problem = `queue '${wanted.name}' is there with ${option} ${details.there}, wanted is ${details.wanted}`

  return new MessagingError('MSX_TOPOLOGY_MISMATCH', problem, { retryable: false, details })
}
