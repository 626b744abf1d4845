import type { Store } from '../store.js'

/** What a test does to the process: the call at which it dies, and on which side of the store's work. */
export interface Death {
  readonly call: number
  readonly side: 'before' | 'after'
}

const NEVER = new Promise<never>(() => undefined)
export const VERBS = [
  'create',
  'claim',
  'commit',
  'commitWith',
  'spawn',
  'receive',
  'deliver',
  'prune',
  'load',
  'describe',
  'outline',
  'list',
  'enlist',
  'beat',
  'sweep',
  'leave',
] as const

/** What is asked again and again, or changes no saga. */
const HOUSEKEEPING: ReadonlySet<string> = new Set(['beat', 'sweep', 'load', 'list', 'describe', 'outline'])

/**
 * A store as a process sees it that dies at one of its calls: from then on nothing it asks is answered, and nothing
 * more of it reaches the store.
 */
export function mortal<Tx>(
  store: Store<Tx>,
  death?: Death,
): { store: Store<Tx>; kill(): void; calls(): number; dead: Promise<void> } {
  let calls = 0
  let isDead = false
  let died: () => void = () => undefined
  const dead = new Promise<void>((resolve) => {
    died = resolve
  })
  const kill = (): void => {
    isDead = true
    died()
  }

  const wrapped: Record<string, unknown> = { transactional: store.transactional }
  for (const verb of VERBS) {
    wrapped[verb] = async (...args: never[]) => {
      if (isDead) return NEVER
      // Housekeeping would make the count depend on time.
      const counted = !HOUSEKEEPING.has(verb)
      const dies = counted && death?.call === ++calls
      if (dies && death.side === 'before') {
        kill()
        return NEVER
      }
      const answer = await (store[verb] as (...args: never[]) => Promise<unknown>).apply(store, args)
      if (dies) kill()
      return isDead ? NEVER : answer
    }
  }
  return { store: wrapped as unknown as Store<Tx>, kill, calls: () => calls, dead }
}
