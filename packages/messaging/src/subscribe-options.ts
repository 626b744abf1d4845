import { checkCount, checkDuration, checkFunction, checkText, refuse } from './internal/check.js'
import { delayUnsupported } from './internal/refusals.js'
import { topicMatcher } from './match.js'
import { completePlan, type RetryPlan } from './retry-plan.js'
import type { QueueSpec } from './transport.js'

export interface SubscribeOptions {
  /** How many messages this process handles at the same time. Default 16. */
  readonly concurrency?: number | undefined
  /** How many messages the broker hands over before the first of them is settled. Default twice the concurrency. */
  readonly prefetch?: number | undefined
  /** How long one attempt may take, in ms; then `message.signal` is aborted and the attempt has failed. Default: for ever. */
  readonly timeout?: number | undefined
  /** Default: once more at once, then after 1 s, 5 s, 30 s and 2 min. `false`: one attempt. */
  readonly retry?: RetryPlan | false | undefined
  /** Keep what no attempt could handle. Default true; `false` lets it go. */
  readonly deadLetter?: boolean | undefined
  readonly queue?: QueueOptions | undefined
}

export interface QueueOptions {
  /** Default: the group's name. The dead letters are in the queue of the same name with `.dlq` behind it. */
  readonly name?: string | undefined
}

/** Options with every default filled in. */
export interface SubscriptionSettings {
  readonly group: string
  readonly queue: QueueSpec
  readonly concurrency: number
  readonly prefetch: number
  readonly timeout: number | undefined
  readonly plan: Required<RetryPlan>
}

const DEFAULT_CONCURRENCY = 16

export function deadLetterQueueOf(queue: string): string {
  return `${queue}.dlq`
}

export function completeSettings(
  group: string,
  patterns: readonly string[],
  handler: unknown,
  options: SubscribeOptions,
  eventNames: readonly string[],
): SubscriptionSettings {
  checkText('subscribe', 'group', group)
  const where = `subscribe '${group}'`
  checkPatterns(where, patterns, eventNames)
  checkFunction(where, 'handler', handler)
  if (typeof options !== 'object' || options === null) refuse(where, 'options', options, 'an object')

  const { concurrency = DEFAULT_CONCURRENCY, timeout, retry, deadLetter = true, queue } = options
  checkCount(where, 'concurrency', concurrency, 1)
  const { prefetch = 2 * concurrency } = options
  checkCount(where, 'prefetch', prefetch, 1)
  checkDuration(where, 'timeout', timeout)
  if (typeof deadLetter !== 'boolean') refuse(where, 'deadLetter', deadLetter, 'true or false')
  const name = queue?.name ?? group
  checkText(where, 'queue.name', name)

  return {
    group,
    queue: { name, patterns, deadLetterQueue: deadLetter ? deadLetterQueueOf(name) : undefined },
    concurrency,
    prefetch,
    timeout,
    plan: completePlan(where, retry),
  }
}

/** Said at once, since a retry that the broker cannot keep would bring its message back for ever. */
export function checkDelays({ group, plan }: SubscriptionSettings, longest: number | undefined): void {
  const delay = Math.max(0, ...(plan.delays ?? []))
  if (longest === undefined || delay <= longest) return

  throw delayUnsupported(`subscribe '${group}': retry.delays`, delay, longest)
}

function checkPatterns(where: string, patterns: readonly string[], eventNames: readonly string[]): void {
  if (patterns.length === 0) refuse(where, 'patterns', patterns, 'a pattern or an array with at least one')
  for (const pattern of patterns) {
    checkText(where, 'pattern', pattern)
    if (!eventNames.some(topicMatcher(pattern)))
      refuse(where, 'pattern', pattern, 'one that matches an event of the catalogue')
  }
}
