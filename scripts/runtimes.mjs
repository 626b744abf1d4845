// `pnpm test:runtimes [name…]`: the suites of retry and circuit-breaker on other Nodes, Bun, Deno and in Chromium.

import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  browserPackages,
  prometheusIoPackages,
  prometheusTests,
  runtimes,
  versions,
} from '../tooling/runtimes/catalogue.mjs'
import { findChromium } from '../tooling/runtimes/chromium.mjs'
import { installed, programOf } from '../tooling/runtimes/install.mjs'
import { judge } from '../tooling/runtimes/judge.mjs'
import { leftOut, leftOutOf } from '../tooling/runtimes/left-out.mjs'
import { prometheusIoTypes } from '../tooling/runtimes/prometheus-io-types.mjs'
import { formatTable } from '../tooling/runtimes/table.mjs'
import { Failure } from './servers/errors.mjs'
import { showProgress } from './servers/progress.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const packages = join(root, 'packages')
const config = join(root, 'tooling/runtimes/vitest.config.mjs')
const workspaceVitest = join(root, 'node_modules/vitest/vitest.mjs')

const known = [...runtimes.map(({ name }) => name), 'chromium']
const wanted = process.argv.slice(2)
const unknown = wanted.find((name) => !known.includes(name))
if (unknown !== undefined) {
  console.error(`There is no runtime "${unknown}". Usage: pnpm test:runtimes [${known.join('|')} …]`)
  process.exit(2)
}

const names = known.filter((name) => wanted.length === 0 || wanted.includes(name))
const progress = showProgress(
  process.stdout,
  names.map((name) => ({ title: name, label: runtimes.find((runtime) => runtime.name === name)?.version ?? '' })),
  'waiting',
)

/** Where something is badly broken, a page of it tells as much as a hundred. */
const shown = 10
const head = (problem) => problem.split('\n').slice(0, 8).join('\n')

const started = Date.now()
// All installs at once, while the first tests run already; the tests one after the other, as they look at clocks.
const preparations = names.map((name, index) => {
  const prepared = prepare(name, (what) => progress.set(index, 'busy', what))
  prepared.catch(() => {})
  return prepared
})
const rows = []
for (const [index, name] of names.entries()) rows.push(await test(name, index))
if (names.some((name) => name.startsWith('node'))) rows.push(await typesOfPrometheusIo())
summarise()

/** What to start, or why it cannot be. */
async function prepare(name, busy) {
  if (name === 'chromium') {
    const [chromium, modules] = await Promise.all([findChromium(busy), installed(browserPackages)])
    if (chromium.missing !== undefined) return chromium
    return {
      version: chromium.version,
      command: [process.execPath, join(modules, 'vitest/vitest.mjs')],
      env: {
        MSX_RUNTIME_VERSION: chromium.version.split('.')[0],
        MSX_CHROMIUM: chromium.path,
        MSX_BROWSER_MODULES: modules,
      },
    }
  }

  const runtime = runtimes.find((candidate) => candidate.name === name)
  busy('installing')
  const program = await programOf(runtime)
  if (program === undefined) {
    return { missing: `npm has no program of ${name} ${runtime.version} for ${process.platform}-${process.arch}` }
  }
  const env = { MSX_RUNTIME_VERSION: runtime.version }
  if (name.startsWith('node')) {
    env.MSX_PROMETHEUS_IO = join(await installed(prometheusIoPackages), '@prometheus-io/client')
  }
  return { version: runtime.version, command: [program, ...runtime.args, workspaceVitest], env }
}

async function test(name, index) {
  try {
    const { missing, version, command, env } = await preparations[index]
    if (missing !== undefined) {
      // What CI promises to test may not go missing there without a word.
      if (process.env.MSX_REQUIRE_SERVICES === '1') throw new Failure(missing, 'MSX_REQUIRE_SERVICES=1 wants it.')
      progress.set(index, 'failed', `SKIPPED: ${missing}`)
      return { name, skipped: missing }
    }

    progress.set(index, 'busy', 'testing')
    const begin = Date.now()
    const twice = env.MSX_PROMETHEUS_IO === undefined ? [] : prometheusTests
    const expected = { tests: leftOutOf(name).tests, twice }
    const result = await runVitest(command, { ...env, MSX_RUNTIME: name }, expected)
    const seconds = (Date.now() - begin) / 1_000
    const text = `${result.passed} passed, ${result.failed} failed (${seconds.toFixed(1)} s)`
    progress.set(index, result.failed === 0 ? 'done' : 'failed', text)
    return { name, version, seconds, ...result }
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    progress.set(index, 'failed', error.message.split('\n')[0])
    const problems = [`${error.message}\n${error.advice}`]
    return { name, files: 0, passed: 0, failed: 1, leftOut: 0, seconds: 0, problems }
  }
}

/** What TypeScript says of the other client where ours wants prom-client. */
async function typesOfPrometheusIo() {
  const begin = Date.now()
  const problem = await prometheusIoTypes(await installed(prometheusIoPackages))
  return {
    name: 'types of @prometheus-io/client',
    version: versions.prometheusIo,
    files: 1,
    passed: problem === undefined ? 1 : 0,
    failed: problem === undefined ? 0 : 1,
    leftOut: 0,
    seconds: (Date.now() - begin) / 1_000,
    problems: problem === undefined ? [] : [problem],
  }
}

async function runVitest([command, ...args], env, expected) {
  const folder = mkdtempSync(join(tmpdir(), 'msx-runtimes-'))
  const file = join(folder, 'report.json')
  const options = ['run', '--config', config, '--reporter=default', '--reporter=json', `--outputFile.json=${file}`]
  try {
    const { code, output } = await run(command, [...args, ...options], { ...process.env, NO_COLOR: '1', ...env })
    return judge({ report: read(file), code, output, packages, ...expected })
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** A runtime that hangs is stopped: the whole of its tests takes a few seconds. */
function run(command, args, env) {
  return new Promise((settle) => {
    const child = spawn(command, args, { cwd: root, env, timeout: 180_000, killSignal: 'SIGKILL' })
    const chunks = []
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => chunks.push(chunk))
    child.on('error', (error) => chunks.push(Buffer.from(error.message)))
    child.on('close', (code, signal) => settle({ code: code ?? signal, output: Buffer.concat(chunks).toString() }))
  })
}

function read(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return undefined
  }
}

function summarise() {
  const sum = (key) => rows.reduce((total, row) => total + (row[key] ?? 0), 0)

  console.log(`\n${formatTable(rows)}\n`)
  if (names.some((name) => name.startsWith('node'))) {
    console.log(
      `On Node, the tests of /prometheus ran twice: also with @prometheus-io/client ${versions.prometheusIo}.\n`,
    )
  }
  const tested = names.filter((name) => !rows.some((row) => row.name === name && row.skipped !== undefined))
  for (const name of tested) {
    for (const { file, test, reason } of leftOut[name] ?? []) {
      console.log(`left out on ${name}: ${file}${test === undefined ? '' : ` > ${test}`}\n  ${reason}`)
    }
  }
  for (const { name, problems = [] } of rows) {
    for (const problem of problems.slice(0, shown)) console.log(`\nFAILED on ${name}: ${head(problem)}`)
    if (problems.length > shown) console.log(`\nand ${problems.length - shown} more on ${name}`)
  }
  for (const { name, skipped } of rows) {
    if (skipped !== undefined) console.log(`\n  SKIPPED: ${name}: ${skipped}`)
  }
  const seconds = Math.round((Date.now() - started) / 1_000)
  const counts = `${sum('passed')} passed, ${sum('failed')} failed, ${sum('leftOut')} left out`
  console.log(`\n${counts} on ${tested.length} runtimes in ${seconds} s`)
  process.exitCode = sum('failed') === 0 ? 0 : 1
}
