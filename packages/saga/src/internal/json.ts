/** JSON text, or undefined for what JSON has no text for (undefined, a function). Throws on cycles and bigint. */
export function toJson(value: unknown): string | undefined {
  return JSON.stringify(value) as string | undefined
}

/** The same for what a caller gave, with an error that says what it was. */
export function jsonOf(what: string, value: unknown): string | undefined {
  try {
    return toJson(value)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new TypeError(`${what} has no JSON form: ${why}`, { cause })
  }
}

export function fromJson(text: string | undefined): unknown {
  return text === undefined ? undefined : JSON.parse(text)
}

/** The same text for the same value, whatever the order of the keys. */
export function canonical(text: string | undefined): string | undefined {
  return toJson(sorted(fromJson(text)))
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value

  const entries = Object.entries(value).map(([key, inner]) => [key, sorted(inner)] as const)
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)))
}
