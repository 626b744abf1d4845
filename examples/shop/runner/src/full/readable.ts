const levels: Readonly<Record<number, string>> = {
  10: 'trace',
  20: 'debug',
  30: 'info',
  40: 'warn',
  50: 'error',
  60: 'fatal',
}

/** Fields that say nothing to somebody who looks at one shop on one machine. */
const unsaid = new Set(['level', 'time', 'msg', 'name', 'service', 'pid', 'hostname', 'err'])

/** A line of a service's log for people: what pino wrote as JSON in words, everything else as it is. */
export function readable(line: string): string {
  const entry = parse(line)
  if (entry === undefined) return line

  const { level, msg, err } = entry
  const facts = Object.entries(entry)
    .filter(([key]) => !unsaid.has(key))
    .map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
  const words = [levels[Number(level)] ?? String(level), msg, ...facts, causesOf(err)]
  return words.filter((word) => word !== undefined && word !== '').join(' ')
}

/** `Error: what: why` of a serialised error; the stack is for a debugger. */
function causesOf(err: unknown): string | undefined {
  if (typeof err !== 'object' || err === null) return undefined

  const { type, message } = err as { type?: unknown; message?: unknown }
  return `(${type ?? 'Error'}: ${message})`
}

function parse(line: string): Record<string, unknown> | undefined {
  if (!line.startsWith('{')) return undefined

  try {
    const entry: unknown = JSON.parse(line)
    return typeof entry === 'object' && entry !== null && 'level' in entry ? { ...entry } : undefined
  } catch {
    return undefined
  }
}
