import { CircuitOpenError } from '@msx/circuit-breaker'
import { BrokenCircuitError } from 'cockatiel'
import { type Benchmark, type Contest, calling, compare } from '../harness/index.js'
import { breakers } from './policies.js'
import { ANSWER } from './work.js'

/** An open breaker that rejects every call, with the stack trace that errors have by default and without. */
export const rejection: Benchmark = {
  name: 'rejection',
  async *run(effort) {
    const { contest, close } = await openBreakers()
    yield await compare(contest, effort)

    const limit = Error.stackTraceLimit
    Error.stackTraceLimit = 0
    yield await compare({ ...contest, title: `${contest.title}, no stack traces` }, effort)
    Error.stackTraceLimit = limit
    close()
  },
}

async function openBreakers(): Promise<{ contest: Contest; close(): void }> {
  const opened = { minimumCalls: 1 }
  const ours = breakers.msx(opened)
  const cockatiel = breakers.cockatiel(opened)
  const opossum = breakers.opossum(work, opened)
  for (const failed of [ours.execute(fail), cockatiel.execute(fail)]) await failed.catch(() => {})
  opossum.open()

  return {
    contest: {
      stopwatch: 'cpu',
      title: 'Rejection by an open circuit',
      ours: calling('@msx/circuit-breaker', 'sequential', () => kindOf(ours.execute(work)), CircuitOpenError),
      peers: [
        {
          ...calling('cockatiel', 'sequential', () => kindOf(cockatiel.execute(work)), BrokenCircuitError),
          target: 1,
        },
        calling('opossum', 'sequential', () => kindOf(opossum.fire()), Error),
        calling('Promise.reject(new Error())', 'sequential', () => kindOf(Promise.reject(new Error('open'))), Error),
      ],
    },
    close: () => opossum.shutdown(),
  }
}

/** The class of what a promise rejects with: a call that was let through answers with something else. */
function kindOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(() => 'let through', classOf)
}

function classOf(error: Error): unknown {
  return error.constructor
}

async function work(): Promise<number> {
  return ANSWER
}

async function fail(): Promise<number> {
  throw new Error('down')
}
