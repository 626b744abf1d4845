import { type Benchmark, calling, judge, measure, type Peer, paired, type Subject } from '../harness/index.js'
import { breakers } from './policies.js'
import { ANSWER } from './work.js'

/**
 * A closed breaker while nearly everything fails. Its rule is that all calls fail, and one in each round does not, so it
 * judges the rate at every call and stays closed. A failure may cost what a success costs and what the error itself
 * costs, which is measured in the bare function.
 */
export const failures: Benchmark = {
  name: 'failures',
  async *run(effort) {
    const ours = breakers.msx(ALL_FAIL)
    const cockatiel = breakers.cockatiel(ALL_FAIL)

    const bareSuccess = settling('await fn()', () => succeed())
    const bareFailure = settling('await fn(), failing', () => fail())
    const success = settling('@msx/circuit-breaker, succeeding', () => ours.execute(succeed))
    const failure = afterSuccess(
      ours,
      settling('@msx/circuit-breaker, failing', () => ours.execute(fail)),
    )
    const peer = afterSuccess(
      cockatiel,
      settling('cockatiel, failing', () => cockatiel.execute(fail)),
    )

    const samples = new Map(await measure([bareSuccess, bareFailure, success, failure, peer], effort, 'cpu'))
    const errors = paired(
      samples.get(bareFailure)!,
      samples.get(bareSuccess)!,
      (failed, succeeded) => failed - succeeded,
    )
    const expected: Peer = { ...success, name: 'its success, and the error itself', target: 1.5 }
    samples.set(expected, [...paired(samples.get(success)!, errors, (time, error) => time + error)])

    yield judge(
      {
        title: 'Circuit breaker, every call fails',
        ours: failure,
        peers: [expected, success, peer, bareFailure, bareSuccess],
      },
      samples,
    )
  },
}

const ALL_FAIL = { failureRate: 1 }

/** Both ends of the call are listened to, so that success and failure differ in nothing else. */
function settling(name: string, call: () => Promise<number>): Subject {
  return calling(name, 'sequential', () => call().then(undefined, recovered), ANSWER)
}

/** The one success that keeps a circuit closed. */
function afterSuccess(policy: { execute(work: () => Promise<number>): Promise<number> }, subject: Subject): Subject {
  return {
    name: subject.name,
    async run(calls) {
      await policy.execute(succeed)
      await subject.run(calls)
    },
  }
}

function recovered(error: Error): number {
  return error.message === 'down' ? ANSWER : Number.NaN
}

async function succeed(): Promise<number> {
  return ANSWER
}

async function fail(): Promise<number> {
  throw new Error('down')
}
