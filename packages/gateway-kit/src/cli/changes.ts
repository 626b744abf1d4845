import { routeId } from '../config.js'
import { isRecord } from '../internal/checks.js'
import type { Loaded } from './config-file.js'

type Said = Readonly<Record<string, unknown>>

/** The sections whose members are told of one by one. */
const sections = ['verifiers', 'limiters', 'transcoders', 'upstreams']

/** What differs between two files: one line each, `+` for what came, `-` for what went, `~` for what changed. */
export function changesBetween(before: Loaded, after: Loaded): string[] {
  const parts: ((loaded: Loaded) => Said)[] = [
    // The ids are those of the routes as they hold; what is compared is what was written.
    ({ config, said }) =>
      Object.fromEntries(
        config.routes.map((route, index) => [`route ${routeId(route)}`, (said['routes'] as unknown[])[index]]),
      ),
    ...sections.map(
      (section) =>
        ({ said }: Loaded) =>
          namedOf(section, said[section]),
    ),
    ({ said }) =>
      Object.fromEntries(Object.entries(said).filter(([name]) => name !== 'routes' && !sections.includes(name))),
  ]

  return parts.flatMap((part) => differences(part(before), part(after)))
}

function namedOf(section: string, value: unknown): Said {
  const named = isRecord(value) ? Object.entries(value) : []

  return Object.fromEntries(named.map(([name, inner]) => [`${section}.${name}`, inner]))
}

function differences(before: Said, after: Said): string[] {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])]

  return names.flatMap((name) => {
    if (!Object.hasOwn(before, name)) return [`+ ${name}`]
    if (!Object.hasOwn(after, name)) return [`- ${name}`]
    return JSON.stringify(before[name]) === JSON.stringify(after[name]) ? [] : [`~ ${name}`]
  })
}
