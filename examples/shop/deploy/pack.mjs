// `node pack.mjs order-service /out`: one service of the built shop with what it imports, for an image of its own.
// `/out/service.mjs` runs it; nothing of the other services is in there.
import { cp, mkdir, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const shop = fileURLToPath(new URL('..', import.meta.url))
const services = ['user', 'product', 'payment', 'notification', 'analytics', 'order'].map((name) => `${name}-service`)
const known = [...services, 'api-gateway']

const [service, folder] = process.argv.slice(2)
if (!known.includes(service) || folder === undefined) {
  console.error(`usage: node pack.mjs <${known.join('|')}> <folder>`)
  process.exit(1)
}

const { build } = createRequire(new URL('../../../package.json', import.meta.url))('esbuild')
const out = resolve(folder)
await rm(out, { recursive: true, force: true })
await mkdir(join(out, 'dist'), { recursive: true })

await build({
  entryPoints: { service: join(shop, 'runner/dist/service.js') },
  outdir: join(out, 'dist'),
  bundle: true,
  splitting: true,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  // The others are named in a switch that never takes their turn; natives are asked for and done without.
  external: [...known.filter((name) => name !== service).map((name) => `@shop/${name}`), 'pg-native'],
  // Some of what is bundled still asks for modules in the old way.
  banner: { js: "import { createRequire as _r } from 'node:module'; const require = _r(import.meta.url);" },
  logLevel: 'error',
})

// What a package asks for only when it is used is not seen by the bundler, and goes beside the rest as one file.
for (const peer of ['undici']) {
  const entry = createRequire(join(shop, 'platform/package.json')).resolve(peer)
  await build({
    entryPoints: [entry],
    outfile: join(out, 'node_modules', peer, 'index.js'),
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    logLevel: 'error',
  })
}

// Read at run time, from where they are beside `dist` in the sources too.
if (service !== 'api-gateway') {
  await cp(join(shop, 'services', service, 'database'), join(out, 'database'), { recursive: true })
}
await cp(join(shop, 'contracts/proto'), join(out, 'proto'), { recursive: true })
await writeFile(join(out, 'package.json'), `${JSON.stringify({ name: service, private: true, type: 'module' })}\n`)
await writeFile(join(out, 'service.mjs'), "import './dist/service.js'\n")
