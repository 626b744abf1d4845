import { checkCount, checkDuration, wrongOption } from './internal/options.js'

/** When an endpoint is left alone for a while because of how it answers. Durations in milliseconds. */
export interface OutlierOptions {
  /** So many failures in a row eject an endpoint. 0: they do not. Default: 5. */
  readonly consecutiveFailures?: number | undefined
  /** A success rate below this ejects an endpoint, too. Default: not looked at. */
  readonly successRate?: SuccessRateOptions | undefined
  /** How long the first ejection lasts, ±10 %. Each further one in a row is longer by this time. Default: 30_000. */
  readonly ejectionTime?: number | undefined
  /** The longest an ejection lasts. Default: 300_000. */
  readonly maxEjectionTime?: number | undefined
  /** The share of a service's endpoints that may be ejected at a time, 0 to 1; never the last one. Default: 0.5. */
  readonly maxEjected?: number | undefined
}

export interface SuccessRateOptions {
  /** Below this share of successes, 0 to 1, an endpoint is ejected. */
  readonly below: number
  /** With fewer requests in the window nothing is decided. Default: 20. */
  readonly minimumRequests?: number | undefined
  /** The time that is looked at. Default: 10_000. */
  readonly window?: number | undefined
}

/** The options, checked and complete. */
export interface OutlierSettings {
  readonly consecutiveFailures: number
  readonly successRate: Required<SuccessRateSettings> | undefined
  readonly ejectionTime: number
  readonly maxEjectionTime: number
  readonly maxEjected: number
}

interface SuccessRateSettings {
  readonly below: number
  readonly minimumRequests: number
  readonly window: number
}

/** Throws a TypeError for a wrong option. Undefined: nobody is ever ejected. */
export function readOutlierOptions(options: OutlierOptions | false = {}): OutlierSettings | undefined {
  if (options === false) return undefined
  if (typeof options !== 'object' || options === null) throw wrongOption('outlier', options, 'an object, or false')

  const {
    consecutiveFailures = 5,
    successRate,
    ejectionTime = 30_000,
    maxEjectionTime = 300_000,
    maxEjected = 0.5,
  } = options

  checkCount('outlier.consecutiveFailures', consecutiveFailures)
  if (checkDuration('outlier.ejectionTime', ejectionTime) < 1) {
    throw wrongOption('outlier.ejectionTime', ejectionTime, 'at least 1 millisecond')
  }
  if (checkDuration('outlier.maxEjectionTime', maxEjectionTime) < ejectionTime) {
    throw wrongOption('outlier.maxEjectionTime', maxEjectionTime, `at least ejectionTime, ${ejectionTime}`)
  }
  checkShare('outlier.maxEjected', maxEjected)

  return {
    consecutiveFailures,
    successRate: successRate === undefined ? undefined : readSuccessRate(successRate),
    ejectionTime,
    maxEjectionTime,
    maxEjected,
  }
}

function readSuccessRate(options: SuccessRateOptions): SuccessRateSettings {
  if (typeof options !== 'object' || options === null) throw wrongOption('outlier.successRate', options, 'an object')
  const { below, minimumRequests = 20, window = 10_000 } = options

  checkShare('outlier.successRate.below', below)
  if (checkCount('outlier.successRate.minimumRequests', minimumRequests) < 1) {
    throw wrongOption('outlier.successRate.minimumRequests', minimumRequests, 'at least 1')
  }
  if (checkDuration('outlier.successRate.window', window) < 1) {
    throw wrongOption('outlier.successRate.window', window, 'at least 1 millisecond')
  }
  return { below, minimumRequests, window }
}

function checkShare(option: string, value: unknown): void {
  if (typeof value !== 'number' || !(value >= 0 && value <= 1)) throw wrongOption(option, value, 'a number from 0 to 1')
}

/** How many of so many endpoints may be ejected at a time: enough must be left to do the work. */
export function mostEjected(endpoints: number, { maxEjected }: OutlierSettings): number {
  return Math.max(Math.min(Math.floor(endpoints * maxEjected), endpoints - 1), 0)
}

/** How long the nth ejection in a row lasts. */
export function ejectionTimeOf(times: number, settings: OutlierSettings, random: () => number): number {
  const time = Math.min(settings.ejectionTime * times, settings.maxEjectionTime)
  return time * (0.9 + 0.2 * random())
}
