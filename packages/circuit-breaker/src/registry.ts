import type { CircuitBreaker } from './circuit-breaker.js'
import type { Listener } from './events.js'
import { Listeners, listenersOf } from './internal/listeners.js'
import { integer, object, wrong } from './internal/validate.js'

/** One circuit per key, each made when it is first asked for. */
export interface CircuitRegistry {
  /** The circuit of this key. The same one each time, unless it was dropped in between. */
  get(key: string): CircuitBreaker
  readonly size: number
  /** The keys and circuits at hand. */
  entries(): IterableIterator<[key: string, circuit: CircuitBreaker]>
  /** Listens to an event and returns what stops it. A listener that throws is ignored. */
  on<E extends keyof CircuitRegistryEvents>(event: E, listener: Listener<CircuitRegistryEvents[E]>): () => void
}

/** The events of a {@link CircuitRegistry}. */
export interface CircuitRegistryEvents {
  /** A circuit was made. */
  readonly added: { readonly key: string; readonly circuit: CircuitBreaker }
  /** A circuit was dropped to make room. */
  readonly dropped: { readonly key: string; readonly circuit: CircuitBreaker }
}

export interface CircuitRegistryOptions {
  /**
   * Above this many circuits, default 1_000, those unused for longest are dropped, but only while they know nothing: closed,
   * no call running, no failure in the window. So there can be more when more are in trouble.
   */
  readonly max?: number | undefined
}

const DEFAULT_MAX = 1_000

/** How many old circuits one `get` looks at for some to drop: keys without end must not make each call slow. */
const LOOKED_AT = 16

/**
 * Keeps circuits by key, one per host for example.
 *
 * @example
 * const circuits = circuitRegistry((name) => circuitBreaker({ name }))
 * await circuits.get(url.host).execute(() => fetch(url))
 *
 * @throws {TypeError} an option is wrong
 */
export function circuitRegistry(
  create: (key: string) => CircuitBreaker,
  options: CircuitRegistryOptions = {},
): CircuitRegistry {
  if (typeof create !== 'function') throw wrong('create', create, 'a function')
  const { max = DEFAULT_MAX } = object('circuitRegistry options', options)
  integer('max', max, 1)

  return boundedCircuits(create, max, false)
}

/**
 * A registry that, with `sparesNoRoom`, holds no more than `max` circuits and those with a call running: where strangers
 * choose the keys, memory matters more than what a circuit knows.
 */
export function boundedCircuits(
  create: (key: string) => CircuitBreaker,
  max: number,
  sparesNoRoom: boolean,
): CircuitRegistry {
  // In order of last use or last look.
  const circuits = new Map<string, CircuitBreaker>()
  const listeners = {
    added: new Listeners<CircuitRegistryEvents['added']>(),
    dropped: new Listeners<CircuitRegistryEvents['dropped']>(),
  }

  const makeRoom = (mayGo: (circuit: CircuitBreaker) => boolean): void => {
    let looked = 0
    for (const [key, circuit] of circuits) {
      if (circuits.size < max || looked++ === LOOKED_AT) return

      circuits.delete(key)
      // To the back of the queue, so that the next look is at others.
      if (mayGo(circuit)) listeners.dropped.emit({ key, circuit })
      else circuits.set(key, circuit)
    }
  }

  return {
    get(key) {
      let circuit = circuits.get(key)
      if (circuit === undefined) {
        circuit = create(key)
        makeRoom(knowsNothing)
        if (sparesNoRoom) makeRoom(isIdle)
        circuits.set(key, circuit)
        // Last: a listener may ask for this very circuit.
        listeners.added.emit({ key, circuit })
      } else {
        circuits.delete(key)
        circuits.set(key, circuit)
      }
      return circuit
    },
    get size() {
      return circuits.size
    },
    entries: () => circuits.entries(),
    on: (event, listener) => listenersOf(listeners, event).add(listener),
  }
}

function isIdle(circuit: CircuitBreaker): boolean {
  return circuit.metrics.inFlight === 0
}

function knowsNothing(circuit: CircuitBreaker): boolean {
  if (circuit.state !== 'closed') return false

  const { inFlight, failures } = circuit.metrics
  return inFlight === 0 && failures === 0
}
