import type { IncomingMessage, ServerResponse } from 'node:http'
import { performance } from 'node:perf_hooks'
import { type Clock, systemClock } from './clock.js'
import { whenOver } from './context.js'
import { aFunction, checkOption, positiveInteger } from './internal/checks.js'
import type { Middleware } from './middleware.js'
import { problem } from './problem.js'

export interface ShedOptions {
  /**
   * So many requests at once. A priority above 0 may go a tenth beyond it, one below 0 gets half of it. Default: no
   * limit.
   */
  readonly inFlight?: number | undefined
  /**
   * How much of its time the event loop may be busy, from 0 to 1. While it is busier, a growing share of the requests is
   * refused: those of a priority below 0 first, those above 0 last. Default 0.98; `false` switches it off.
   */
  readonly utilisation?: number | false | undefined
  /** Default 0. `Infinity` is never refused. */
  readonly priority?: ((req: IncomingMessage) => number) | undefined
  readonly clock?: Clock | undefined
  /** From 0 to 1. Default `Math.random`. */
  readonly random?: (() => number) | undefined
  /** How busy the event loop was since it was last asked. Default: as Node measures it. */
  readonly measure?: (() => number) | undefined
}

/**
 * Refuses requests while there are more than the process can serve, before any work is spent on them: 503 with
 * `Retry-After`. Put it first.
 *
 * @example
 * app.use(shed({ inFlight: 500 }))
 */
export function shed(options: ShedOptions = {}): Middleware {
  const { priority } = options
  checkOption('shed', 'priority', priority, aFunction)
  const shedder = new Shedder('shed', options)
  let underWay = 0
  const leave = (): void => {
    underWay -= 1
  }

  return function shedLoad(req, res, next) {
    if (!shedder.admits(priority?.(req) ?? 0, underWay)) {
      refuseLoad(res)
      return
    }

    underWay += 1
    whenOver(req, res, leave)
    next()
  }
}

export function refuseLoad(res: ServerResponse): void {
  res.setHeader('retry-after', 1)
  problem(res, 503, { detail: 'There is more to do than can be done at the moment.', code: 'MSX_GATEWAY_OVERLOADED' })
}

/** What is wrong with a share of time, or nothing. */
export function checkUtilisation(value: unknown): string | undefined {
  const valid = value === false || (typeof value === 'number' && value > 0 && value <= 1)

  return valid ? undefined : 'a number above 0, at most 1, or false'
}

/** How long one look at the event loop counts, in milliseconds. */
const INTERVAL = 100

/** By how much the share of refused requests grows while the loop is too busy, and by how much it shrinks otherwise. */
const STEP = 0.1

/** Decides; it knows neither requests nor timers. All or nothing would swing, so the share that is refused moves in steps. */
export class Shedder {
  readonly #inFlight: number
  readonly #utilisation: number | false
  readonly #clock: Clock
  readonly #random: () => number
  readonly #measure: () => number
  #lookedAt: number
  #share = 0

  constructor(owner: string, options: Omit<ShedOptions, 'priority'>) {
    checkOption(owner, 'inFlight', options.inFlight, positiveInteger)
    checkOption(owner, 'utilisation', options.utilisation, checkUtilisation)
    for (const name of ['random', 'measure'] as const) checkOption(owner, name, options[name], aFunction)
    this.#inFlight = options.inFlight ?? Number.POSITIVE_INFINITY
    this.#utilisation = options.utilisation ?? 0.98
    this.#clock = options.clock ?? systemClock
    this.#random = options.random ?? Math.random
    this.#measure = options.measure ?? measureLoop()
    this.#lookedAt = this.#clock.now()
  }

  /** Whether one more may come, when so many are under way. */
  admits(priority: number, underWay: number): boolean {
    if (priority === Number.POSITIVE_INFINITY) return true
    if (underWay >= this.#capOf(priority)) return false

    this.#look()
    if (this.#share === 0) return true

    return this.#random() >= this.#shareOf(priority)
  }

  #capOf(priority: number): number {
    if (priority === 0) return this.#inFlight

    return Math.ceil(this.#inFlight * (priority > 0 ? 1.1 : 0.5))
  }

  #shareOf(priority: number): number {
    if (priority === 0) return this.#share

    return priority > 0 ? 2 * this.#share - 1 : 2 * this.#share
  }

  #look(): void {
    if (this.#utilisation === false || this.#clock.now() - this.#lookedAt < INTERVAL) return

    this.#lookedAt = this.#clock.now()
    const busy = this.#measure() > this.#utilisation
    const share = this.#share + (busy ? STEP : -STEP)
    // Rounded, so that ten steps up and ten down end at nothing.
    this.#share = Math.min(1, Math.max(0, Math.round(share * 10) / 10))
  }
}

function measureLoop(): () => number {
  let before = performance.eventLoopUtilization()

  return () => {
    const now = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(now, before)
    before = now
    return utilization
  }
}
