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
