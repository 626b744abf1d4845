import { exponential } from '@msx/retry'
import type { EndpointInit } from '../endpoint.js'
import { RegistryError } from '../errors.js'
import { sleep } from '../internal/sleep.js'
import type { SourceSink } from '../source.js'
import { nextIndex, readIndex } from './blocking-query.js'
import { Instances } from './instances.js'
import type { ConsulSettings } from './options.js'
import { Recovery } from './recovery.js'

/** No more than one question in this time, ms: an index that moves all the time must not make us ask all the time. */
const SHORTEST_ROUND = 100

/** Up to so much, ms, is added to each round, so that the watchers of a service do not ask in step. */
const DITHER = 20

/** After this time, ms, a question is asked that Consul answers at once: it has been known to miss a change. */
const REREAD = 600_000

const backoff = exponential({ base: 250, max: 10_000 })

/**
 * Follows a service with blocking queries until the signal aborts. Never rejects: what goes wrong is told to the sink, and
 * the next question, after a pause that grows, is one without an index. So a Consul that comes back is heard at once,
 * whatever its index has become meanwhile.
 */
export async function watchService(
  service: string,
  sink: SourceSink,
  signal: AbortSignal,
  settings: ConsulSettings,
): Promise<void> {
  const { api, clock, random, stale, passing, tags, dc, wait } = settings
  const instances = new Instances(tags)
  const recovery = new Recovery()
  let index: bigint | undefined
  let lastRead = clock.now()
  let failures = 0
  let pause = 0
  /** That the token may read a service is asked once for each time that there is nobody. */
  let permitted = false

  while (!signal.aborted) {
    const begun = clock.now()
    if (begun - lastRead >= REREAD) index = undefined
    if (index === undefined) lastRead = begun

    let endpoints: EndpointInit[]
    let answered: bigint
    const doubtedFor = recovery.doubtedFor(begun)
    try {
      const patience = Math.min(wait, Math.max(1, doubtedFor ?? wait))
      const answer = await api.health({ service, passing, tags, stale, dc, index, wait: patience }, signal)
      answered = expectIndex(answer.index)
      endpoints = instances.read(answer.entries)
      const isEmpty = Array.isArray(answer.entries) && answer.entries.length === 0
      if (isEmpty && answer.filtered) throw denied(service)
      if (isEmpty && !permitted && !(await api.mayRead(service, signal))) throw denied(service)
      permitted = isEmpty
    } catch (error) {
      if (signal.aborted) return

      index = undefined
      recovery.startOver()
      pause = Math.max(SHORTEST_ROUND, backoff(failures, pause, random))
      failures += 1
      sink.fail(error as Error)
      await sleep(clock, pause, signal)
      continue
    }
    if (signal.aborted) return

    // The same index: the wait is over and nothing happened. An index is kept from one good answer to the next only.
    if (index !== undefined && answered < index) recovery.startOver()
    if (answered !== index || doubtedFor !== undefined) sink.update(recovery.complete(endpoints, clock.now()))
    index = nextIndex(index, answered)
    failures = 0
    pause = 0
    await sleep(clock, Math.max(0, SHORTEST_ROUND - (clock.now() - begun)) + random() * DITHER, signal)
  }
}

/** Nobody is what Consul lists to who may not know. Believing it would take a service down. */
function denied(service: string): RegistryError {
  const problem = `Consul's ACL does not let this token read service "${service}": it needs service:read and node:read`
  return new RegistryError(problem, { status: 403 })
}

function expectIndex(header: string | undefined): bigint {
  const index = readIndex(header)
  if (index !== undefined) return index

  throw new RegistryError(
    `Consul answered with X-Consul-Index ${header ?? 'missing'}: it must be a number above 0. Does a proxy change headers?`,
  )
}
