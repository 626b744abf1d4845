import type { Sending, SentMessage, Telemetry } from '../telemetry.js'
import type { Transport, WireMessage } from '../transport.js'

/** Runs one attempt to handle a message. */
export type Attempt<T> = () => Promise<T>

type Send = (wire: WireMessage) => Promise<void>

/** Shows messages to a telemetry, which cannot get in their way. */
export class Watch {
  readonly #telemetry: Telemetry
  readonly #system: string
  readonly #exchange: string | undefined
  readonly #types: ReadonlySet<string>

  constructor(
    telemetry: Telemetry,
    { system = 'msx', exchange }: Pick<Transport, 'system' | 'exchange'>,
    types: readonly string[],
  ) {
    this.#telemetry = telemetry
    this.#system = system
    this.#exchange = exchange
    this.#types = new Set(types)
  }

  /** Sends the message with what the telemetry adds to it. `queue`: it goes there, and not to the exchange. */
  async send(wire: WireMessage, queue: string | undefined, send: Send): Promise<void> {
    const sending = this.#begin('send', this.#factsOf(wire, queue ?? this.#address(wire.type)))

    return sending === undefined ? send(wire) : this.#sending(sending, wire, send)
  }

  /** The same for what an outbox kept. */
  async forward(wire: WireMessage, send: Send): Promise<void> {
    const sending = this.#begin('forward', this.#factsOf(wire, this.#address(wire.type)))

    return sending === undefined ? send(wire) : this.#sending(sending, wire, send)
  }

  async #sending(sending: Sending, wire: WireMessage, send: Send): Promise<void> {
    try {
      await send({ ...wire, headers: { ...wire.headers, ...sending.headers } })
    } catch (error) {
      quietly(() => sending.end({ error }))
      throw error
    }
    quietly(() => sending.end())
  }

  /** The outcome is the attempt's own, whatever the telemetry makes of it. */
  async process<T extends { readonly error: unknown } | undefined>(
    wire: WireMessage,
    { group, queue, attempt, redelivered }: { group: string; queue: string; attempt: number; redelivered: boolean },
    run: Attempt<T>,
  ): Promise<T> {
    let running: Promise<T> | undefined
    const once = (): Promise<T> => {
      running ??= run()
      return running
    }
    const destination = this.#exchange === undefined ? wire.type : `${this.#exchange}:${wire.type}:${queue}`
    try {
      await this.#telemetry.process({ ...this.#factsOf(wire, destination), group, attempt, redelivered }, once)
    } catch {
      // Not the message's problem.
    }
    return once()
  }

  #begin(how: 'send' | 'forward', facts: SentMessage): Sending | undefined {
    try {
      return this.#telemetry[how]?.(facts)
    } catch {
      return undefined
    }
  }

  #address(type: string): string {
    return this.#exchange === undefined ? type : `${this.#exchange}:${type}`
  }

  #factsOf({ type, id, correlationId, headers, body }: WireMessage, destination: string): SentMessage {
    return {
      system: this.#system,
      destination,
      type: this.#types.has(type) ? type : undefined,
      routingKey: type,
      id: id ?? 'unknown',
      correlationId,
      headers,
      bodySize: body.length,
    }
  }
}

function quietly(work: () => void): void {
  try {
    work()
  } catch {
    // An observer's failure is not the observed one's.
  }
}
