// biome-ignore-all lint/suspicious/noTemplateCurlyInString: that is how a config names a variable
import { GatewayConfigError } from '../errors.js'
import { isRecord } from '../internal/checks.js'
import type { Issues } from './issues.js'

const variable = /\$\{([A-Za-z_]\w*)(:number)?\}/g

/** What other programs take for more than a name, such as `${NAME:-default}`: as it stands nobody means it. */
const odd = /\$\{(?![A-Za-z_]\w*(?::number)?\})/

/**
 * Reads a config's JSON, with the environment in its texts: `"${NAME}"`, also amid a text, and `"${PORT:number}"` where
 * a number is wanted. Each variable that is not set is an issue.
 *
 * @throws {GatewayConfigError} for what is no object in JSON.
 */
export function parseConfig(
  text: string,
  env: Readonly<Record<string, string | undefined>>,
  issues: Issues,
): Record<string, unknown> {
  let config: unknown
  try {
    config = JSON.parse(text)
  } catch (cause) {
    throw new GatewayConfigError([{ path: 'config', message: `is not JSON: ${(cause as Error).message}` }])
  }
  if (!isRecord(config)) throw new GatewayConfigError([{ path: 'config', message: 'must be an object' }])

  return fill(config, '', env, issues) as Record<string, unknown>
}

function fill(
  value: unknown,
  path: string,
  env: Readonly<Record<string, string | undefined>>,
  issues: Issues,
): unknown {
  if (typeof value === 'string') return fillText(value, path, env, issues)
  if (Array.isArray(value)) return value.map((item, index) => fill(item, `${path}[${index}]`, env, issues))
  if (!isRecord(value)) return value

  const entries = Object.entries(value).flatMap(([name, inner]) => {
    const at = path === '' ? name : `${path}.${name}`
    if (name === '__proto__') {
      issues.add(at, 'is not an option')
      return []
    }
    return [[name, fill(inner, at, env, issues)] as const]
  })
  return Object.fromEntries(entries)
}

function fillText(
  text: string,
  path: string,
  env: Readonly<Record<string, string | undefined>>,
  issues: Issues,
): string | number {
  const whole = /^\$\{([A-Za-z_]\w*):number\}$/.exec(text)?.[1]
  if (whole !== undefined && env[whole] !== undefined) {
    const number = env[whole].trim() === '' ? Number.NaN : Number(env[whole])
    if (Number.isFinite(number)) return number

    issues.addUnread(path, `needs a number in the environment variable ${whole}`)
    return text
  }

  if (odd.test(text)) issues.addUnread(path, "has '${' that begins neither ${NAME} nor ${NAME:number}")
  return text.replace(variable, (_, name: string, asNumber: string | undefined) => {
    const value = env[name]
    if (value === undefined) issues.addUnread(path, `needs the environment variable ${name}, which is not set`)
    else if (asNumber !== undefined) issues.addUnread(path, `has \${${name}:number} amid a text; it must be all of it`)

    return value ?? ''
  })
}
