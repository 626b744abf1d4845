import { defaultDataDir } from './places.js'

/** What the environment may change about a shop. The embedded one reads nothing else, whatever is set. */
export interface Settings {
  /** `PORT`: where the shop answers. Default 8080. */
  readonly port: number
  /** `DATA_DIR`: where its data lie. Default `.data` in the shop's folder. */
  readonly dataDir: string
  /** `RATE_LIMIT`: requests per second and address. Default 100. */
  readonly rateLimit: number
  /** `SIGN_IN_LIMIT`: sign-ins per minute and address. Default 10. */
  readonly signInLimit: number
  /** `TOKEN_TTL`: how long a sign-in lasts, in milliseconds. Default 3 600 000. */
  readonly tokenTtl: number
}

/** A setting that cannot be used: the message names the variable, its value and what was expected. */
export class SettingError extends Error {
  override readonly name = 'SettingError'
}

export function readSettings(env: NodeJS.ProcessEnv): Settings {
  return {
    port: whole(env, 'PORT', 8080, 0, 65_535),
    dataDir: env['DATA_DIR'] || defaultDataDir,
    rateLimit: whole(env, 'RATE_LIMIT', 100, 1, 1_000_000),
    signInLimit: whole(env, 'SIGN_IN_LIMIT', 10, 1, 1_000_000),
    tokenTtl: whole(env, 'TOKEN_TTL', 3_600_000, 1, 2 ** 31 - 1),
  }
}

/** A whole number from the environment; an empty variable is one that is not set. */
export function whole(env: NodeJS.ProcessEnv, name: string, usual: number, least: number, most: number): number {
  const text = env[name]
  if (text === undefined || text === '') return usual

  const value = Number(text)
  if (Number.isInteger(value) && value >= least && value <= most) return value
  throw new SettingError(`${name} is '${text}'; it must be a whole number from ${least} to ${most}`)
}
