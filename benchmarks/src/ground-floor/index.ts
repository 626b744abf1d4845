import type { Benchmark } from '../harness/index.js'
import { breaker } from './breaker.js'
import { failures } from './failures.js'
import { pipeline } from './pipeline.js'
import { rejection } from './rejection.js'
import { rest } from './rest.js'
import { retry } from './retry.js'
import { timeout } from './timeout.js'

export const BENCHMARKS: readonly Benchmark[] = [breaker, retry, timeout, pipeline, rejection, failures, rest]

/** The packages whose versions belong to the figures. */
export const MEASURED = ['@msx/circuit-breaker', '@msx/retry', 'cockatiel', 'opossum', 'p-retry', 'p-timeout'] as const
