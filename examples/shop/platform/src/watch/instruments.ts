import { createEdges, type Edges } from './edges.js'
import { createFaults, type Faults } from './faults.js'
import { createSpans, type Spans } from './spans.js'

/** What one service is watched and disturbed with. */
export interface Instruments {
  readonly edges: Edges
  readonly faults: Faults
  readonly spans: Spans
  /** What the operations API has to show before the service answers it. Undefined: nobody may. */
  readonly token: string | undefined
  /** Ends the service as SIGKILL would, for whoever runs it to start it again. */
  kill(): void
}

export interface InstrumentOptions {
  readonly token?: string | undefined
  /** Where spans are sent, besides being kept: the base address of an OTLP receiver. */
  readonly traces?: string | undefined
  kill?(): void
}

export function createInstruments(service: string, options: InstrumentOptions = {}): Instruments {
  const { token, traces, kill = () => {} } = options
  return { edges: createEdges(), faults: createFaults(service), spans: createSpans(service, traces), token, kill }
}
