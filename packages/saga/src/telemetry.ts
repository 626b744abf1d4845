import { warn } from './events.js'
import { shown } from './internal/check.js'

/** A saga, as spans and metrics tell of it. */
export interface TracedSaga {
  readonly sagaId: string
  readonly name: string
  readonly version: number
}

export interface TracedAttempt {
  readonly step: string
  readonly attempt: number
  readonly direction: 'forward' | 'backward'
}

/** One stay of a saga in one process, from its claim until it rests, waits or is lost. */
export interface RunTelemetry {
  /** Runs one attempt of a step or of its compensation, so that what it calls belongs to it. */
  attempt<T>(attempt: TracedAttempt, work: () => Promise<T>): Promise<T>
  end(status: string): void
}

/** What an engine tells about its work: made by `openTelemetry()` of `@msx/saga/opentelemetry`, or anything of this shape. */
export interface Telemetry {
  /** A saga is being started: what to keep with it, so that all that it does, wherever, belongs to one trace. */
  start(saga: TracedSaga): { readonly carrier: string | undefined; end(failure?: { readonly error: unknown }): void }
  run(saga: TracedSaga, carrier: string | undefined): RunTelemetry
}

/**
 * The same, which never throws: what it makes of a saga is no part of it. A step's attempt ends as the step does.
 *
 * @throws TypeError for what is no telemetry.
 */
export function guarded(telemetry: Telemetry | undefined): Telemetry | undefined {
  if (telemetry === undefined) return undefined
  for (const method of ['start', 'run'] as const)
    if (typeof telemetry?.[method] !== 'function')
      throw new TypeError(`createSagaEngine: telemetry.${method} must be a function, not ${shown(telemetry?.[method])}`)

  return {
    start(saga) {
      const span = safely(() => telemetry.start(saga))
      const carrier: unknown = safely(() => span?.carrier)
      return {
        carrier: typeof carrier === 'string' ? carrier : undefined,
        end: (failure) => safely(() => span?.end(failure)),
      }
    },

    run(saga, carrier) {
      const run = safely(() => telemetry.run(saga, carrier))
      return {
        async attempt<T>(attempt: TracedAttempt, work: () => Promise<T>) {
          let working: Promise<T> | undefined
          const once = (): Promise<T> => {
            working ??= work()
            return working
          }
          const told = (async () => run?.attempt(attempt, once))().catch(async (error: unknown) => {
            // The step's own error comes through it; any other is its mistake.
            const isOwn = await working?.then(
              () => false,
              (own: unknown) => own === error,
            )
            if (!isOwn) warn('telemetry', error)
          })
          // It may let the step begin later; when it does not, the step begins without it.
          if (!working) await told
          return once()
        },
        end: (status) => safely(() => run?.end(status)),
      }
    },
  }
}

function safely<T>(tell: () => T): T | undefined {
  try {
    const told = tell()
    if (told instanceof Promise) told.catch((error: unknown) => warn('telemetry', error))
    return told
  } catch (error) {
    warn('telemetry', error)
    return undefined
  }
}
