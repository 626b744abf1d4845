import { isIP } from 'node:net'
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
  /** `TRUSTED_PROXIES`: whose word on a client's address is taken, by their networks or their number. Default: nobody's. */
  readonly trust: TrustedProxies
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

export type TrustedProxies = readonly string[] | { readonly hops: number } | false

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
  checkLogLevel(env)
  return {
    port: whole(env, 'PORT', 8080, 0, 65_535),
    dataDir: env['DATA_DIR'] || defaultDataDir,
    rateLimit: whole(env, 'RATE_LIMIT', 100, 1, 1_000_000),
    signInLimit: whole(env, 'SIGN_IN_LIMIT', 10, 1, 1_000_000),
    trust: readTrust(env),
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

export function readTrust({ TRUSTED_PROXIES: text = '' }: NodeJS.ProcessEnv): TrustedProxies {
  if (text === '') return false
  if (/^[1-9]$/.test(text)) return { hops: Number(text) }

  const networks = text.split(',').map((network) => network.trim())
  if (networks.every(isNetwork)) return networks
  throw new SettingError(
    `TRUSTED_PROXIES is '${text}'; it must be networks with commas, like 10.0.0.0/8,::1, or how many proxies there are, 1 to 9`,
  )
}

function isNetwork(text: string): boolean {
  const [address = '', prefix = '0', ...more] = text.split('/')
  const longest = { 0: -1, 4: 32, 6: 128 }[isIP(address)] ?? -1
  return more.length === 0 && /^\d{1,3}$/.test(prefix) && Number(prefix) <= longest
}

const logLevels = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']

/** The logs read it themselves, wherever they are made; here it is only seen to it that they can. */
function checkLogLevel({ LOG_LEVEL: level }: NodeJS.ProcessEnv): void {
  if (level === undefined || level === '' || logLevels.includes(level)) return

  throw new SettingError(`LOG_LEVEL is '${level}'; it must be one of ${logLevels.join(', ')}`)
}

/** A whole number from the environment; an empty variable is one that is not set. */
export function whole(env: NodeJS.ProcessEnv, name: string, usual: number, least: number, most: number): number {
  const text = env[name]
  if (text === undefined || text === '') return usual

  const value = Number(text)
  if (Number.isInteger(value) && value >= least && value <= most) return value
  throw new SettingError(`${name} is '${text}'; it must be a whole number from ${least} to ${most}`)
}
