// Uses what already answers, starts what does not, and waits until each does.

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fetchPrograms } from './debian.mjs'
import { dockerRuns, projectOf, startContainer } from './docker.mjs'
import { Failure } from './errors.mjs'
import { end, isWhole, lastWords, launch } from './launch.mjs'
import { probe } from './probes.mjs'
import { portHolder } from './processes.mjs'
import { findPrograms } from './programs.mjs'
import { recipes } from './recipes.mjs'
import { recordFor, remember } from './state.mjs'

/**
 * @typedef {import('./addresses.mjs').Server} Server
 * @typedef {(server: Server, text: string) => void} Tell  Told what a server is waiting for just now.
 */

/**
 * @param {Server} server
 * @param {{ state: string, tell: Tell, once: ReturnType<typeof oneByOne> }} context Callers hold the lock.
 * @returns {Promise<string>} what came of it
 */
export async function bringUp(server, { state, tell, once }) {
  const finding = await probe(server)
  const before = recordFor(state, server)
  const ours = before !== undefined && isWhole(before)
  const how = ours ? 'started earlier' : 'was there already'

  if (finding.state === 'answers') return described(finding, how)
  if (finding.state === 'refuses') {
    throw new Failure(
      `${server.title} at ${server.label} does not let ${server.variable} in: ${finding.why}.`,
      `Correct ${server.variable}, or name another port in it: a server is started there.`,
    )
  }
  if (finding.state === 'starting' || (ours && isLocal(before))) {
    return described(await untilReady(server, ours ? before : undefined, { state, tell }), how)
  }
  if (finding.state === 'foreign') throw held(server, finding.why)
  mayStart(server, finding.why)

  if (before !== undefined && isLocal(before)) await end(before, state)
  const started = await start(server, { state, tell, once })
  return described(await untilReady(server, started, { state, tell }), 'started')
}

/** Where a server may be started; everywhere else only its owner can do that. */
function mayStart(server, why) {
  if (!server.loopback) {
    throw new Failure(
      `${server.title} does not answer at ${server.label}: ${why}.`,
      `It is not on this machine, so nothing is started: start it there, or unset ${server.variable}.`,
    )
  }
  if (server.tls || !['localhost', '127.0.0.1'].includes(server.host)) {
    throw new Failure(
      `${server.title} does not answer at ${server.label}: ${why}.`,
      `Servers are started on 127.0.0.1 and without TLS: name such an address in ${server.variable}.`,
    )
  }
}

async function start(server, { state, tell, once }) {
  if (await once('docker', async () => dockerRuns())) {
    tell(server, 'starting a container (the first time, its image is downloaded)')
    const project = projectOf(server)
    mkdirSync(join(state, `${server.name}-${server.port}`), { recursive: true })
    const record = { server: server.name, port: server.port, at: new Date().toISOString(), processes: [], project }
    remember(state, record)
    await startContainer(server, join(state, `${server.name}-${server.port}`, 'server.log'))
    return record
  }

  let programs = findPrograms[server.name](state)
  if (programs === undefined) {
    tell(server, "getting it from Debian's packages")
    // One at a time: apt locks out a second one.
    await once(`fetch ${server.name}`, () => fetchPrograms(server, state))
    programs = findPrograms[server.name](state)
    if (programs === undefined) {
      throw new Failure(
        `${server.title} was installed, but its programs are not where Debian puts them.`,
        `Start it yourself, or set ${server.variable} to a ${server.title} that you have.`,
      )
    }
  }
  tell(server, 'starting')
  return launch(server, programs, state)
}

/**
 * @param {Server} server
 * @param {import('./state.mjs').Started | undefined} record  Undefined: somebody else's server, which is starting.
 * @param {{ state: string, tell: Tell }} context
 */
async function untilReady(server, record, { state, tell }) {
  const { patience } = recipes[server.name]
  const own = record !== undefined && isLocal(record) ? record : undefined

  tell(server, 'waiting until it answers')
  for (const deadline = Date.now() + patience; ; await sleep(100)) {
    const finding = await probe(server)
    if (own !== undefined && !isWhole(own)) {
      await end(own, state)
      if (finding.state === 'answers') return finding
      throw new Failure(`${server.title} ended while it started.`, lastWords(state, server))
    }
    if (finding.state === 'answers') return finding
    if (Date.now() < deadline) continue

    const late = `${server.title} does not answer at ${server.label} after ${patience / 1000} s: ${finding.why}.`
    if (own === undefined) throw new Failure(late, 'See what it waits for, and start again.')
    await end(own, state)
    throw new Failure(late, `It was stopped. ${lastWords(state, server)}`)
  }
}

/** A process of ours, about which the system can be asked; of a container only Docker knows. */
const isLocal = (record) => record.project === undefined

/** @returns {Failure} */
function held(server, why) {
  const holder = server.loopback ? portHolder(server.port) : undefined
  const who = holder === undefined ? 'something' : `${holder.command} (pid ${holder.pid})`
  return new Failure(
    `${server.label} is held by ${who}, which is not ${server.title}: ${why}.`,
    server.loopback
      ? `Stop it, or name another port in ${server.variable}: a server is started there.`
      : `Correct ${server.variable}.`,
  )
}

/** @param {{ version?: string }} finding */
function described({ version }, how) {
  return version === undefined ? how : `${version}, ${how}`
}

/** Jobs one after another, each of them once, however many ask for it. */
export function oneByOne() {
  let last = Promise.resolve()
  const jobs = new Map()

  return (name, job) => {
    if (!jobs.has(name)) {
      const result = last.then(job)
      last = result.catch(() => undefined)
      jobs.set(name, result)
    }
    return jobs.get(name)
  }
}
