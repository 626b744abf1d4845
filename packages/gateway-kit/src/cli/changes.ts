import { routeId } from '../config.js'
import type { Loaded, Section } from './config-file.js'

/** What differs between two files: one line each, `+` for what came, `-` for what went, `~` for what changed. */
export function changesBetween(before: Loaded, after: Loaded): string[] {
  const routes = ({ config }: Loaded) =>
    Object.fromEntries(config.routes.map((route) => [`route ${routeId(route)}`, route]))
  const named = (section: Section) => (loaded: Loaded) =>
    Object.fromEntries(Object.entries(loaded.said[section]).map(([name, value]) => [`${section}.${name}`, value]))
  const rest = ({ config: { routes: _, ...others } }: Loaded): Record<string, unknown> => ({ ...others })

  return [routes, named('services'), named('verifiers'), named('limiters'), named('transcoders'), rest].flatMap(
    (part) => differences(part(before), part(after)),
  )
}

function differences(before: Readonly<Record<string, unknown>>, after: Readonly<Record<string, unknown>>): string[] {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])]

  return names.flatMap((name) => {
    if (!Object.hasOwn(before, name)) return [`+ ${name}`]
    if (!Object.hasOwn(after, name)) return [`- ${name}`]
    return JSON.stringify(before[name]) === JSON.stringify(after[name]) ? [] : [`~ ${name}`]
  })
}
