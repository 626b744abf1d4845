import type { Benchmark } from '../harness/index.js'
import { latency } from './latency.js'
import { parts } from './parts.js'
import { surcharge } from './surcharge.js'
import { throughput } from './throughput.js'
import { waking } from './waking.js'

/** The packages whose versions belong to the figures. */
export const MEASURED = [
  '@msx/gateway-kit',
  'undici',
  '@fastify/http-proxy',
  'fastify',
  'express',
  'http-proxy-middleware',
  'express-jwt',
  'express-rate-limit',
] as const

export const BENCHMARKS: readonly Benchmark[] = [throughput, latency, parts, surcharge, waking]
