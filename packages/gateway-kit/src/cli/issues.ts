import type { ConfigIssue } from '../errors.js'
import { type Check, isRecord, show } from '../internal/checks.js'

type Said = Readonly<Record<string, unknown>>

/** Everything that is wrong with a file, each with its place. */
export class Issues {
  readonly #list: ConfigIssue[] = []
  readonly #unread: string[] = []

  get list(): readonly ConfigIssue[] {
    return this.#list
  }

  /** Each is told once; of a value that could not be read, and of what it is in, nothing more is told. */
  add(path: string, message: string): void {
    const unread = this.#unread.some((at) => at === path || at.startsWith(`${path}.`) || at.startsWith(`${path}[`))
    const told = this.#list.some((issue) => issue.path === path && issue.message === message)
    if (!unread && !told) this.#list.push({ path, message })
  }

  /** A value that the environment does not have. */
  addUnread(path: string, message: string): void {
    this.#list.push({ path, message })
    this.#unread.push(path)
  }

  /** What `make` returns, or nothing when it throws. */
  async attempt<T>(path: string, make: () => T | PromiseLike<T>): Promise<T | undefined> {
    try {
      return await make()
    } catch (error) {
      this.add(path, (error as Error).message)
      return undefined
    }
  }

  /** An object, or `{}` where none was given; anything else is an issue. */
  object(path: string, value: unknown): Said {
    if (value === undefined) return {}
    if (isRecord(value)) return value

    this.add(path, `an object was expected, got ${show(value)}`)
    return {}
  }

  /** The members of an object that there may be, each with its check. */
  members(path: string, value: Said, checks: Readonly<Record<string, Check>>): void {
    for (const [name, given] of Object.entries(value)) {
      const check = Object.hasOwn(checks, name) ? checks[name] : undefined
      const expected = check?.(given)
      if (check === undefined) {
        this.add(`${path}.${name}`, `is not an option; there are ${Object.keys(checks).join(', ')}`)
      } else if (expected !== undefined) this.add(`${path}.${name}`, `${expected} was expected, got ${show(given)}`)
    }
  }
}

/** Throws a TypeError for a member that is not an option. */
export function refuseOthers(options: Said, names: readonly string[]): void {
  const odd = Object.keys(options).find((name) => !names.includes(name))
  if (odd !== undefined) throw new TypeError(`${odd} is not an option here; there are ${names.join(', ')}`)
}

/** One of these texts. */
export const oneOf =
  (...values: readonly string[]): Check =>
  (value) =>
    values.includes(value as string) ? undefined : values.map((one) => `'${one}'`).join(' or ')
