import type { Definition } from '../definition.js'
import { planOf } from '../definition.js'
import type { SagaEngine } from '../engine.js'
import { duration, shown, text } from '../internal/check.js'
import { LONGEST } from '../plan.js'
import type { Stored } from '../shapes.js'
import type { EventType } from '../step.js'
import type { SagaStatus } from '../store.js'
import type { StepRecord } from '../view.js'
import { Stage } from './stage.js'

export interface FaultOptions {
  /** How many attempts it befalls. Default: all. */
  readonly times?: number | undefined
  /** Default: an Error that says so. */
  readonly error?: unknown
}

/** What came of a tested saga. */
export interface TestedSaga<O> {
  /** `waiting` when it sleeps, or waits for an event, and the test has told of neither. */
  readonly status: SagaStatus
  /** What `returns` gave; undefined unless completed. */
  readonly result: Stored<O> | undefined
  /** Why it was unwound, or why it is stuck. */
  readonly error: Error | undefined
  /** The step that it is stuck or waits at. */
  readonly step: string | undefined
  /** The steps in the order in which they were called: one entry per attempt. */
  readonly calls: readonly string[]
  /** The steps that were undone, in that order. */
  readonly undone: readonly string[]
  readonly history: readonly StepRecord[]
  readonly timeline: string
}

export interface SagaTest<I, O> {
  given(input: I): SagaTest<I, O>
  /** Lets a step fail before it does anything. */
  fail(step: string, options?: FaultOptions): SagaTest<I, O>
  /** Lets a step run, and loses what it answers. */
  inDoubt(step: string, options?: FaultOptions): SagaTest<I, O>
  /** Lets a compensation fail before it does anything. */
  failUndo(step: string, options?: FaultOptions): SagaTest<I, O>
  /** Sends an event, when what came before has come to rest. */
  send<T>(event: EventType<T>, key: string, payload: NoInfer<T>): SagaTest<I, O>
  /** Lets milliseconds pass, when what came before has come to rest. Only sleeps and waits need it: back-off is skipped. */
  advance(ms: number): SagaTest<I, O>
  /** Cancels the saga, when what came before has come to rest. */
  cancel(reason: string): SagaTest<I, O>
  run(): Promise<TestedSaga<O>>
}

export interface TestSagaOptions<Tx> {
  /** What transactional steps are given. Default: something whose `query` finds nothing. */
  readonly tx?: Tx | undefined
}

interface Fault {
  left: number
  readonly after: boolean
  readonly error: unknown
}

type Act = (stage: Stage, engine: SagaEngine<unknown>, id: string) => Promise<unknown>

/**
 * Tests a saga in memory, in no time: its steps are called as they are, but for the faults that the test asks for.
 *
 * @example
 * const { status, undone } = await testSaga(checkout).given({ orderId: '1' }).inDoubt('charge').run()
 */
export function testSaga<I, R, O, Tx>(
  definition: Definition<I, R, O, Tx>,
  options: TestSagaOptions<Tx> = {},
): SagaTest<I, O> {
  const names = planOf(definition).steps.map(({ name }) => name)
  const faults = new Map<string, Fault[]>()
  const acts: Act[] = []
  let input: unknown

  const befall = (kind: string, step: string, after: boolean, { times = Infinity, error }: FaultOptions = {}): void => {
    if (!names.includes(step)) throw new TypeError(`testSaga: there is no step ${shown(step)}, but ${names.join(', ')}`)
    if (times !== Infinity && !(Number.isSafeInteger(times) && times > 0))
      throw new TypeError(`testSaga: times must be a whole number from 1, not ${shown(times)}`)
    const said = after ? `the answer of '${step}' was lost` : `'${step}' was made to fail`
    const at = `${kind} ${step}`
    faults.set(at, [...(faults.get(at) ?? []), { left: times, after, error: error ?? new Error(said) }])
  }
  const faultOf = (at: string): Fault | undefined => {
    const fault = faults.get(at)?.find(({ left }) => left > 0)
    if (fault) fault.left--
    return fault
  }

  const test: SagaTest<I, O> = {
    given(given) {
      input = given
      return test
    },
    fail(step, fault) {
      befall('do', step, false, fault)
      return test
    },
    inDoubt(step, fault) {
      befall('do', step, true, fault)
      return test
    },
    failUndo(step, fault) {
      befall('undo', step, false, fault)
      return test
    },
    send(event, key, payload) {
      text('testSaga: key', key)
      acts.push((_stage, engine) => engine.send(event, key, payload as never))
      return test
    },
    advance(ms) {
      duration('testSaga: advance', ms, Number.NaN, 0, LONGEST)
      acts.push((stage) => stage.advance(ms))
      return test
    },
    cancel(reason) {
      acts.push((_stage, engine, id) => engine.cancel(id, { reason }))
      return test
    },

    async run() {
      const calls: string[] = []
      const stage = new Stage(definition, options.tx, async ({ name }, undo, work) => {
        if (!undo) calls.push(name)
        const fault = names.includes(name) ? faultOf(`${undo ? 'undo' : 'do'} ${name}`) : undefined
        if (fault && !fault.after) throw fault.error
        const answer = await work()
        if (fault) throw fault.error
        return answer
      })
      const engine = stage.engine()
      await engine.run()
      const { id } = await engine.start(stage.definition as Definition<unknown, unknown, O, unknown>, input)

      await skipBackoff(stage)
      for (const act of acts) {
        await act(stage, engine, id)
        await skipBackoff(stage)
      }
      const { status, output, error, step } = (await engine.get(id)) as NonNullable<
        Awaited<ReturnType<typeof engine.get>>
      >
      const history = await engine.history(id)
      const timeline = await engine.timeline(id)
      await engine.close()

      return {
        status,
        result: status === 'completed' ? (output as Stored<O>) : undefined,
        error,
        step,
        calls,
        undone: history.filter(({ kind, outcome }) => kind === 'undo' && outcome === 'ok').map(({ name }) => name),
        history,
        timeline,
      }
    },
  }
  return test
}

/** Time between two attempts tells a test nothing. */
function skipBackoff(stage: Stage): Promise<void> {
  return stage.skip(({ progress }) => progress.status === 'running' || progress.status === 'compensating')
}
