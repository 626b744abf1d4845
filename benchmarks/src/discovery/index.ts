import type { Benchmark } from '../harness/index.js'
import { change } from './change.js'
import { dispatch } from './dispatch.js'
import { pick } from './pick.js'
import { slowReplica } from './slow-replica.js'

export const BENCHMARKS: readonly Benchmark[] = [pick, change, dispatch, slowReplica]

/** The packages whose versions belong to the figures. */
export const MEASURED = ['@msx/discovery', 'undici'] as const
