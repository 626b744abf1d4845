import type { Notice } from './moves.js'
import type { SagaStatus } from './store.js'

export interface SagaEvent {
  readonly sagaId: string
  readonly name: string
  readonly status: SagaStatus
  /** Why it is being unwound, or why it is stuck. */
  readonly error?: unknown
}

export interface StepEvent {
  readonly sagaId: string
  readonly name: string
  readonly step: string
  readonly attempt: number
  /** Milliseconds that the attempt took. */
  readonly took: number
  readonly error?: unknown
  /** Milliseconds until the next attempt, for `stepRetry`. */
  readonly delay?: number | undefined
}

/** What an engine tells: each event after the write that made it true, and only by the engine that made the write. */
export interface SagaEvents {
  sagaStarted: SagaEvent
  /** It is nobody's until a timer, an event or a child wakes it. */
  sagaWaiting: SagaEvent
  sagaCompensating: SagaEvent
  sagaCompleted: SagaEvent
  sagaCompensated: SagaEvent
  sagaCancelled: SagaEvent
  sagaStuck: SagaEvent
  sagaAbandoned: SagaEvent
  stepStarted: Omit<StepEvent, 'took'> & { readonly direction: 'forward' | 'backward' }
  stepRetry: StepEvent
  stepDone: StepEvent
  /** Its `when` said no. */
  stepSkipped: StepEvent
  stepFailed: StepEvent
  stepInDoubt: StepEvent
  stepUndone: StepEvent
  stepUndoFailed: StepEvent
  /** One statement wrote the checkpoints of so many sagas, in so many milliseconds. */
  batch: { readonly rows: number; readonly took: number }
  /** This worker's lease was taken away: its running steps are aborted, another worker carries on. */
  leaseLost: { readonly error?: unknown }
  /** The store failed in the background; the engine tries again. */
  storeError: { readonly during: string; readonly error: unknown }
}

export interface Emit {
  <E extends keyof SagaEvents>(event: E, payload: SagaEvents[E]): void
  /** Whether anybody listens. */
  wanted(event: keyof SagaEvents): boolean
}

export interface Emitter {
  on<E extends keyof SagaEvents>(event: E, listener: (payload: SagaEvents[E]) => void): () => void
  readonly emit: Emit
}

export function emitter(): Emitter {
  const listeners = new Map<keyof SagaEvents, Set<(payload: never) => void>>()
  const wanted = (event: keyof SagaEvents): boolean => (listeners.get(event)?.size ?? 0) > 0
  const emit = <E extends keyof SagaEvents>(event: E, payload: SagaEvents[E]): void => {
    if (!wanted(event)) return
    for (const listener of [...(listeners.get(event) ?? [])]) {
      try {
        const returned: unknown = listener(payload as never)
        if (returned instanceof Promise) returned.catch(warnOfListener)
      } catch (error) {
        warnOfListener(error)
      }
    }
  }

  return {
    emit: Object.assign(emit, { wanted }),

    on(event, listener) {
      if (typeof listener !== 'function') throw new TypeError(`the listener of '${event}' must be a function`)
      const wrapped = (payload: never): void => listener(payload)
      const set = listeners.get(event) ?? new Set()
      listeners.set(event, set.add(wrapped))
      return () => void set.delete(wrapped)
    },
  }
}

const warnOfListener = (error: unknown): void => warn('listener', error)

/** Whoever is told of a saga must not break it, and his mistake must not vanish either. */
export function warn(who: 'listener' | 'telemetry', error: unknown): void {
  const warning = error instanceof Error ? error : `${who} threw what is no Error`
  process.emitWarning(warning, { code: `MSX_SAGA_${who.toUpperCase()}` })
}

export function isStepNotice(notice: Notice): notice is Notice & `step${string}` {
  return notice.startsWith('step')
}
