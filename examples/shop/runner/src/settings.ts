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
  readonly operations: OperationsSettings
  /** `OTEL_EXPORTER_OTLP_ENDPOINT`: where spans are sent besides being kept in memory. Default: nowhere. */
  readonly traces: string | undefined
  /** `UNDO_ATTEMPTS`: how often a checkout tries to undo a step before it asks for an operator. Default: without end. */
  readonly undoAttempts: number | undefined
  /** `RESERVATION_TTL`: how long goods are kept for an order before it is paid, in milliseconds. Default 900 000. */
  readonly reservationTtl: number
}

/** Who may use `/ops`. */
export type OperationsSettings =
  /** `OPS_TOKEN` is set: whoever shows it. */
  | { readonly by: 'token'; readonly token: string }
  /** It is not, on a developer's machine: whoever has the link that is printed at the start, once. */
  | { readonly by: 'link' }
  /** It is not, and `NODE_ENV` is `production`: nobody. */
  | { readonly by: 'nobody' }

const shortestToken = 16

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
    operations: readOperations(env),
    traces: readTraces(env),
    reservationTtl: whole(env, 'RESERVATION_TTL', 900_000, 1, 2 ** 31 - 1),
    undoAttempts: env['UNDO_ATTEMPTS'] ? whole(env, 'UNDO_ATTEMPTS', 0, 1, 1_000) : undefined,
  }
}

export function readOperations(env: NodeJS.ProcessEnv): OperationsSettings {
  const token = env['OPS_TOKEN']
  if (token === undefined || token === '') return { by: env['NODE_ENV'] === 'production' ? 'nobody' : 'link' }
  // It is not repeated: a part of it may be right.
  if (token.length < shortestToken || /[^\x21-\x7e]/.test(token)) {
    throw new SettingError(`OPS_TOKEN must have at least ${shortestToken} characters, all of them visible ASCII`)
  }
  return { by: 'token', token }
}

export function readTraces(env: NodeJS.ProcessEnv): string | undefined {
  const endpoint = env['OTEL_EXPORTER_OTLP_ENDPOINT'] || undefined
  if (endpoint === undefined || /^https?:\/\//.test(endpoint)) return endpoint

  throw new SettingError(`OTEL_EXPORTER_OTLP_ENDPOINT is '${endpoint}'; it must begin with http:// or https://`)
}

/** A whole number from the environment; an empty variable is one that is not set. */
export function whole(env: NodeJS.ProcessEnv, name: string, usual: number, least: number, most: number): number {
  const text = env[name]
  if (text === undefined || text === '') return usual

  const value = Number(text)
  if (Number.isInteger(value) && value >= least && value <= most) return value
  throw new SettingError(`${name} is '${text}'; it must be a whole number from ${least} to ${most}`)
}
