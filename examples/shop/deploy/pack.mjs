// `node pack.mjs order-service /out`: one service of the built shop with what it imports, for an image of its own.
// `/out/service.mjs` runs it; nothing of the other services is in there.
import { existsSync, readFileSync, realpathSync } from 'node:fs'
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
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

// What a package asks for only when it is used is not seen by the bundler, and goes along as it is.
const copied = new Map()
const peers = { undici: 'platform', ...(service === 'api-gateway' && { '@grpc/grpc-js': 'services/api-gateway' }) }
for (const [peer, owner] of Object.entries(peers)) await copyPackage(peer, join(shop, owner, 'package.json'))

/** A package and all that it depends on, side by side. */
async function copyPackage(name, from) {
  const manifest = findManifest(name, from)
  const { version, dependencies = {} } = JSON.parse(await readFile(manifest, 'utf8'))
  const known = copied.get(name)
  if (known === version) return
  if (known !== undefined) throw new Error(`${name} is wanted as ${known} and as ${version}; one of them must give way`)

  copied.set(name, version)
  const isOwn = (path) => !path.slice(dirname(manifest).length).includes('node_modules')
  await cp(dirname(manifest), join(out, 'node_modules', name), { recursive: true, dereference: true, filter: isOwn })
  for (const dependency of Object.keys(dependencies)) await copyPackage(dependency, manifest)
}

function findManifest(name, from) {
  for (let folder = dirname(realpathSync(from)); folder !== dirname(folder); folder = dirname(folder)) {
    for (const place of [join(folder, 'node_modules', name), join(folder, name)]) {
      const manifest = join(place, 'package.json')
      if (existsSync(manifest) && JSON.parse(readFileSync(manifest, 'utf8')).name === name)
        return realpathSync(manifest)
    }
  }
  throw new Error(`${name} is not installed, as seen from ${from}`)
}

// Read at run time, from where they are beside `dist` in the sources too.
if (service !== 'api-gateway') {
  await cp(join(shop, 'services', service, 'database'), join(out, 'database'), { recursive: true })
}
await cp(join(shop, 'contracts/proto'), join(out, 'proto'), { recursive: true })
await writeFile(join(out, 'package.json'), `${JSON.stringify({ name: service, private: true, type: 'module' })}\n`)
await writeFile(join(out, 'service.mjs'), "import './dist/service.js'\n")
