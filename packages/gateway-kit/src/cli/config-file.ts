import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { createDiscovery, type Discovery, fixed } from '@msx/discovery'
import { apiKeys } from '../api-keys.js'
import type { Claims, Verify } from '../claims.js'
import type { GatewayConfig } from '../config.js'
import { type ConfigIssue, GatewayConfigError } from '../errors.js'
import type { TranscodeOptions, Transcoder } from '../grpc.js'
import { isRecord, show } from '../internal/checks.js'
import type { JwtVerifierOptions } from '../jwt.js'
import { gcra } from '../limit/gcra.js'
import type { RateLimiter } from '../limit/limiter.js'
import { slidingWindow } from '../limit/sliding-window.js'
import { parseConfig } from './config-text.js'

/** What the routes of a file name, as the file says it. */
const sections = ['services', 'verifiers', 'limiters', 'transcoders'] as const
export type Section = (typeof sections)[number]

/** What was made from a file: the gateway's config, and what its routes name. */
export interface Loaded {
  readonly text: string
  readonly config: GatewayConfig
  /** The sections as written, by which changes are told. */
  readonly said: Readonly<Record<Section, Readonly<Record<string, unknown>>>>
  readonly deps: {
    readonly discovery: Discovery
    readonly verifiers: Readonly<Record<string, Verify>>
    readonly limiters: Readonly<Record<string, RateLimiter>>
    readonly transcoders: Readonly<Record<string, Transcoder>>
  }
}

/**
 * Reads a file and makes what its routes name. What is said as it was in `before` is kept, with all that it remembers.
 *
 * @throws {GatewayConfigError} with everything that is wrong in these sections.
 */
export async function loadFile(
  file: string,
  env: Readonly<Record<string, string | undefined>>,
  before?: Loaded,
): Promise<Loaded> {
  const text = await readFile(file, 'utf8')
  const { services, verifiers, limiters, transcoders, ...config } = parseConfig(text, env)
  const issues: ConfigIssue[] = []
  const said = { services, verifiers, limiters, transcoders } as Record<Section, Record<string, unknown>>
  for (const section of sections) {
    if (said[section] === undefined) said[section] = {}
    else if (!isRecord(said[section])) {
      issues.push({ path: section, message: `an object by name was expected, got ${show(said[section])}` })
      said[section] = {}
    }
  }

  const sameServices = before !== undefined && same(before.said.services, said.services)
  const discovery = sameServices ? before.deps.discovery : discover(said.services, issues)
  async function makeAll<T>(
    section: Exclude<Section, 'services'>,
    make: (options: Readonly<Record<string, unknown>>) => T | Promise<T>,
    keep: (name: string) => T | undefined,
  ): Promise<Record<string, T>> {
    const made: Record<string, T> = Object.create(null)
    for (const [name, options] of Object.entries(said[section])) {
      try {
        if (!isRecord(options)) throw new TypeError(`an object was expected, got ${show(options)}`)
        const kept = before !== undefined && same(before.said[section][name], options) ? keep(name) : undefined
        made[name] = kept ?? (await make(options))
      } catch (error) {
        issues.push({ path: `${section}.${name}`, message: (error as Error).message })
      }
    }
    return made
  }

  const deps = {
    discovery,
    verifiers: await makeAll<Verify>('verifiers', makeVerifier, (name) => before?.deps.verifiers[name]),
    limiters: await makeAll<RateLimiter>('limiters', makeLimiter, (name) => before?.deps.limiters[name]),
    transcoders: await makeAll<Transcoder>(
      'transcoders',
      (options) => makeTranscoder(options, dirname(file), discovery),
      // One that finds its service by name knows the services there were.
      (name) => (sameServices ? before.deps.transcoders[name] : undefined),
    ),
  }
  const loaded = { text, config: config as unknown as GatewayConfig, said, deps }
  if (issues.length > 0) {
    await dispose(loaded, before)
    throw new GatewayConfigError(issues)
  }
  return loaded
}

/** Closes what one has and the other has not. */
export async function dispose(loaded: Loaded, still: Loaded | undefined): Promise<void> {
  const kept = new Set<unknown>(Object.values(still?.deps.transcoders ?? {}))
  for (const transcoder of Object.values(loaded.deps.transcoders)) {
    if (!kept.has(transcoder)) await transcoder.close()
  }
  if (loaded.deps.discovery !== still?.deps.discovery) await loaded.deps.discovery.close()
}

function discover(services: Readonly<Record<string, unknown>>, issues: ConfigIssue[]): Discovery {
  try {
    return createDiscovery({ source: fixed(services as Record<string, string[]>) })
  } catch (error) {
    issues.push({ path: 'services', message: (error as Error).message })
    return createDiscovery({ source: fixed({}) })
  }
}

async function makeVerifier(options: Readonly<Record<string, unknown>>): Promise<Verify> {
  const { apiKeys: keys, header, ...rest } = options
  if (keys !== undefined) {
    refuseOthers(rest, ['apiKeys', 'header'])
    return apiKeys({ keys: keys as Record<string, Claims>, header: header as string | undefined })
  }

  refuseOthers(options, ['issuer', 'audience', 'algorithms', 'jwks', 'typ', 'clockTolerance', 'cache'])
  const { jwtVerifier } = await import('../jwt.js')
  await (await import('../jwt-library.js')).importJose()
  return jwtVerifier(options as unknown as JwtVerifierOptions)
}

function makeLimiter({ algorithm = 'gcra', ...options }: Readonly<Record<string, unknown>>): RateLimiter {
  if (algorithm !== 'gcra' && algorithm !== 'sliding-window') {
    throw new TypeError(`algorithm must be 'gcra' or 'sliding-window', got ${show(algorithm)}`)
  }

  const isGcra = algorithm === 'gcra'
  refuseOthers(options, isGcra ? ['limit', 'window', 'burst', 'maxKeys'] : ['limit', 'window', 'maxKeys'])
  return isGcra ? gcra(options as never) : slidingWindow(options as never)
}

async function makeTranscoder(
  { proto, ...options }: Readonly<Record<string, unknown>>,
  folder: string,
  discovery: Discovery,
): Promise<Transcoder> {
  refuseOthers(options, [
    'service',
    'address',
    'upstream',
    'rules',
    'metadata',
    'statuses',
    'defaults',
    'ignoreUnknown',
    'includeDirs',
    'timeout',
    'maxBody',
  ])
  const { transcode } = await import('../grpc.js')
  const files = [proto].flat().map((path) => (typeof path === 'string' ? resolve(folder, path) : path))
  const dirs = Array.isArray(options['includeDirs'])
    ? options['includeDirs'].map((dir) => resolve(folder, String(dir)))
    : []

  return transcode({
    ...options,
    ...(dirs.length > 0 && { includeDirs: dirs }),
    ...(options['address'] === undefined && { discovery }),
    proto: files,
  } as unknown as TranscodeOptions)
}

function refuseOthers(options: Readonly<Record<string, unknown>>, names: readonly string[]): void {
  const odd = Object.keys(options).find((name) => !names.includes(name))
  if (odd !== undefined) throw new TypeError(`${odd} is not an option here; there are ${names.join(', ')}`)
}

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b)
