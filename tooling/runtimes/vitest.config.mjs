// The suites of the two packages that run everywhere, on the runtime that MSX_RUNTIME names, and on other Nodes what lives
// with the undici that is inside them: their fetch speaks to the dispatcher of discovery. A plain object, because
// Chromium's run has a vitest of its own, which this file could not import by name.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { prometheusTests } from './catalogue.mjs'
import { leftOutOf } from './left-out.mjs'

const root = fileURLToPath(new URL('../..', import.meta.url))
const packages = join(root, 'packages')
const { MSX_RUNTIME: runtime, MSX_RUNTIME_VERSION: version, MSX_PROMETHEUS_IO: prometheusIo } = process.env
const { files, tests } = leftOutOf(runtime)

const browser = runtime === 'chromium' ? await chromium() : undefined

const common = (name) => ({
  name,
  provide: { runtime: { name: runtime, version }, leftOut: tests },
  setupFiles: [join(import.meta.dirname, 'leave-out.mjs')],
  // Properties are checked on hundreds of cases, and these machines have other things to do.
  testTimeout: 30_000,
  ...(browser && { browser: { ...browser, instances: [{ browser: 'chromium', name: `${name} in Chromium` }] } }),
})

/** @param {string} name */
const suite = (name) => ({
  root: join(packages, name),
  plugins: browser === undefined ? [] : [withoutNode()],
  ...caches(name),
  test: {
    ...common(name),
    include: ['src/**/*.test.ts'],
    exclude: files.map((file) => file.replace('*', name)).flatMap(below(name)),
  },
})

/** What is in a package, as its own files are named. */
const below = (name) => (file) => (file.startsWith(`${name}/`) ? [file.slice(name.length + 1)] : [])

/** @param {string} name */
const dispatcher = (name) => ({
  root: join(packages, name),
  test: { ...common(`${name} with the fetch of Node`), include: ['src/undici/*.test.ts'] },
})

/** The same tests of the metrics, with the other client in the place of prom-client. */
const withPrometheusIo = (path) => {
  const [name, ...file] = path.split('/')
  return {
    root: join(packages, name),
    resolve: { alias: { 'prom-client': prometheusIo } },
    test: { ...common(`${name} with @prometheus-io/client`), include: [file.join('/')] },
  }
}

export default {
  test: {
    projects: [
      {
        root: import.meta.dirname,
        ...caches('runtime'),
        test: { ...common('runtime'), include: ['runtime.test.mjs'] },
      },
      suite('retry'),
      suite('circuit-breaker'),
      ...(runtime.startsWith('node') ? [dispatcher('discovery')] : []),
      ...(prometheusIo === undefined ? [] : prometheusTests.map(withPrometheusIo)),
    ],
  },
}

async function chromium() {
  const { MSX_BROWSER_MODULES: modules, MSX_CHROMIUM: executablePath } = process.env
  const provider = join(modules, '@vitest/browser-playwright/dist/index.js')
  const { playwright } = await import(pathToFileURL(provider).href)
  return {
    enabled: true,
    headless: true,
    screenshotFailures: false,
    api: { host: '127.0.0.1', port: 0 },
    // A container's root has no sandbox to offer, and nothing but our own tests is loaded.
    provider: playwright({ launchOptions: { executablePath, args: ['--no-sandbox'] } }),
  }
}

/** Away from the sources: Vite puts what it has bundled for the page beside them. */
function caches(name) {
  const modules = process.env.MSX_BROWSER_MODULES
  return modules !== undefined && existsSync(modules) ? { cacheDir: join(modules, '..', 'vite', name) } : {}
}

/**
 * Lets a page load the files in which only a few tests use something of Node: those tests fail when they use it, and
 * are listed one by one in left-out.mjs, while the others run.
 */
function withoutNode() {
  const names = {
    'node:async_hooks': ['AsyncLocalStorage'],
    'node:events': ['getEventListeners'],
    'node:net': ['connect', 'createServer'],
    'node:worker_threads': ['Worker'],
  }
  return {
    name: 'without-node',
    enforce: 'pre',
    resolveId: (id) => (id in names ? `\0${id}` : undefined),
    load(id) {
      const exported = names[id.slice(1)]
      if (!id.startsWith('\0node:') || exported === undefined) return undefined
      return exported
        .map((name) => `export function ${name}() { throw new Error('${id.slice(1)} is not there in a page') }`)
        .join('\n')
    },
  }
}
