import { type Effort, measure, type Stopwatch } from './measure.js'
import { paired, type Spread, spread } from './statistics.js'
import type { Peer, Subject } from './subject.js'

/** Ours beside its peers. */
export interface Contest {
  readonly title: string
  /** Default `wall`. */
  readonly stopwatch?: Stopwatch | undefined
  /** The work by itself. With it, ratios are of what each subject adds to it; without it, of whole calls. */
  readonly bare?: Subject | undefined
  readonly ours: Subject
  readonly peers: readonly Peer[]
}

/** What came of a contest. */
export interface Comparison {
  readonly title: string
  /** Of every `amount`. */
  readonly unit: string
  readonly rows: readonly Row[]
}

export interface Row {
  readonly name: string
  readonly role: 'bare' | 'ours' | 'peer'
  readonly amount: Spread
  /** The amount minus that of the bare work, round by round. */
  readonly added?: Spread | undefined
  /** Ours over this one, round by round: of what is added where there is bare work, else of the amounts. */
  readonly ratio?: Spread | undefined
  readonly target?: Target | undefined
}

export interface Target {
  /** What must stay at or below `limit`: the ratio, or the amount of ours itself. */
  readonly of: 'ratio' | 'amount'
  readonly limit: number
  /** A target must be reached, a goal is to be reached some day. */
  readonly kind: 'target' | 'goal'
  readonly reached: boolean
}

/** Measures a contest in nanoseconds per call. */
export async function compare(contest: Contest, effort: Effort): Promise<Comparison> {
  const { bare, ours, peers, stopwatch } = contest
  const subjects = [...(bare === undefined ? [] : [bare]), ours, ...peers]
  return judge(contest, await measure(subjects, effort, stopwatch))
}

/** Judges what was measured: the samples of each subject, round by round. */
export function judge(
  { title, bare, ours, peers }: Contest,
  samples: ReadonlyMap<Subject, readonly number[]>,
  unit = 'ns/call',
): Comparison {
  const amounts = (subject: Subject) => samples.get(subject)!
  const costs = (subject: Subject) =>
    bare === undefined ? amounts(subject) : paired(amounts(subject), amounts(bare), (whole, work) => whole - work)

  const row = (subject: Subject, role: Row['role']): Row => ({
    name: subject.name,
    role,
    amount: spread(amounts(subject)),
    ...(bare !== undefined && role !== 'bare' && { added: spread(costs(subject)) }),
  })
  const peerRow = (peer: Peer): Row => {
    const ratio = spread(paired(costs(ours), costs(peer), (our, their) => our / their))
    return { ...row(peer, 'peer'), ratio, target: targetOf(peer, ratio.median) }
  }

  return {
    title,
    unit,
    rows: [...(bare === undefined ? [] : [row(bare, 'bare')]), row(ours, 'ours'), ...peers.map(peerRow)],
  }
}

function targetOf({ target, goal }: Peer, ratio: number): Target | undefined {
  const limit = target ?? goal
  if (limit === undefined) return undefined
  return { of: 'ratio', limit, kind: target === undefined ? 'goal' : 'target', reached: ratio <= limit }
}
