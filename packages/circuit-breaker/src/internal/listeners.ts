import type { Listener } from '../events.js'
import { typed, wrong } from './validate.js'

/** Most circuits are listened to by nobody. */
const NONE: readonly never[] = []

/** The listeners of one event. The array is replaced, never changed, so a listener may unsubscribe while being told. */
export class Listeners<E> {
  #listeners: readonly Listener<E>[] = NONE

  get any(): boolean {
    return this.#listeners.length > 0
  }

  add(listener: Listener<E>): () => void {
    typed('listener', listener, 'a function')
    const entry: Listener<E> = (event) => listener(event)
    this.#listeners = [...this.#listeners, entry]

    return () => {
      this.#listeners = this.#listeners.filter((other) => other !== entry)
    }
  }

  emit(event: E): void {
    for (const listener of this.#listeners) {
      try {
        const returned: unknown = listener(event)
        if (returned instanceof Promise) returned.catch(drop)
      } catch {
        // A listener watches a call; it must not be able to break it.
      }
    }
  }
}

/** The listeners of the event of this name. */
export function listenersOf<L extends object, E extends keyof L>(listeners: L, event: E): L[E] {
  if (Object.hasOwn(listeners, event)) return listeners[event]
  throw wrong('event', event, Object.keys(listeners).join(' or '))
}

function drop(): void {}
