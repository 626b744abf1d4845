import type { IncomingMessage } from 'node:http'
import { parsedBody } from '../body.js'
import { after, type Clock } from '../clock.js'
import { hasBody } from '../ending.js'
import { ProxyError } from '../errors.js'
import { GrpcError } from './errors.js'

export interface BodyReading {
  readonly clock: Clock
  /** Bytes. */
  readonly maxBody: number
  /** Milliseconds without a byte after which the client has stalled. */
  readonly idle: number | false
  /** Gets the parsed body; undefined where there is none. */
  done(value: unknown): void
  failed(error: ProxyError | GrpcError): void
}

const isJson = /^application\/(?:[\w.+-]+\+)?json *(?:; *charset="?utf-8"? *)?$/i

const refusal = (status: number, message: string): GrpcError => new GrpcError('MSX_GRPC_REQUEST', status, { message })

/** Reads a body of JSON to its end; returns what stops it. */
export function readJson(req: IncomingMessage, reading: BodyReading): () => void {
  const { maxBody } = reading
  if (!hasBody(req)) {
    reading.done(undefined)
    return () => {}
  }
  if (!isJson.test(req.headers['content-type'] ?? '')) {
    reading.failed(refusal(415, 'The body must be application/json.'))
    return () => {}
  }
  if ((req.headers['content-encoding'] ?? 'identity') !== 'identity') {
    reading.failed(refusal(415, 'The body must not be compressed.'))
    return () => {}
  }

  const parsed = parsedBody(req)
  if ((parsed?.byteLength ?? Number(req.headers['content-length'] ?? 0)) > maxBody) {
    reading.failed(new ProxyError('body-limit', 'request'))
    return () => {}
  }
  if (parsed !== undefined) {
    finish([parsed])
    return () => {}
  }

  return collect()

  function collect(): () => void {
    const { clock, idle } = reading
    const chunks: Buffer[] = []
    let bytes = 0
    let touched = clock.now()
    let disarm = idle === false ? undefined : after(clock, idle, () => expire(idle))
    req.on('data', onData).on('end', onEnd)

    function onData(chunk: Buffer): void {
      touched = clock.now()
      bytes += chunk.byteLength
      chunks.push(chunk)
      if (bytes <= maxBody) return

      stop()
      reading.failed(new ProxyError('body-limit', 'request'))
    }

    function onEnd(): void {
      stop()
      finish(chunks)
    }

    function expire(limit: number): void {
      const left = touched + limit - clock.now()
      if (left > 0) {
        disarm = after(clock, left, () => expire(limit))
        return
      }

      stop()
      reading.failed(new ProxyError('client-timeout', 'request'))
    }

    function stop(): void {
      disarm?.()
      req.off('data', onData).off('end', onEnd)
    }

    return stop
  }

  function finish(chunks: readonly Buffer[]): void {
    let value: unknown
    try {
      value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks)))
    } catch {
      reading.failed(refusal(400, 'The body is not valid JSON.'))
      return
    }

    reading.done(value)
  }
}
