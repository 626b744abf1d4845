import { ParkedKeys } from './internal/parked-keys.js'
import { Processor, type ProcessorParts } from './internal/processor.js'
import { partitionQueue } from './partitions.js'
import type { SubscriptionSettings } from './subscribe-options.js'
import { GroupSubscription, type RunningSubscription, type SubscriptionHealth } from './subscription.js'
import type { TransportConnection } from './transport.js'

/** One subscription per partition, of which each keeps the order of its keys. */
export class OrderedSubscription implements RunningSubscription {
  readonly settings: SubscriptionSettings
  readonly #partitions: readonly GroupSubscription[]
  readonly #onClosed: () => void
  #closed: Promise<void> | undefined

  constructor(
    settings: SubscriptionSettings,
    parts: Omit<ProcessorParts, 'settings' | 'parked'>,
    onClosed: () => void,
  ) {
    const { queue, ordered } = settings
    this.settings = settings
    this.#onClosed = onClosed
    this.#partitions = Array.from({ length: queue.partitions ?? 1 }, (_, partition) => {
      const { partitions: _all, ...one } = { ...queue, name: partitionQueue(queue.name, partition) }
      const own: SubscriptionSettings = { ...settings, queue: one, declared: partition === 0 && queue }
      const parked = ordered?.onFailure === 'park-key' ? new ParkedKeys() : undefined
      return new GroupSubscription(own, new Processor({ ...parts, settings: own, parked }), () => {})
    })
  }

  get group(): string {
    return this.settings.group
  }

  async attach(connection: TransportConnection): Promise<void> {
    // The first one declares them all; the others would only do it again at the same time.
    const [first, ...others] = this.#partitions
    await first?.attach(connection)
    await Promise.all(others.map((partition) => partition.attach(connection)))
  }

  async pause(): Promise<void> {
    await Promise.all(this.#partitions.map((partition) => partition.pause()))
  }

  async resume(): Promise<void> {
    await Promise.all(this.#partitions.map((partition) => partition.resume()))
  }

  close(): Promise<void> {
    this.#closed ??= Promise.all(this.#partitions.map((partition) => partition.close())).then(() => this.#onClosed())

    return this.#closed
  }

  abandon(reason: unknown): void {
    for (const partition of this.#partitions) partition.abandon(reason)
  }

  health(): SubscriptionHealth {
    const all = this.#partitions.map((partition) => partition.health())
    const worst = all.find(({ state }) => state !== 'running') ?? all[0]

    return {
      group: this.group,
      state: worst?.state ?? 'idle',
      running: all.reduce((sum, { running }) => sum + running, 0),
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}
