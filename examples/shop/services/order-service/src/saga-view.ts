import type { SagaEngine, SagaStatus, StepRecord } from '@msx/saga'
import { reasonOf } from './reason.js'

export interface SagaSteps {
  readonly status: SagaStatus
  readonly steps: readonly StepLine[]
}

/** One line of a checkout's history, for the customer and the console: no stack, no words of a library. */
export interface StepLine {
  readonly name: string
  readonly kind: StepRecord['kind']
  readonly outcome: StepRecord['outcome']
  readonly attempt: number
  readonly startedAt: string
  readonly at: string
  readonly reason?: string
}

export async function sagaView(engine: Pick<SagaEngine, 'get' | 'history'>, id: string): Promise<SagaSteps> {
  const [view, history] = await Promise.all([engine.get(id), engine.history(id)])
  if (view === undefined) throw new Error(`there is no saga ${id}`)

  return { status: view.status, steps: linesOf(history) }
}

export function linesOf(history: readonly StepRecord[]): StepLine[] {
  return history.map(lineOf)
}

function lineOf({ name, kind, outcome, attempt, startedAt, at, error }: StepRecord): StepLine {
  return {
    name,
    kind,
    outcome,
    attempt,
    startedAt: startedAt.toISOString(),
    at: at.toISOString(),
    ...(error !== undefined && { reason: reasonOf(error) }),
  }
}
