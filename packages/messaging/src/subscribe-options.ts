import {
  checkCount,
  checkDuration,
  checkFunction,
  checkLength,
  checkObject,
  checkText,
  LONGEST_TEXT,
  refuse,
} from './internal/check.js'
import { delayUnsupported } from './internal/refusals.js'
import { topicMatcher } from './match.js'
import { SLOTS } from './partitions.js'
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
  /**
   * Handle the events of one key one after the other, in the order they were published. Default: all at the same time,
   * and a retried one later than those behind it.
   */
  readonly ordered?: OrderedOptions | undefined
  readonly queue?: QueueOptions | undefined
  /**
   * For a broadcast, such as the news that a cache is out of date: each subscription has a queue of its own, so that every
   * process of the group gets every event, and only as long as it is subscribed. What is published while it is not, or
   * while its connection is lost, it does not get. Nothing outlives it: a message that failed is tried again at once
   * (`retry.immediate`, default 1) or let go, as the event `deadLetter` tells. Not together with `ordered`, `queue`,
   * `retry.delays` or `deadLetter: true`. Default false.
   */
  readonly ephemeral?: boolean | undefined
}

export interface OrderedOptions {
  /**
   * How many queues the keys are spread over, 1 to 32. Each has one process at a time that handles its messages, so this
   * is how many processes can share the work. Cannot be changed for a queue that is there.
   */
  readonly partitions: number
  /**
   * What becomes of a key when no attempt could handle one of its messages. `'block'`: nothing more of it is handled
   * until the message is, with the last of the delays between attempts. `'park-key'`: the message becomes a dead letter,
   * and those of its key that follow with it, until all of them were redriven. `'skip'`: the message becomes a dead
   * letter, and the next one is handled. Default 'block'. What can never succeed (a NonRetryableError, a message that is
   * not valid) is a dead letter in any case.
   */
  readonly onFailure?: 'block' | 'park-key' | 'skip' | undefined
}

export interface QueueOptions {
  /** Default: the group's name. The dead letters are in the queue of the same name with `.dlq` behind it. */
  readonly name?: string | undefined
  /**
   * It is there already, made by somebody else and perhaps with other options: it is taken as it is, and only bound. What
   * its broker gives up on (expired, given out too often) goes where its owner arranged. Default false.
   */
  readonly existing?: boolean | undefined
}

/** Options with every default filled in. */
export interface SubscriptionSettings {
  readonly group: string
  readonly queue: QueueSpec
  readonly concurrency: number
  readonly prefetch: number
  readonly timeout: number | undefined
  readonly plan: Required<RetryPlan>
  readonly ordered: Required<OrderedOptions> | undefined
  /** What to declare, for the queue of one partition; false when another one does. Default: the queue itself. */
  readonly declared?: QueueSpec | false | undefined
}

const DEFAULT_CONCURRENCY = 16

export function deadLetterQueueOf(queue: string): string {
  return `${queue}.dlq`
}

export function completeSettings(
  group: string,
  given: string | readonly string[],
  handler: unknown,
  options: SubscribeOptions,
  eventNames: readonly string[],
): SubscriptionSettings {
  checkText('subscribe', 'group', group)
  const where = `subscribe '${group}'`
  const patterns = completePatterns(where, given, eventNames)
  checkFunction(where, 'handler', handler)
  checkObject(where, 'options', options)

  const { ephemeral = false } = options
  if (typeof ephemeral !== 'boolean') refuse(where, 'ephemeral', ephemeral, 'true or false')
  if (ephemeral) checkEphemeral(where, options)
  const { concurrency = DEFAULT_CONCURRENCY, timeout, deadLetter = !ephemeral, ordered, queue } = options
  const retry = ephemeral && options.retry !== false ? { ...options.retry, delays: [] } : options.retry
  checkCount(where, 'concurrency', concurrency, 1)
  const { prefetch = 2 * concurrency } = options
  checkCount(where, 'prefetch', prefetch, 1)
  checkDuration(where, 'timeout', timeout)
  if (typeof deadLetter !== 'boolean') refuse(where, 'deadLetter', deadLetter, 'true or false')
  if (ordered !== undefined) checkObject(where, 'ordered', ordered, '{ partitions, onFailure }')
  if (queue !== undefined) checkObject(where, 'queue', queue, '{ name, existing }')
  const name = queue?.name ?? group
  checkText(where, 'queue.name', name)
  const suffix = suffixOf(options)
  checkLength(where, queue?.name === undefined ? 'group' : 'queue.name', name, LONGEST_TEXT - suffix)
  const existing = queue?.existing ?? false
  if (typeof existing !== 'boolean') refuse(where, 'queue.existing', existing, 'true or false')
  if (existing && ordered)
    refuse(where, 'queue.existing', existing, "false with 'ordered', which has queues of its own")

  return {
    group,
    queue: {
      name,
      patterns,
      deadLetterQueue: deadLetter ? deadLetterQueueOf(name) : undefined,
      ...(ordered && { partitions: ordered.partitions }),
      ...(existing && { existing }),
      ...(ephemeral && { temporary: true, autoDelete: true }),
    },
    concurrency,
    prefetch,
    timeout,
    plan: completePlan(where, retry),
    ordered: ordered && completeOrdered(where, ordered, deadLetter),
  }
}

/** Said at once, since a retry that the broker cannot keep would bring its message back for ever. */
export function checkDelays({ group, plan, ordered }: SubscriptionSettings, longest: number | undefined): void {
  // Their retries wait here.
  if (ordered !== undefined) return

  const delay = Math.max(0, ...(plan.delays ?? []))
  if (longest === undefined || delay <= longest) return

  throw delayUnsupported(`subscribe '${group}': retry.delays`, delay, longest)
}

const ON_FAILURE: readonly unknown[] = ['block', 'park-key', 'skip']

function completeOrdered(where: string, ordered: OrderedOptions, deadLetter: boolean): Required<OrderedOptions> {
  const { partitions, onFailure = 'block' } = ordered
  const isCount = Number.isSafeInteger(partitions) && partitions >= 1 && partitions <= SLOTS
  if (!isCount) refuse(where, 'ordered.partitions', partitions, `an integer from 1 to ${SLOTS}`)
  if (!ON_FAILURE.includes(onFailure)) refuse(where, 'ordered.onFailure', onFailure, ON_FAILURE.join(', '))
  if (onFailure === 'park-key' && !deadLetter) refuse(where, 'deadLetter', deadLetter, "true with onFailure 'park-key'")

  return { partitions, onFailure }
}

/** What would have to outlive the subscription, or be shared with another one. */
function checkEphemeral(where: string, { ordered, queue, retry, deadLetter }: SubscribeOptions): void {
  const absent = "left out with 'ephemeral'"
  if (ordered !== undefined) refuse(where, 'ordered', ordered, absent)
  if (queue !== undefined) refuse(where, 'queue', queue, absent)
  if (deadLetter === true) refuse(where, 'deadLetter', deadLetter, `false or ${absent}`)
  const isPlan = typeof retry === 'object' && retry !== null
  if (isPlan && retry.delays !== undefined && retry.delays.length !== 0) {
    refuse(where, 'retry.delays', retry.delays, `empty or ${absent}`)
  }
  if (retry !== undefined && retry !== false && !isPlan) refuse(where, 'retry', retry, '{ immediate } or false')
}

/** How long what is put behind the name of a queue may be, in bytes: `.dlq`, `.by-key`, `.rest.32`, a dot and a UUID. */
function suffixOf({ ephemeral, ordered }: SubscribeOptions): number {
  if (ephemeral) return 37

  return ordered === undefined ? 4 : 8
}

function completePatterns(where: string, given: unknown, eventNames: readonly string[]): readonly string[] {
  const patterns: unknown = typeof given === 'string' ? [given] : given
  if (!Array.isArray(patterns) || patterns.length === 0) {
    refuse(where, 'patterns', given, 'a pattern or an array with at least one')
  }
  for (const pattern of patterns) {
    checkText(where, 'pattern', pattern)
    checkLength(where, 'pattern', pattern, LONGEST_TEXT)
    if (!eventNames.some(topicMatcher(pattern)))
      refuse(where, 'pattern', pattern, 'one that matches an event of the catalogue')
  }

  return [...patterns]
}
