// `pnpm --filter shop reset:full`: drops what the shop of seven processes keeps on its servers.
import { build, checkNode, install } from './prepare.mjs'

checkNode()
await install()
await build()
await import('../examples/shop/runner/dist/reset-full.js')
