// `pnpm --filter shop dev:full`: the shop as seven processes on real servers, from a bare clone.
import { build, checkNode, install } from './prepare.mjs'

checkNode()
await install()
await build()
await import('../examples/shop/runner/dist/full.js')
