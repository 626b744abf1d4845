import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { apiKeys } from '../api-keys.js'
import type { Claims, Verify } from '../claims.js'
import type { TranscodeOptions, Transcoder } from '../grpc.js'
import { isRecord, show } from '../internal/checks.js'
import type { RemoteJwksOptions } from '../jwks.js'
import type { JwtVerifierOptions } from '../jwt.js'
import { gcra } from '../limit/gcra.js'
import type { RateLimiter } from '../limit/limiter.js'
import { slidingWindow } from '../limit/sliding-window.js'
import type { Finder } from '../upstream.js'
import { refuseOthers } from './issues.js'

// What the routes of a file name: each is made from the words that the file has for it.

type Said = Readonly<Record<string, unknown>>

export async function createVerifier(options: Said): Promise<Verify> {
  const { apiKeys: keys, header, ...rest } = options
  if (keys !== undefined) {
    refuseOthers(rest, ['apiKeys', 'header'])
    return apiKeys({ keys: keys as Record<string, Claims>, header: header as string | undefined })
  }

  refuseOthers(options, ['issuer', 'audience', 'algorithms', 'jwks', 'typ', 'clockTolerance', 'cache'])
  const { jwtVerifier, remoteJwks } = await import('../jwt.js')
  await (await import('../jwt-library.js')).importJose()
  const { jwks } = options
  if (!isRecord(jwks)) return jwtVerifier(options as unknown as JwtVerifierOptions)

  const { url, ...settings } = jwks
  refuseOthers(settings, ['url', 'maxAge', 'cooldown', 'staleIfError', 'timeout'])
  if (typeof url !== 'string' || !URL.canParse(url)) throw new TypeError(`jwks.url must be a URL, got ${show(url)}`)
  return jwtVerifier({
    ...(options as unknown as JwtVerifierOptions),
    jwks: remoteJwks(url, settings as RemoteJwksOptions),
  })
}

/** A limiter of this process. */
export function createLimiter({ store: _, algorithm = 'gcra', ...options }: Said): RateLimiter {
  if (algorithm !== 'gcra' && algorithm !== 'sliding-window') {
    throw new TypeError(`algorithm must be 'gcra' or 'sliding-window', got ${show(algorithm)}`)
  }

  const isGcra = algorithm === 'gcra'
  refuseOthers(options, isGcra ? ['limit', 'window', 'burst', 'maxKeys'] : ['limit', 'window', 'maxKeys'])
  return isGcra ? gcra(options as never) : slidingWindow(options as never)
}

/** Paths are from the folder of the config's file. */
export async function createTranscoder(
  options: Said,
  folder: string,
  discovery: Finder | undefined,
): Promise<Transcoder> {
  refuseOthers(options, [
    'proto',
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
  const { files, dirs } = protosOf(options, folder)
  try {
    return transcode({
      ...options,
      ...(dirs.length > 0 && { includeDirs: dirs }),
      ...(options['address'] === undefined && discovery !== undefined && { discovery }),
      proto: files,
    } as unknown as TranscodeOptions)
  } catch (error) {
    const names = files.filter((file) => typeof file === 'string')
    const { message } = error as Error
    if (!(error instanceof TypeError) || names.length === 0 || names.some((name) => message.includes(name))) throw error

    // Where the proto can be read, but has not what is looked for in it, nobody has named the file.
    throw new TypeError(`${message} (${names.join(', ')})`, { cause: error })
  }
}

/**
 * What is another one after every change of a transcoder's `.proto` files, or of those that they import. Nothing where
 * they cannot be read: whoever makes the transcoder then is told why.
 */
export async function digestOfProtos(options: Said, folder: string): Promise<string | undefined> {
  try {
    const [{ loadLibraries }, { loadSchema }] = [
      await import('../grpc/libraries.js'),
      await import('../grpc/schema.js'),
    ]
    const { files, dirs } = protosOf(options, folder)
    const read = loadSchema(loadLibraries(), files as string[], dirs).files
    // Some are no files: protobufjs has google/protobuf in itself, and a weak import may be missing.
    const texts = await Promise.all(read.map((file) => readFile(file, 'utf8').catch(() => '')))
    return createHash('sha256').update(JSON.stringify(texts)).digest('hex')
  } catch {
    return undefined
  }
}

function protosOf({ proto, includeDirs }: Said, folder: string): { files: unknown[]; dirs: string[] } {
  return {
    files: [proto].flat().map((path) => (typeof path === 'string' ? resolve(folder, path) : path)),
    dirs: Array.isArray(includeDirs) ? includeDirs.map((dir) => resolve(folder, String(dir))) : [],
  }
}
