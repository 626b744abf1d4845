import { type ConfigIssue, GatewayConfigError } from '../errors.js'
import { isRecord } from '../internal/checks.js'

const variable = /\$\{([A-Za-z_]\w*)(:number)?\}/g

/**
 * Reads a config's JSON, with the environment in its texts: `"${NAME}"`, also amid a text, and `"${PORT:number}"` where
 * a number is wanted.
 *
 * @throws {GatewayConfigError} naming each variable that is not set, and where.
 */
export function parseConfig(text: string, env: Readonly<Record<string, string | undefined>>): Record<string, unknown> {
  let config: unknown
  try {
    config = JSON.parse(text)
  } catch (cause) {
    throw new GatewayConfigError([{ path: 'config', message: `is not JSON: ${(cause as Error).message}` }])
  }
  if (!isRecord(config)) throw new GatewayConfigError([{ path: 'config', message: 'must be an object' }])

  const issues: ConfigIssue[] = []
  const filled = fill(config, '', env, (path, message) => issues.push({ path, message }))
  if (issues.length > 0) throw new GatewayConfigError(issues)

  return filled as Record<string, unknown>
}

function fill(
  value: unknown,
  path: string,
  env: Readonly<Record<string, string | undefined>>,
  report: (path: string, message: string) => void,
): unknown {
  if (typeof value === 'string') return fillText(value, path, env, report)
  if (Array.isArray(value)) return value.map((item, index) => fill(item, `${path}[${index}]`, env, report))
  if (!isRecord(value)) return value

  const entries = Object.entries(value).map(([name, inner]) => {
    const at = path === '' ? name : `${path}.${name}`
    if (name === '__proto__') report(at, 'is not an option')
    return [name, fill(inner, at, env, report)] as const
  })
  return Object.fromEntries(entries)
}

function fillText(
  text: string,
  path: string,
  env: Readonly<Record<string, string | undefined>>,
  report: (path: string, message: string) => void,
): string | number {
  const whole = /^\$\{([A-Za-z_]\w*):number\}$/.exec(text)?.[1]
  if (whole !== undefined && env[whole] !== undefined) {
    const number = env[whole].trim() === '' ? Number.NaN : Number(env[whole])
    if (Number.isFinite(number)) return number

    report(path, `needs a number in the environment variable ${whole}`)
    return text
  }

  return text.replace(variable, (_, name: string, asNumber: string | undefined) => {
    const value = env[name]
    if (value === undefined) report(path, `needs the environment variable ${name}, which is not set`)
    else if (asNumber !== undefined) report(path, `has \${${name}:number} amid a text; it must be all of it`)

    return value ?? ''
  })
}
