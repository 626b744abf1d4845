import { existsSync } from 'node:fs'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Field, Method, Root, Service } from 'protobufjs'
import type { Libraries } from './libraries.js'

/**
 * Reads `.proto` files. Imports are looked for in `includeDirs`, beside the file, and, for google/api and
 * google/protobuf, among those that protobufjs brings along.
 */
export function loadSchema(
  { protobuf, protos }: Libraries,
  files: readonly (string | URL)[],
  includeDirs: readonly string[],
): Root {
  const paths = files.map((file) => {
    const path = file instanceof URL || file.startsWith('file:') ? fileURLToPath(file) : file
    return isAbsolute(path) ? path : ([...includeDirs, '.'].map((dir) => resolve(dir, path)).find(existsSync) ?? path)
  })
  const root = new protobuf.Root()
  const beside = root.resolvePath.bind(root)
  root.resolvePath = (origin, target) => {
    if (isAbsolute(target)) return target

    const places = [...includeDirs, ...paths.map((path) => dirname(path)), protos]
    return places.map((dir) => join(dir, target)).find(existsSync) ?? beside(origin, target)
  }

  try {
    root.loadSync(paths, { keepCase: true })
    root.resolveAll()
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new TypeError(`transcode: proto cannot be read: ${why}`, { cause })
  }
  return root
}

/** A service by its full name, or by its last part where that is enough. */
export function findService(root: Root, { protobuf }: Libraries, name: string): Service {
  const services: Service[] = []
  const collect = (namespace: { nestedArray: readonly unknown[] }): void => {
    for (const nested of namespace.nestedArray) {
      if (nested instanceof protobuf.Service) services.push(nested)
      if (nested instanceof protobuf.Namespace) collect(nested)
    }
  }
  collect(root)

  const exact = services.filter((service) => service.fullName === `.${name}`)
  const found = exact.length > 0 ? exact : services.filter((service) => service.fullName.endsWith(`.${name}`))
  if (found.length === 1) return found[0]!

  const names = services.map((service) => service.fullName.slice(1)).join(', ') || 'none'
  throw new TypeError(`transcode: service must be one service of the proto, got '${name}'; there are: ${names}`)
}

/** Where a method is on the wire. */
export function wirePath(method: Method): string {
  return `/${method.parent!.fullName.slice(1)}/${method.name}`
}

/** What a field is called in JSON. */
export function jsonName(field: Field): string {
  const given: unknown = field.options?.['json_name']
  if (typeof given === 'string') return given

  return field.name.replace(/_+(.)?/g, (_, letter: string | undefined) => letter?.toUpperCase() ?? '')
}

/** Whether absence and the default are told apart. */
export function hasPresence(field: Field): boolean {
  if (field.repeated || field.map) return false

  return (
    isMessage(field) || field.partOf !== null || (field as unknown as { hasPresence?: boolean }).hasPresence === true
  )
}

export function isMessage(field: Field): boolean {
  return field.resolvedType !== null && 'fields' in field.resolvedType
}
