import { type Effort, measure } from './measure.js'
import { paired, type Spread, spread } from './statistics.js'
import type { Peer, Subject } from './subject.js'

/** Ours beside its peers. */
export interface Contest {
  readonly title: string
  /** The work by itself. With it, ratios are of what each subject adds to it; without it, of whole calls. */
  readonly bare?: Subject | undefined
  readonly ours: Subject
  readonly peers: readonly Peer[]
}

/** What came of a contest. Times are nanoseconds per call. */
export interface Comparison {
  readonly title: string
  readonly rows: readonly Row[]
}

export interface Row {
  readonly name: string
  readonly role: 'bare' | 'ours' | 'peer'
  readonly time: Spread
  /** Time minus that of the bare work, round by round. */
  readonly overhead?: Spread | undefined
  /** Ours over this one, round by round: of the overheads where there is bare work, else of the times. */
  readonly ratio?: Spread | undefined
  readonly target?: number | undefined
  /** Whether the median of the ratio is at or below the target. */
  readonly reached?: boolean | undefined
}

export async function compare({ title, bare, ours, peers }: Contest, effort: Effort): Promise<Comparison> {
  const subjects = [...(bare === undefined ? [] : [bare]), ours, ...peers]
  const samples = await measure(subjects, effort)

  const timesOf = (subject: Subject) => samples.get(subject)!
  const costOf = (subject: Subject) =>
    bare === undefined ? timesOf(subject) : paired(timesOf(subject), timesOf(bare), (whole, work) => whole - work)

  const row = (subject: Subject, role: Row['role']): Row => ({
    name: subject.name,
    role,
    time: spread(timesOf(subject)),
    ...(bare !== undefined && role !== 'bare' && { overhead: spread(costOf(subject)) }),
  })
  const peerRow = (peer: Peer): Row => {
    const ratio = spread(paired(costOf(ours), costOf(peer), (our, their) => our / their))
    return { ...row(peer, 'peer'), ratio, ...judged(ratio, peer.target) }
  }

  return {
    title,
    rows: [...(bare === undefined ? [] : [row(bare, 'bare')]), row(ours, 'ours'), ...peers.map(peerRow)],
  }
}

function judged(ratio: Spread, target: number | undefined): Pick<Row, 'target' | 'reached'> {
  return target === undefined ? {} : { target, reached: ratio.median <= target }
}
